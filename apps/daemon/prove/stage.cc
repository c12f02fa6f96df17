#include "stage.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "ebb/base/files.h"
#include "ebb/base/programs.h"
#include "ebb/process/census.h"
#include "leftovers.h"

namespace ebb::cli {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 30s;
constexpr const char* kMark = "EBB_PROVE";  // in the environment of all that a job starts

Error failed(std::string message) {
  return {.code = Errc::internal, .message = std::move(message), .pointer = {}, .type = {}};
}

// The programs of the stage ask nobody else's daemon.
std::map<std::string, std::string> surroundings(const std::filesystem::path& socket) {
  return {{"EBB_SERVER", socket.string()}, {"EBB_SOCKET", ""}, {"EBB_API_KEY", ""}};
}

// The last lines of what a program wrote.
std::string end_of(const std::filesystem::path& file) {
  const auto text = read_file(file);
  if (!text || text->empty()) return "it said nothing";
  return text->substr(text->size() - std::min<std::size_t>(text->size(), 500));
}

// "ready" on the other end; false when it closes before, or at the deadline. `heard`: all that was said.
bool hear_ready(int fd, BootTime deadline, std::string& heard) {
  while (heard.find("ready\n") == std::string::npos) {
    if (!wait_readable(fd, deadline)) return false;
    char bytes[256];
    const ssize_t count = ::read(fd, bytes, sizeof bytes);
    if (count <= 0) return false;
    heard.append(bytes, static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace

Result<client::Client> Stage::connect() const { return client::Client::connect(socket().string()); }

Result<void> Stage::start_daemon() {
  daemon_.reset();
  const auto notify = folder_ / "notify";
  ::unlink(notify.c_str());
  const UniqueFd ready(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, notify.c_str(), sizeof address.sun_path - 1);
  if (!ready || ::bind(ready.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error(errno, "cannot listen at " + notify.string());

  const auto config = folder_ / "ebb.toml";
  if (auto written =
          replace_file(config, "[jobs]\nscratch = \"" + (folder_ / "scratch").string() + "\"\n", 0600);
      !written) {
    return written;
  }
  auto log = open_file(folder_ / "serve.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (!log) return std::move(log).error();
  auto set = surroundings(socket());
  set["NOTIFY_SOCKET"] = notify.string();
  auto started =
      Program::start("/proc/self/exe",
                     {"serve", "--config", config.string(), "--state", (folder_ / "state").string(),
                      "--socket", socket().string(), "--listen", "none", "--gpus", "declared:2"},
                     set, log->get());
  if (!started) return std::move(started).error();
  daemon_ = std::move(*started);

  const BootTime deadline = BootClock::now() + kPatience;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now()).count();
    pollfd polls[] = {{.fd = ready.get(), .events = POLLIN, .revents = 0},
                      {.fd = daemon_->pidfd(), .events = POLLIN, .revents = 0}};
    if (left <= 0 || ::poll(polls, 2, static_cast<int>(left)) < 0 || polls[1].revents != 0) break;
    char text[512];
    const ssize_t count = polls[0].revents != 0 ? ::recv(ready.get(), text, sizeof text, 0) : 0;
    const std::string_view heard(text, static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (heard.find("READY=1") != heard.npos) return {};
  }
  return failed("the daemon to be killed did not start: " + end_of(folder_ / "serve.log"));
}

std::vector<pid_t> Stage::marked() const {
  std::vector<pid_t> found;
  const auto pids = process::list_pids();
  if (!pids) return found;
  for (const pid_t pid : *pids) {
    const auto text = process::read_proc_file(pid, "environ");
    if (!text) continue;
    if (process::environment_value(process::parse_nul_words(*text), kMark) == folder_.string())
      found.push_back(pid);
  }
  return found;
}

Result<pid_t> Stage::keeper_of(const std::string& attempt) const {
  process::CensusPlaces places;
  places.state_dir = (folder_ / "state").string();
  places.server = socket().string();
  for (const process::CensusProcess& one : process::take_census(places).processes) {
    if (one.keeper && one.label == attempt && one.ours) return one.identity.pid;
  }
  return failed("the keeper of attempt " + attempt + " is not to be seen");
}

Result<Stage::Job> Stage::start_job() {
  const auto ebb = find_program("ebb");
  if (!ebb) return ebb.error();
  std::error_code ignored;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "cannot make a pipe");
  const UniqueFd said(ends[0]);
  UniqueFd out(ends[1]);
  auto set = surroundings(socket());
  set[kMark] = folder_.string();
  auto client = Program::start(
      *ebb,
      {"run", "--gpus", "2", "--ports", "1", "--grace", "200ms", "--", self.string(), "prove-job", "{port}"},
      set, out.get());
  if (!client) return std::move(client).error();
  out.reset();
  std::string heard;
  if (!hear_ready(said.get(), BootClock::now() + kPatience, heard))
    return failed("the job to be killed did not start; 'ebb doctor' may say why: " + heard);

  auto api = connect();
  if (!api) return api.error();
  // That it runs may not be on disk yet.
  const auto live = api->get_as<model::JobList>("/v1/jobs?state=starting,running");
  if (!live) return live.error();
  if (live->items.size() != 1) return failed("there is not one job, as there should be");
  const model::Job& seen = live->items.front();
  Job job{.client = std::move(*client), .id = seen.id, .processes = {}, .next = {}};
  std::optional<process::ProcStat> leader;  // the oldest of them
  for (const pid_t pid : marked()) {
    auto pidfd = process::open_pidfd(pid);
    const auto stat = process::read_proc_stat(pid);
    if (!pidfd || !stat || pid == job.client.pid()) continue;
    job.processes.push_back(std::move(*pidfd));
    if (!leader || stat->start_time < leader->start_time) leader = *stat;
  }
  if (job.processes.size() != 3) return failed("the job has not three processes");
  job.leader = leader->pid;
  const auto parent = process::read_proc_stat(leader->ppid);
  if (!parent) return parent.error();
  if (parent->comm == "ebb-init") job.init = parent->pid;
  auto keeper = keeper_of(seen.id.str() + "." + std::to_string(seen.attempt));
  if (!keeper) return keeper.error();
  job.keeper = *keeper;

  const auto next = api->call(
      {.method = "POST", .target = "/v1/jobs", .body = R"({"command":["true"],"gpus":2,"ports":1})"});
  if (!next) return next.error();
  auto queued = client::Client::parse_answer<model::Job>(*next);
  if (!queued) return queued.error();
  job.next = queued->id;
  return job;
}

Result<bool> Stage::wait_for_next(const Job& job, Duration limit) const {
  const auto ebb = find_program("ebb");
  if (!ebb) return ebb.error();
  auto waits = Program::start(*ebb, {"wait", job.next.str()}, surroundings(socket()));
  if (!waits) return waits.error();
  return waits->wait(limit);
}

Result<model::Report> Stage::report(const Job& job) const {
  auto api = connect();
  if (!api) return api.error();
  return api->get_as<model::Report>("/v1/jobs/" + job.id.str() + "/report");
}

Result<std::vector<std::string>> Stage::leftovers(const Job& job) const {
  auto left = leftovers_without_daemon();
  if (!left) return left;
  if (const auto shared = "/dev/shm/ebb-prove-" + job.id.str(); ::access(shared.c_str(), F_OK) == 0)
    left->push_back("shared memory " + shared);

  auto api = connect();
  if (!api) return api.error();
  const auto places = find_places(&*api, "");
  if (!places) return places.error();
  const auto found = find_leftovers(std::move(*api), *places);
  if (!found) return found.error();
  for (const process::Leftover& one : found->leftovers)
    left->push_back(std::string(process::kind_text(one.kind)) + " " + one.what);
  left->insert(left->end(), found->devices.begin(), found->devices.end());
  return left;
}

Result<std::vector<std::string>> Stage::leftovers_without_daemon() const {
  std::vector<std::string> left;
  for (const pid_t pid : marked()) {
    const auto stat = process::read_proc_stat(pid);
    if (stat && !stat->gone()) left.push_back("process " + std::to_string(pid) + " (" + stat->comm + ")");
  }
  return left;
}

}  // namespace ebb::cli

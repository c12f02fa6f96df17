#include "attempt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "ebb/base/files.h"
#include "ebb/base/ids.h"
#include "ebb/process/log_reader.h"
#include "ebb/process/proc.h"

namespace ebb::process::testing {
namespace {

bool wait_readable(int fd, BootTime deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now()).count();
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return left > 0 && ::poll(&entry, 1, static_cast<int>(left)) > 0;
}

std::vector<pid_t> pids_with(const std::string& word) {
  std::vector<pid_t> found;
  const auto pids = list_pids();
  for (std::size_t i = 0; pids && i < pids->size(); ++i) {
    const auto line = read_proc_file((*pids)[i], "cmdline");
    if (!line) continue;
    const auto words = parse_nul_words(*line);
    if (std::find(words.begin(), words.end(), word) == words.end()) continue;
    const auto stat = read_proc_stat((*pids)[i]);
    if (stat && !stat->gone()) found.push_back((*pids)[i]);
  }
  return found;
}

}  // namespace

Site::Site() : keeper(EBB_KEEPER), maker_(::getpid()) {
  auto probed = probe_containment({.state_dir = dir.path().string(), .may_move = false});
  EXPECT_TRUE(probed.ok());
  if (probed) containment = std::move(*probed);
}

Site::~Site() {
  if (::getpid() == maker_) remove_bases(containment);
}

void Site::give_to(uid_t uid) {
  const std::filesystem::path copy = dir / "ebb-keeper";
  std::filesystem::copy_file(keeper, copy);
  ASSERT_EQ(::chmod(copy.c_str(), 0755), 0);
  ASSERT_EQ(::chown(dir.path().c_str(), uid, uid), 0);
  keeper = copy;
}

Signpost::Signpost(const std::filesystem::path& path) : path_(path) {
  EXPECT_EQ(::mkfifo(path_.c_str(), 0666), 0);
  EXPECT_EQ(::chmod(path_.c_str(), 0666), 0);
  fd_.reset(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
}

std::string Signpost::line() {
  const BootTime deadline = BootClock::now() + 20s;
  for (;;) {
    if (const std::size_t end = rest_.find('\n'); end != std::string::npos) {
      std::string found = rest_.substr(0, end);
      rest_.erase(0, end + 1);
      return found;
    }
    if (!wait_readable(fd_.get(), deadline)) return {};
    char text[256];
    const ssize_t got = ::read(fd_.get(), text, sizeof text);
    if (got > 0) rest_.append(text, static_cast<std::size_t>(got));
  }
}

Attempt::Attempt(Site& site, std::vector<std::string> argv, const std::string& label) : site_(site) {
  spec.label = label;
  spec.argv = std::move(argv);
  spec.env = {"PATH=/usr/bin:/bin"};
  spec.workdir = "/";
  spec.attempt_dir = (site.dir / label).string();
  spec.log_dir = spec.attempt_dir + "/log";
  spec.log_limit_bytes = 1 << 20;
  spec.grace = 10s;
  spec.kill_timeout = 5s;
  contain(spec, site.containment, 0, 0);
}

void Attempt::use(Tiers tiers) {
  spec.tiers = tiers;
  if (!tiers.pidns) {
    spec.user_namespace = false;
    spec.cgroup_root.clear();
  }
}

void Attempt::start(std::vector<int> locks_given, int owner) {
  ASSERT_TRUE(make_directories(spec.attempt_dir, 0700).ok());
  if (spec.tiers.cgroup) {
    const auto made = make_attempt_cgroup(spec.cgroup);
    ASSERT_TRUE(made.ok()) << made.error().message;
  }
  auto started = site_.starter
                     ? site_.starter->start(spec, locks_given, owner)
                     : start_keeper(spec, {.program = site_.keeper, .locks = locks_given, .owner = owner});
  ASSERT_TRUE(started.ok()) << started.error().message;
  keeper_.emplace(std::move(*started));
  link_.emplace(std::move(keeper_->link));
}

Attempt::~Attempt() {
  if (!keeper_) return;
  if (!reaped_) {
    if (spec.tiers.cgroup) {
      EXPECT_TRUE(kill_cgroup(spec.cgroup).ok());
    }
    kill_keeper();
    wait_for_keeper();
  }
  if (spec.tiers.cgroup) {
    const auto removed = remove_cgroup(spec.cgroup, BootClock::now() + 20s);
    EXPECT_TRUE(removed.ok()) << removed.error().message;
  }
}

void Attempt::send(const KeeperCommand& command) {
  const auto sent = link_->send(command);
  ASSERT_TRUE(sent.ok()) << sent.error().message;
}

bool Attempt::receive(BootTime deadline) {
  if (!link_ || !wait_readable(link_->fd(), deadline)) {
    ADD_FAILURE() << "no news from the keeper in 20 s";
    return false;
  }
  auto received = link_->receive();
  if (!received) {
    ADD_FAILURE() << received.error().message;
    return false;
  }
  for (KeeperEvent& event : received->events) events_.push_back(std::move(event));
  for (UniqueFd& lock : received->locks) locks.push_back(std::move(lock));
  if (received->closed && received->events.empty()) {
    ADD_FAILURE() << "the keeper has gone";
    return false;
  }
  return true;
}

EndRecord Attempt::end() {
  auto ended = wait<Ended>();
  if (!ended) return {};
  const auto stored = read_end_record(spec.attempt_dir);
  EXPECT_TRUE(stored.ok()) << stored.error().message;
  if (stored) {
    EXPECT_EQ(encode(*stored), encode(ended->record)) << "told and written differ";
  }
  return std::move(ended->record);
}

int Attempt::wait_for_keeper() {
  if (!wait_readable(keeper_->pidfd.get(), BootClock::now() + 20s)) {
    ADD_FAILURE() << "the keeper still runs";
    return -1;
  }
  const auto status = reap_keeper(*keeper_);
  EXPECT_TRUE(status.ok());
  reaped_ = true;
  return status ? *status : -1;
}

int Attempt::finish() {
  send(Ack{});
  return wait_for_keeper();
}

void Attempt::hang_up() { link_.reset(); }

void Attempt::adopt() {
  auto connected = KeeperLink::connect(spec.attempt_dir);
  ASSERT_TRUE(connected.ok()) << connected.error().message;
  link_.emplace(std::move(*connected));
}

void Attempt::kill_keeper() const {
  ::syscall(SYS_pidfd_send_signal, keeper_->pidfd.get(), SIGKILL, nullptr, 0);
}

std::string Attempt::output() const {
  auto reader = LogReader::open(spec.log_dir);
  if (!reader) return reader.error().code == Errc::not_found ? "" : reader.error().message;
  std::string text;
  for (std::uint64_t at = 0;;) {
    auto batch = reader->read(at, LogFilter::both, 1 << 20);
    if (!batch) return batch.error().message;
    for (const LogPiece& piece : batch->pieces) text += piece.bytes;
    at = batch->next;
    if (batch->state != LogBatch::State::more) return text;
  }
}

int processes_with(const std::string& word) { return static_cast<int>(pids_with(word).size()); }

bool none_left_with(const std::string& word) {
  const BootTime deadline = BootClock::now() + 20s;
  for (;;) {
    const auto pids = pids_with(word);
    if (pids.empty()) return true;
    const auto pidfd = open_pidfd(pids.front());
    if (pidfd && !wait_readable(pidfd->get(), deadline)) return false;
  }
}

std::string unique_number() {
  std::uint32_t value = 0;
  random_bytes(&value, sizeof value);
  return "1000." + std::to_string(value);  // a time to sleep, as well
}

}  // namespace ebb::process::testing

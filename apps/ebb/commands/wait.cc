#include <map>

#include "commands.h"
#include "server_option.h"

namespace ebb::cli {
namespace {

// Waits for all of some jobs by the daemon's events: nothing is asked while nothing happens.
class Waiter {
 public:
  Waiter(client::Client& client, client::Client& stream, std::vector<std::string> ids)
      : client_(client), stream_(stream), ids_(std::move(ids)) {}

  // Each job as it ended.
  Result<void> wait() {
    constexpr auto kSilence = std::chrono::seconds(60);
    while (true) {
      const auto watched = stream_.events(
          {.target = "/v1/events", .accept = "text/event-stream"}, [this] { return look(ids_) && !done(); },
          [this](const client::ServerEvent& event) { return take(event) && !done(); }, kSilence);
      if (failure_) return *failure_;
      if (done()) return {};
      // A stream that only broke is opened again, and everything is looked at again then.
      if (!watched && watched.error().code != Errc::timeout && watched.error().code != Errc::unavailable) {
        return watched.error();
      }
      if (!watched && watched.error().type == client::kNoDaemonType) return watched.error();
    }
  }

  [[nodiscard]] const model::Job& job(const std::string& id) const { return ended_.at(id); }

 private:
  [[nodiscard]] bool done() const {
    for (const std::string& id : ids_) {
      if (!ended_.contains(id)) return false;
    }
    return true;
  }

  bool look(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      if (ended_.contains(id)) continue;
      auto job = client_.get_as<model::Job>("/v1/jobs/" + id);
      if (!job) return failure_ = client::with_near_misses(client_, job.error(), id), false;
      if (model::is_terminal(job->state)) ended_.emplace(id, std::move(*job));
    }
    return true;
  }

  bool take(const client::ServerEvent& event) {
    if (event.name == "reset") return look(ids_);
    const auto parsed = client::Client::parse_answer<model::Event>(event.data);
    if (!parsed || !parsed->job || !parsed->state || !model::is_terminal(*parsed->state)) return true;
    const std::string id = parsed->job->str();
    for (const std::string& mine : ids_) {
      if (mine == id) return look({id});
    }
    return true;
  }

  client::Client& client_;
  client::Client& stream_;
  std::vector<std::string> ids_;
  std::map<std::string, model::Job> ended_;
  std::optional<Error> failure_;
};

}  // namespace

int wait_main(Words words) {
  Parser parser("wait", "Wait until jobs have ended; exits as the first one that did not exit with 0",
                "ebb wait 7f3a91c2 5c01aa07");
  const ServerOption server(parser);
  std::vector<std::string> wanted;
  bool json = false;
  parser.add_option("ID", wanted, "jobs: ids, unique prefixes, or 'last'")->required();
  parser.add_flag("--json", json, "print each job as JSON when all have ended, one a line");
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());
  std::vector<std::string> ids;
  for (const std::string& word : wanted) {
    auto id = client::resolve_job(*client, word);
    if (!id) return fail(id.error());
    ids.push_back(std::move(*id));
  }
  auto stream = server.connect();
  if (!stream) return fail(stream.error());
  Waiter waiter(*client, *stream, ids);
  if (auto waited = waiter.wait(); !waited) return fail(waited.error());

  int status = kDone;
  for (const std::string& id : ids) {
    const model::Job& job = waiter.job(id);
    if (json) print_json(model::json_text(job));
    const auto reason = job.reason.value_or(model::StopReason());
    if (status == kDone) status = model::exit_status(reason.kind, job.exit, reason.detail);
  }
  return status;
}

}  // namespace ebb::cli

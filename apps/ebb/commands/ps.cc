#include <unistd.h>

#include <optional>

#include "commands.h"
#include "ebb/base/text.h"
#include "ebb/base/units.h"
#include "server_option.h"
#include "table.h"

namespace ebb::cli {
namespace {

constexpr int kPage = 1000;
constexpr std::string_view kAlive = "queued,starting,running,releasing";

std::string age(const model::Job& job, WallTime now) {
  const auto since = [](WallTime from, WallTime to) {
    const auto whole = std::chrono::floor<std::chrono::seconds>(std::max(to - from, Duration(0)));
    return whole.count() == 0 ? std::string("0 s") : format_duration(whole);
  };
  if (job.ended_at) return since(job.started_at.value_or(job.submitted_at), *job.ended_at);
  return since(job.started_at.value_or(job.submitted_at), now);
}

std::string state_text(const model::Job& job) {
  std::string text(model::name_of(job.state));
  if (job.position) text += " #" + std::to_string(*job.position);
  if (job.reason && model::is_terminal(job.state) && model::name_of(job.reason->kind) != text) {
    text += " (" + std::string(model::name_of(job.reason->kind)) + ')';
  }
  return text;
}

std::string what(const model::Job& job) {
  if (job.name) return *job.name;
  std::string text;
  for (const std::string& word : job.spec.command.value_or(std::vector<std::string>())) {
    text += (text.empty() ? "" : " ") + shell_quoted(word);
  }
  constexpr std::size_t kWidest = 60;
  if (text.size() > kWidest) {
    text.resize(kWidest);
    text += "…";
  }
  return text;
}

std::string gpus_text(const model::Job& job) {
  if (!job.gpu_ids.empty()) return numbers(job.gpu_ids);
  const auto wanted = job.spec.gpus.value_or(0);
  return wanted == 0 ? "-" : "(" + std::to_string(wanted) + ")";
}

class Lister {
 public:
  Lister(client::Client& client, std::string filter, bool json, int most)
      : client_(client), filter_(std::move(filter)), json_(json), most_(most) {}

  // All pages, up to the number that was asked for.
  Result<std::string> text() {
    if (json_) return json_text();
    Table table({"ID", "USER", "STATE", "GPUS", "PORTS", "TIME", "NAME OR COMMAND"});
    const WallTime now = system_clock().wall();
    std::string cursor;
    for (int left = most_; left > 0; left -= kPage) {
      auto list = client_.get_as<model::JobList>(target(left, cursor));
      if (!list) return list.error();
      for (const model::Job& job : list->items) {
        table.add({job.id.str(), job.user, state_text(job), gpus_text(job), numbers(job.ports), age(job, now),
                   what(job)});
      }
      if (!list->next_cursor) return table.text();
      cursor = *list->next_cursor;
    }
    return table.text() + "more jobs are left out; --limit shows more, --json all fields\n";
  }

 private:
  Result<std::string> json_text() {
    auto body = client_.get(target(most_, ""));
    if (!body) return body.error();
    if (!body->ends_with('\n')) *body += '\n';
    return body;
  }

  [[nodiscard]] std::string target(int left, const std::string& cursor) const {
    return "/v1/jobs?limit=" + std::to_string(std::min(left, kPage)) + filter_ +
           (cursor.empty() ? "" : "&cursor=" + client::percent_encoded(cursor));
  }

  client::Client& client_;
  std::string filter_;
  bool json_;
  int most_;
};

// Draws the list anew whenever something happened; a connection that breaks is made again.
int watch(Lister& lister, client::Client& stream) {
  std::optional<Error> failure;
  const auto draw = [&] {
    const auto text = lister.text();
    if (!text) return failure = text.error(), false;
    return print((::isatty(STDOUT_FILENO) == 1 ? "\x1b[H\x1b[2J" : "") + *text) == kDone;
  };
  constexpr auto kSilence = std::chrono::seconds(60);
  while (true) {
    const auto watched = stream.events(
        {.target = "/v1/events", .accept = "text/event-stream"}, draw,
        [&](const client::ServerEvent&) { return draw(); }, kSilence);
    if (failure) return fail(*failure);
    if (watched) return kDone;
    if (watched.error().type == client::kNoDaemonType) return fail(watched.error());
  }
}

}  // namespace

int ps_main(Words words) {
  Parser parser("ps", "Everybody's queued and running jobs", "ebb ps --watch");
  const ServerOption server(parser);
  bool all = false, mine = false, watching = false, json = false;
  std::string user, state, group, name;
  int limit = kPage;
  parser.add_flag("-a,--all", all, "ended ones too");
  auto* mine_flag = parser.add_flag("--mine", mine, "only your own");
  parser.add_flag("--watch", watching, "draw the list anew whenever something happens");
  parser.add_option("--user", user, "only this user's")->excludes(mine_flag);
  parser.add_option("--state", state, "only these states: running,releasing");
  parser.add_option("--group", group, "only of this group");
  parser.add_option("--name", name, "only of this name");
  parser.add_option("--limit", limit, "at most so many, the newest (default 1000)")
      ->check(CLI::PositiveNumber);
  parser.add_flag("--json", json, "print the API's list as JSON");
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());

  std::string filter;
  const auto add = [&filter](std::string_view key, const std::string& value) {
    if (!value.empty()) filter += "&" + std::string(key) + "=" + client::percent_encoded(value);
  };
  add("user", user);
  if (mine) add("mine", "1");
  add("state", !state.empty() ? state : all ? std::string() : std::string(kAlive));
  add("group", group);
  add("name", name);
  Lister lister(*client, filter, json, limit);
  if (watching) {
    auto stream = server.connect();
    if (!stream) return fail(stream.error());
    return watch(lister, *stream);
  }
  const auto text = lister.text();
  if (!text) return fail(text.error());
  return print(*text);
}

}  // namespace ebb::cli

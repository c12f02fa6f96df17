#include "commands.h"
#include "ebb/base/units.h"
#include "server_option.h"

namespace ebb::cli {
namespace {

// Returns when the job is released: the report. Each request waits for at most a minute, as the API allows.
Result<model::Report> cancel_and_wait(client::Client& client, const std::string& id,
                                      const std::string& grace) {
  constexpr auto kLongestWait = std::chrono::seconds(60);
  while (true) {
    auto response = client.send({.method = "DELETE", .target = "/v1/jobs/" + id + "?wait=60s" + grace},
                                kLongestWait + client::Client::kDeadline);
    if (!response) return client::with_near_misses(client, response.error(), id);
    if (response->status == 200) return client::Client::parse_answer<model::Report>(response->body);
  }
}

}  // namespace

int cancel_main(Words words) {
  Parser parser("cancel", "End jobs; returns when what they held is released", "ebb cancel 7f3a91c2");
  const ServerOption server(parser);
  std::vector<std::string> ids;
  std::string grace;
  bool no_wait = false;
  bool json = false;
  parser.add_option("ID", ids, "jobs: ids, unique prefixes, or 'last'")->required();
  parser.add_option("--grace", grace, "time between TERM and kill, in place of the job's own");
  parser.add_flag("--no-wait", no_wait, "return at once; the daemon goes on releasing");
  parser.add_flag("--json", json, "print each report (with --no-wait: job) as JSON, one a line");
  if (const auto status = parser.read(std::move(words))) return *status;
  if (!grace.empty()) {
    const auto duration = parse_duration(grace);
    if (!duration) return fail(duration.error());
    grace = "&grace=" + client::percent_encoded(grace);
  }
  auto client = server.connect();
  if (!client) return fail(client.error());

  int status = kDone;
  const auto note = [&status](int other) { status = status == kDone ? other : status; };
  for (const std::string& word : ids) {
    const auto id = client::resolve_job(*client, word);
    if (!id) {
      note(fail(id.error()));
      continue;
    }
    if (no_wait) {
      auto body = client->call({.method = "DELETE", .target = "/v1/jobs/" + *id + "?wait=0s" + grace});
      if (!body) {
        note(fail(client::with_near_misses(*client, body.error(), *id)));
      } else if (json) {
        print_json(*body);
      }
      continue;
    }
    const auto report = cancel_and_wait(*client, *id, grace);
    if (!report) {
      note(fail(report.error()));
      continue;
    }
    if (json) {
      print_json(model::json_text(*report));
    } else {
      (void)print((ids.size() > 1 ? *id + ": " : "") + model::one_line(*report) + '\n');
    }
    if (!report->complete) note(kRefused);
  }
  return status;
}

}  // namespace ebb::cli

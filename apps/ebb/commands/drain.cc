#include "commands.h"
#include "server_option.h"

namespace ebb::cli {
namespace {

int switch_admission(const std::string& verb, const std::string& summary, const std::string& done,
                     Words words) {
  Parser parser(verb, summary, "ebb " + verb);
  const ServerOption server(parser);
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());
  if (auto answer = client->call({.method = "POST", .target = "/v1/" + verb}); !answer) {
    return fail(answer.error());
  }
  say(done);
  return kDone;
}

}  // namespace

int drain_main(Words words) {
  return switch_admission("drain", "Take no new jobs and start none; running ones go on",
                          "draining: no job is taken or started until 'ebb resume'", std::move(words));
}

int resume_main(Words words) {
  return switch_admission("resume", "Take and start jobs again, after 'ebb drain'", "jobs are taken again",
                          std::move(words));
}

}  // namespace ebb::cli

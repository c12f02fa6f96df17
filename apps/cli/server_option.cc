#include "server_option.h"

#include <unistd.h>

#include "ebb/base/files.h"

namespace ebb::cli {

ServerOption::ServerOption(Parser& parser) {
  parser.add_option("--server", server_,
                    "the daemon: URL (http://host:8765) or path of its socket\n"
                    "(default: EBB_SERVER, EBB_SOCKET, your own, the system's)");
}

Result<client::Endpoint::Kind> ServerOption::kind() const {
  const auto candidates = client::server_candidates(server_, client::Surroundings::of_process());
  if (!candidates) return candidates.error();
  return candidates->front().kind;  // all are of one kind
}

bool ServerOption::named() const {
  const auto here = client::Surroundings::of_process();
  return !server_.empty() || here.ebb_server || here.ebb_socket;
}

Result<JobAnswer> ask_about_job(client::Client& client, const std::string& word, const std::string& target,
                                const std::string& method, Duration deadline) {
  auto id = client::resolve_job(client, word);
  if (!id) return id.error();
  auto body = client.call({.method = method, .target = "/v1/jobs/" + *id + target}, deadline);
  if (!body) return client::with_near_misses(client, body.error(), *id);
  return JobAnswer{.id = std::move(*id), .body = std::move(*body)};
}

int print(std::string_view text) {
  const auto written = write_all(STDOUT_FILENO, text);
  if (!written) say(written.error().message);
  return written ? kDone : kRefused;
}

int print_json(std::string_view body) {
  std::string text(body);
  while (text.ends_with('\n')) text.pop_back();
  return print(text + '\n');
}

}  // namespace ebb::cli

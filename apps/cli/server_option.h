#pragma once

#include <string>

#include "command.h"
#include "ebb/client/client.h"

namespace ebb::cli {

/// --server, which every command has that talks to a daemon.
class ServerOption {
 public:
  explicit ServerOption(Parser& parser);
  [[nodiscard]] Result<client::Client> connect() const { return client::Client::connect(server_); }
  /// Whether the daemon will be asked over a socket or TCP, before anything is connected.
  [[nodiscard]] Result<client::Endpoint::Kind> kind() const;
  /// Whether the user has named one, by the option or by a variable.
  [[nodiscard]] bool named() const;
  [[nodiscard]] const std::string& value() const noexcept { return server_; }

 private:
  std::string server_;
};

/// What a command about one job does: resolves the id, then calls `target` ("" or "/report", …) of that job.
/// Errors about an unknown job name near misses.
struct JobAnswer {
  std::string id;
  std::string body;
};
[[nodiscard]] Result<JobAnswer> ask_about_job(client::Client& client, const std::string& word,
                                              const std::string& target, const std::string& method = "GET",
                                              Duration deadline = client::Client::kDeadline);

/// Prints an API object as it came, with a newline, on stdout; the exit status, as print()'s.
int print_json(std::string_view body);
/// Writes to stdout; the exit status, kRefused where that cannot be done, which it says.
int print(std::string_view text);

}  // namespace ebb::cli

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/client/http.h"
#include "ebb/client/sse.h"
#include "ebb/model/json.h"
#include "ebb/model/log_frame.h"

namespace ebb::client {

/// A daemon as a command that does one thing after the other sees it: every call blocks until its answer or
/// its deadline. One thread.
class Client {
 public:
  static constexpr Duration kDeadline = std::chrono::seconds(30);

  /// Finds a daemon (server_candidates()) and connects. `server`: the value of --server, or empty.
  [[nodiscard]] static Result<Client> connect(std::string_view server);
  /// Connects to this one and no other.
  [[nodiscard]] static Result<Client> connect(std::vector<Endpoint> candidates, std::string key);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  /// The answer; a status other than 2xx is its Error. A request that may safely be repeated (GET, or one
  /// with an Idempotency-Key) is, once, when the connection breaks under it.
  [[nodiscard]] Result<Response> send(const Request& request, Duration deadline = kDeadline);
  /// The body of send().
  [[nodiscard]] Result<std::string> call(const Request& request, Duration deadline = kDeadline);
  [[nodiscard]] Result<std::string> get(const std::string& target);
  template <typename T>
  [[nodiscard]] Result<T> get_as(const std::string& target) {
    auto text = get(target);
    if (!text) return text.error();
    return parse_answer<T>(*text);
  }

  /// Reads an answer's stream of server-sent events until a callback returns false or the stream ends.
  /// `on_open` is called once, when nothing that happens from now on can be missed. No byte for `idle`:
  /// Errc::timeout. A broken stream: Errc::unavailable. Either leaves the client usable.
  [[nodiscard]] Result<void> events(const Request& request, const std::function<bool()>& on_open,
                                    const std::function<bool(const ServerEvent&)>& on_event, Duration idle);
  /// Likewise a stream of log frames, with neither reconnection nor limit on silence.
  [[nodiscard]] Result<void> frames(const Request& request,
                                    const std::function<Result<bool>(const model::LogFrame&)>& on_frame);

  [[nodiscard]] const Endpoint& endpoint() const noexcept;

  /// An API object out of an answer's text. Fields of a newer server are passed over.
  template <typename T>
  [[nodiscard]] static Result<T> parse_answer(std::string_view text) {
    auto value = model::from_json_text<T>(text, {.bytes = 64 << 20}, model::UnknownMembers::ignore);
    if (value) return value;
    return Error{.code = Errc::internal,
                 .message = "the server's answer makes no sense: " + value.error().message,
                 .pointer = {},
                 .type = {}};
  }

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// The id that `word` names: a full id is taken as it is, a prefix of at least 4 digits must fit exactly one
/// job, "last" is the caller's newest. Errc::invalid for anything else, Errc::not_found names near misses.
[[nodiscard]] Result<std::string> resolve_job(Client& client, std::string_view word);
/// `error`, or where it means that there is no such job, one that names the ids that may have been meant.
[[nodiscard]] Error with_near_misses(Client& client, Error error, std::string_view id);
/// Those of `ids` that differ from `id` in one digit, or in two neighbours that changed places.
[[nodiscard]] std::vector<std::string> near_misses(std::string_view id, const std::vector<std::string>& ids);

}  // namespace ebb::client

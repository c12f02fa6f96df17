// A request and its answer as handlers see them.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/daemon/caller.h"

namespace ebb::server {

template <typename T>
using Task = boost::asio::awaitable<T>;

class Connection;

/// The path and the query of a request, percent-decoded.
struct Target {
  std::vector<std::string> segments;
  std::vector<std::pair<std::string, std::string>> query;
};
/// Errc::invalid for what is no origin-form target, a path with dot segments or NUL, or text that is no
/// UTF-8.
[[nodiscard]] Result<Target> parse_target(std::string_view text);

struct Request {
  std::string method;
  std::string target_text;
  Target target;
  std::map<std::string, std::string> path;                   ///< "id" → what stood for {id}
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::string body;
  bool http_1_0 = false;
  bool keep_alive = true;
  /// What every answer to this request carries besides its own headers (CORS).
  std::vector<std::pair<std::string, std::string>> answer_headers;

  daemon::Caller caller;
  Connection* connection = nullptr;  ///< lives longer than the request

  /// The value of a header by its lower-case name; of several equal ones the first.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
  [[nodiscard]] std::optional<std::string_view> query(std::string_view name) const;
  [[nodiscard]] bool head() const { return method == "HEAD"; }
  /// Whether Accept asks for this media type, by name.
  [[nodiscard]] bool accepts(std::string_view type) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};
  bool close = false;  ///< the connection cannot go on after this one
};

[[nodiscard]] std::string_view reason_phrase(int status);
/// application/problem+json.
[[nodiscard]] Response problem(const Error& error);
[[nodiscard]] Response problem(int status, std::string type, std::string detail);
/// The form of errors outside /v1: {"detail": text}.
[[nodiscard]] Response plain_error(int status, std::string_view detail);
/// Whether errors of this path are problems; else they are plain.
[[nodiscard]] bool is_v1(std::string_view target);

/// The head of an answer, ready to be sent. `length`: Content-Length; none: chunked, or to the connection's
/// end.
[[nodiscard]] std::string write_head(const Request& request, const Response& response,
                                     std::optional<std::size_t> length);

}  // namespace ebb::server

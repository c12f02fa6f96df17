// The table of routes. Dispatch, 405 with Allow, /openapi.json and the tests of who may do what follow from
// it.
#pragma once

#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "message.h"

namespace ebb::server {

class Core;

/// Who gets as far as the handler; what a caller may do there the daemon decides.
enum class Access {
  open,         ///< anybody
  caller,       ///< a key, or the peer of the Unix socket
  compat,       ///< likewise, but nobody needs one where [compat] auth is off; errors in the original's form
  compat_open,  ///< anybody; errors in the original's form
};

using Plain = Task<Response> (*)(Core&, Request&);
/// Answers through the request's connection; returns the status.
using Streaming = Task<int> (*)(Core&, Request&);

struct Route {
  std::string_view method;
  std::string_view pattern;  ///< "/v1/jobs/{id}"
  Access access = Access::caller;
  std::variant<Plain, Streaming> handler;
  std::string_view summary;
  std::vector<std::string_view> query = {};  ///< the parameters; others are refused under /v1
  std::string_view request_type = {};        ///< the API type of the body; empty: none
  std::string_view answer_type = {};         ///< the API type of the answer; empty: not one of them
  int success = 200;
};

[[nodiscard]] std::span<const Route> routes();

struct Match {
  const Route* route = nullptr;
  std::vector<std::string_view> allowed;  ///< where only the method is wrong: the right ones
};
/// Finds the route and fills in request.path. HEAD is served by GET's.
[[nodiscard]] Match match(Request& request);
/// "GET, HEAD, DELETE".
[[nodiscard]] std::string allow_header(const std::vector<std::string_view>& methods);

}  // namespace ebb::server

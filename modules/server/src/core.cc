#include "core.h"

#include <netdb.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "compat.h"
#include "ebb/base/text.h"
#include "gate.h"
#include "parameters.h"

namespace ebb::server {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kMostConnections = 8192;
constexpr std::size_t kMostBySocketPeer = 4096;
constexpr std::size_t kMostByAddress = 512;
// What somebody without a key may make us read, to be told that it is no JSON.
constexpr std::uint64_t kAnonymousBody = 64 << 10;

bool compatible(Access access) { return access == Access::compat || access == Access::compat_open; }

Response error_response(const Request& request, int status, std::string type, const std::string& detail) {
  return is_v1(request.target_text) ? problem(status, std::move(type), detail) : plain_error(status, detail);
}

Response no_such_path(const Request& request) {
  return is_v1(request.target_text)
             ? problem(404, "not-found", "there is nothing at this path; see /openapi.json")
             : plain_error(404, "Not Found");
}

Response wrong_method(const Request& request, const Match& found) {
  const std::string allow = allow_header(found.allowed);
  Response response = is_v1(request.target_text)
                          ? problem(405, "method-not-allowed", "only " + allow + " work here")
                          : plain_error(405, "Method Not Allowed");
  response.headers.emplace_back("Allow", allow);
  return response;
}

// Under /v1 a parameter that nobody reads is a mistake of the caller's, not to be passed over; `state` alone
// may stand several times.
std::optional<Response> wrong_parameter(const Request& request, const Route& route) {
  if (compatible(route.access) || route.access == Access::open) return std::nullopt;
  for (const auto& [name, value] : request.target.query) {
    if (std::find(route.query.begin(), route.query.end(), name) != route.query.end()) {
      const auto same = [&name](const auto& other) { return other.first == name; };
      if (name == "state" || std::ranges::count_if(request.target.query, same) == 1) continue;
      return problem(bad_parameter(name, "given more than once"));
    }
    return problem(Error{.code = Errc::invalid,
                         .message = "there is no query parameter '" + printable(name) + "' here",
                         .pointer = {},
                         .type = "unknown-field"});
  }
  return std::nullopt;
}

std::optional<Response> wrong_content_type(const Request& request, const Route& route) {
  const bool body =
      request.header("content-length").value_or("0") != "0" || request.header("transfer-encoding");
  if (!body || !is_v1(request.target_text) || route.method == "GET" || route.method == "DELETE")
    return std::nullopt;
  std::string_view type = request.header("content-type").value_or("");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  if (type == "application/json") return std::nullopt;
  return problem(415, "unsupported-media-type",
                 "the body must be JSON, and say so: Content-Type: application/json");
}

}  // namespace

Core::Core(asio::io_context& io, daemon::Daemon& daemon)
    : io_(io),
      daemon_(daemon),
      logs_(io),
      owners_(daemon),
      most_connections_(kMostConnections),
      emptied_(io) {
  rlimit files{};
  // Half of the descriptors stay for jobs, logs and the database.
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
    most_connections_ = std::clamp<std::size_t>(files.rlim_cur / 2, 16, kMostConnections);
  }
}

std::uint64_t Core::max_body() const { return static_cast<std::uint64_t>(config().server.max_body); }

std::string Core::peer_name(const Remote& remote) {
  if (!remote.over_socket) return remote.address;
  return "uid " + (remote.peer ? std::to_string(remote.peer->uid) : std::string("unknown"));
}

std::shared_ptr<Connection> Core::accept(Socket socket, Remote remote) {
  std::size_t& of_peer = by_peer_[peer_name(remote)];
  const std::size_t most =
      std::min(most_connections_, remote.over_socket ? kMostBySocketPeer : kMostByAddress);
  if (draining_ || connections_.size() >= most_connections_ || of_peer >= most) {
    if (of_peer == 0) by_peer_.erase(peer_name(remote));
    const Response response =
        problem(503, "too-many-connections", "this server has too many connections; try later");
    Request none;
    none.keep_alive = false;
    const std::string text = write_head(none, response, response.body.size()) + response.body;
    // Best effort, and never waits: a fresh socket's buffer is empty.
    (void)::send(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return nullptr;
  }
  ++of_peer;
  const std::uint64_t number = ++last_number_;
  auto connection = std::make_shared<Connection>(*this, std::move(socket), std::move(remote), number);
  connections_.emplace(number, connection);
  asio::co_spawn(io_, connection->serve(), asio::detached);
  return connection;
}

void Core::closed(Connection& connection) {
  const auto at = by_peer_.find(peer_name(connection.remote()));
  if (at != by_peer_.end() && --at->second == 0) by_peer_.erase(at);
  if (!draining_) owners_.closed(connection.number());
  connections_.erase(connection.number());
  if (draining_ && connections_.empty()) emptied_.notify();
}

Task<bool> Core::finish(Duration grace) {
  constexpr Duration kClose = std::chrono::seconds(5);
  draining_ = true;
  auto all = connections_;  // close() may take them out
  for (const auto& [number, connection] : all) {
    if (!connection->busy()) connection->close();
  }
  all.clear();
  if (!connections_.empty()) co_await emptied_.wait(grace);
  closing_ = true;
  all = connections_;
  for (const auto& [number, connection] : all) connection->close();
  all.clear();
  if (!connections_.empty()) co_await emptied_.wait(kClose);
  co_return connections_.empty();
}

std::optional<Response> Core::check_source(const Connection& connection, Request& request) const {
  const Remote& remote = connection.remote();
  if (!remote.over_socket && !host_allowed(request.header("host").value_or(""), remote, config())) {
    return error_response(
        request, 403, "foreign-host",
        "the Host header does not name this server; see [jobs] advertise in docs/config.md");
  }
  const auto origin = request.header("origin");
  if (!origin) return std::nullopt;
  const bool v1 = is_v1(request.target_text);
  const auto& allowed = config().compat.cors_origins;
  if (!v1 && std::find(allowed.begin(), allowed.end(), *origin) != allowed.end()) {
    request.answer_headers.emplace_back("Access-Control-Allow-Origin", std::string(*origin));
    request.answer_headers.emplace_back("Vary", "Origin");
    return std::nullopt;
  }
  if (same_origin(*origin, request.header("host").value_or(""))) return std::nullopt;
  return error_response(request, 403, "foreign-origin",
                        "requests from pages of another origin are not accepted");
}

// Fills in the caller, or says why there is none.
std::optional<Error> Core::identify(Connection& connection, Request& request, Access access) {
  const auto unauthenticated = [](std::string message) {
    return Error{.code = Errc::unauthenticated, .message = std::move(message), .pointer = {}, .type = {}};
  };
  const bool open_to_all = compatible(access) && !config().compat.auth &&
                           (connection.remote().over_socket || connection.remote().loopback);
  const auto authorization = request.header("authorization");
  if (!authorization || authorization->empty() || open_to_all) {
    if (connection.remote().over_socket) {
      const auto& caller = connection.peer_caller();
      if (!caller) return caller.error();
      request.caller = *caller;
      return std::nullopt;
    }
    if (!open_to_all) return unauthenticated("Authorization header required");
    request.caller = daemon_.anonymous();
    return std::nullopt;
  }
  const auto key = bearer_key(*authorization);
  if (!key) return unauthenticated("Invalid authorization header format");
  auto caller = daemon_.caller_of_key(*key);
  if (!caller) {
    if (caller.error().code != Errc::unauthenticated) return caller.error();
    return compatible(access) ? unauthenticated("Invalid API key") : caller.error();
  }
  request.caller = std::move(*caller);
  return std::nullopt;
}

Core::Admission Core::admit(Connection& connection, Request& request) {
  Admission admission{.route = nullptr, .refusal = {}, .late_refusal = {}, .body_limit = max_body()};
  if (request.target_text.find("otk_") != std::string::npos) {
    admission.refusal =
        error_response(request, 400, "key-in-url",
                       "a key in a URL ends up in logs; send it in the Authorization header, and "
                       "have this one replaced: ebb user rotate NAME");
    return admission;
  }
  auto target = parse_target(request.target_text);
  if (!target) {
    admission.refusal = error_response(request, 400, "bad-request", target.error().message);
    return admission;
  }
  request.target = std::move(*target);
  admission.refusal = check_source(connection, request);
  if (admission.refusal) return admission;
  if (request.method == "OPTIONS" && !request.answer_headers.empty()) {
    admission.refusal = cors_preflight();
    return admission;
  }
  const Match found = match(request);
  if (found.route == nullptr) {
    admission.refusal = found.allowed.empty() ? no_such_path(request) : wrong_method(request, found);
    return admission;
  }
  admission.route = found.route;
  const Access access = found.route->access;
  if (access == Access::caller || access == Access::compat) {
    if (auto error = identify(connection, request, access)) {
      const int status = error->code == Errc::unauthenticated ? 401 : model::to_problem(*error).status;
      Response response = compatible(access) ? plain_error(status, error->message) : problem(*error);
      if (compatible(access) && found.route->method == "POST") {
        admission.late_refusal = std::move(response);
        admission.body_limit = std::min(admission.body_limit, kAnonymousBody);
      } else {
        admission.refusal = std::move(response);
      }
      return admission;
    }
  }
  admission.refusal = wrong_parameter(request, *found.route);
  if (!admission.refusal) admission.refusal = wrong_content_type(request, *found.route);
  return admission;
}

Task<int> Core::handle(Connection& connection, Request& request, const Admission& admission) {
  if (admission.late_refusal) {
    Response response = compat::unparsable(request).value_or(*admission.late_refusal);
    const int status = response.status;
    co_await connection.send(request, std::move(response));
    co_return status;
  }
  if (const auto* streaming = std::get_if<Streaming>(&admission.route->handler)) {
    co_return co_await (*streaming)(*this, request);
  }
  Response response;
  try {
    response = co_await std::get<Plain>(admission.route->handler)(*this, request);
  } catch (const boost::system::system_error&) {
    throw;  // the connection or the server ends
  } catch (const std::exception& error) {
    spdlog::error("{} {}: {}", request.method, admission.route->pattern, error.what());
    const std::string detail = "a defect of the server; its log has more";
    response = error_response(request, 500, "internal-error", detail);
  }
  const int status = response.status;
  co_await connection.send(request, std::move(response));
  co_return status;
}

void Core::record(const Admission& admission, int status, std::chrono::steady_clock::time_point started) {
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  if (admission.route == nullptr) {
    metrics_.count("", "none", status, took.count());
  } else {
    metrics_.count(admission.route->method, admission.route->pattern, status, took.count());
  }
}

}  // namespace ebb::server

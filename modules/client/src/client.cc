#include "ebb/client/client.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <optional>

namespace ebb::client {
namespace asio = boost::asio;

class Client::Impl {
 public:
  Impl(std::vector<Endpoint> to, std::string bearer) : candidates(std::move(to)), key(std::move(bearer)) {}

  // Runs one coroutine to its end on this thread.
  template <typename T>
  T wait(Task<T> task) {
    std::optional<T> result;
    asio::co_spawn(
        io,
        [](Task<T> inner, std::optional<T>& out) -> Task<void> { out.emplace(co_await std::move(inner)); }(
                                                     std::move(task), result),
        [](std::exception_ptr failure) {
          if (failure) std::rethrow_exception(failure);
        });
    io.restart();
    io.run();
    return std::move(*result);
  }

  Result<void> reconnect() {
    connection.reset();
    auto made = wait(Connection::connect(io, candidates, key));
    if (!made) return made.error();
    connection.emplace(std::move(*made));
    // Whatever happens later belongs to the daemon that was found first.
    candidates = {connection->endpoint()};
    return {};
  }

  Result<void> make_usable() {
    if (connection && connection->usable()) return {};
    return reconnect();
  }

  // Opens a stream; an answer other than 2xx is its Error.
  Result<void> open(const Request& request) {
    if (auto ready = make_usable(); !ready) return ready.error();
    auto response = wait(connection->open(request, kDeadline));
    if (!response) return response.error();
    if (!response->ok()) return error_of(*response);
    return {};
  }

  asio::io_context io{1};
  std::vector<Endpoint> candidates;
  std::string key;
  std::optional<Connection> connection;
};

Client::Client(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::connect(std::string_view server) {
  const auto surroundings = Surroundings::of_process();
  auto candidates = server_candidates(server, surroundings);
  if (!candidates) return candidates.error();
  auto key = find_key(surroundings);
  if (!key) return key.error();
  return connect(std::move(*candidates), std::move(*key));
}

Result<Client> Client::connect(std::vector<Endpoint> candidates, std::string key) {
  auto impl = std::make_unique<Impl>(std::move(candidates), std::move(key));
  if (auto connected = impl->reconnect(); !connected) return connected.error();
  return Client(std::move(impl));
}

Result<Response> Client::send(const Request& request, Duration deadline) {
  const bool repeatable =
      request.method == "GET" || std::ranges::any_of(request.headers, [](const auto& header) {
        return header.first == "Idempotency-Key";
      });
  for (int attempt = 1;; ++attempt) {
    if (auto ready = impl_->make_usable(); !ready) return ready.error();
    auto response = impl_->wait(impl_->connection->exchange(request, deadline));
    if (response && !response->ok()) return error_of(*response);
    if (response) return response;
    if (!repeatable || attempt == 2 || response.error().code != Errc::unavailable) return response.error();
  }
}

Result<std::string> Client::call(const Request& request, Duration deadline) {
  auto response = send(request, deadline);
  if (!response) return response.error();
  return std::move(response->body);
}

Result<std::string> Client::get(const std::string& target) { return call({.target = target}); }

Result<void> Client::events(const Request& request, const std::function<bool()>& on_open,
                            const std::function<bool(const ServerEvent&)>& on_event, Duration idle) {
  if (auto opened = impl_->open(request); !opened) return opened;
  if (!on_open()) return impl_->connection->close(), Result<void>();
  SseParser parser;
  while (true) {
    auto bytes = impl_->wait(impl_->connection->read_some(idle));
    if (!bytes) return bytes.error();
    if (bytes->empty()) return {};
    parser.feed(*bytes);
    while (true) {
      auto event = parser.next();
      if (!event) return event.error();
      if (!*event) break;
      if (!on_event(**event)) return impl_->connection->close(), Result<void>();
    }
  }
}

Result<void> Client::frames(const Request& request,
                            const std::function<Result<bool>(const model::LogFrame&)>& on_frame) {
  if (auto opened = impl_->open(request); !opened) return opened;
  model::LogFrameParser parser;
  while (true) {
    auto bytes = impl_->wait(impl_->connection->read_some(std::chrono::hours(24 * 365)));
    if (!bytes) return bytes.error();
    if (bytes->empty()) return {};
    parser.feed(*bytes);
    while (true) {
      auto frame = parser.next();
      if (!frame) return frame.error();
      if (!*frame) break;
      auto more = on_frame(**frame);
      if (!more) return impl_->connection->close(), Result<void>(more.error());
      if (!*more) return impl_->connection->close(), Result<void>();
    }
  }
}

const Endpoint& Client::endpoint() const noexcept { return impl_->candidates.front(); }

}  // namespace ebb::client

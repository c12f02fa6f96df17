#include "ebb/client/http.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <optional>

#include "ebb/base/files.h"
#include "ebb/model/json.h"

namespace ebb::client {
namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::size_t kLargestAnswer = 64 << 20;
constexpr std::size_t kChunk = 64 << 10;
constexpr std::size_t kReadAtOnce = 16 << 10;
constexpr std::size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;

Error lost(const Endpoint& endpoint, std::string_view what) {
  return {.code = Errc::unavailable,
          .message = "the connection to " + endpoint.text() + " broke: " + std::string(what),
          .pointer = {},
          .type = {}};
}

Error too_late(const Endpoint& endpoint, Duration deadline) {
  return {.code = Errc::timeout,
          .message = "the daemon at " + endpoint.text() + " did not answer within " +
                     std::to_string(deadline.count() / 1'000'000) + " s",
          .pointer = {},
          .type = {}};
}

}  // namespace

class Connection::Impl : public std::enable_shared_from_this<Impl> {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  using Parser = http::response_parser<http::buffer_body>;

  Impl(asio::io_context& io, Endpoint to, std::string bearer)
      : socket(io), timer(io), endpoint(std::move(to)), key(std::move(bearer)) {
    buffer.reserve(kReadAtOnce);  // Beast reads as much at once as fits
  }

  // Closes the socket when the deadline passes before it is destroyed, which ends whatever waits on it.
  class Alarm {
   public:
    Alarm(Impl& impl, Duration deadline) : impl_(impl) {
      impl_.expired = false;
      impl_.timer.expires_after(deadline);
      impl_.timer.async_wait([weak = impl_.weak_from_this(), armed = ++impl_.armed](error_code error) {
        const auto self = weak.lock();
        // An expiry that was queued before the alarm was taken back still arrives: `armed` tells.
        if (error || !self || self->armed != armed) return;
        self->expired = true;
        self->close();
      });
    }
    ~Alarm() {
      ++impl_.armed;
      impl_.timer.cancel();
    }
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;

   private:
    Impl& impl_;
  };

  void close() noexcept {
    error_code ignored;
    socket.close(ignored);
  }

  [[nodiscard]] Error failure(error_code error, Duration deadline) {
    const Error result = expired ? too_late(endpoint, deadline) : lost(endpoint, error.message());
    close();
    return result;
  }

  Task<Result<void>> connect(Duration deadline) {
    const Alarm alarm(*this, deadline);
    error_code error;
    if (endpoint.kind == Endpoint::Kind::socket) {
      co_await connect_socket(error);
    } else {
      co_await connect_tcp(error);
    }
    if (error) co_return connect_failure(error);
    co_return Result<void>();
  }

  // Asio makes sockets that a child would inherit.
  void open_socket(int family, int protocol, error_code& error) {
    socket.open(asio::generic::stream_protocol(family, protocol), error);
    if (!error) ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
  }

  Task<void> connect_socket(error_code& error) {
    std::string path = endpoint.path;
    UniqueFd folder;
    if (path.size() > kLongestSocketPath) {  // the kernel's limit is on the text, not on the depth
      const auto slash = path.rfind('/');
      if (slash == std::string::npos) {
        error = asio::error::name_too_long;
        co_return;
      }
      folder.reset(::open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
      path = "/proc/self/fd/" + std::to_string(folder.get()) + path.substr(slash);
    }
    if (path.size() > kLongestSocketPath) {
      error = asio::error::name_too_long;
      co_return;
    }
    const asio::local::stream_protocol::endpoint address(path);
    asio::steady_timer pause(socket.get_executor());
    while (true) {
      open_socket(AF_UNIX, 0, error);
      if (error) co_return;
      co_await socket.async_connect(address, asio::redirect_error(asio::use_awaitable, error));
      if (error != asio::error::try_again || expired) co_return;
      // The daemon's backlog is full, and the kernel has no event for the moment when it is not.
      close();
      pause.expires_after(std::chrono::milliseconds(5));
      co_await pause.async_wait(asio::use_awaitable);
    }
  }

  // A network that is cut says nothing. The kernel asks: after a minute of silence the connection breaks,
  // also under a command that only listens (`ebb logs -f`).
  void notice_silence() noexcept {
    const int on = 1, idle_s = 30, every_s = 10, times = 3;
    const int fd = socket.native_handle();
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
  }

  Task<void> connect_tcp(error_code& error) {
    asio::ip::tcp::resolver resolver(socket.get_executor());
    asio::ip::tcp::resolver::results_type addresses;
    if (const auto number = asio::ip::make_address(endpoint.host, error); !error) {
      addresses = asio::ip::tcp::resolver::results_type::create(
          asio::ip::tcp::endpoint(number, static_cast<std::uint16_t>(std::stoi(endpoint.port))),
          endpoint.host, endpoint.port);
    } else {
      addresses = co_await resolver.async_resolve(endpoint.host, endpoint.port,
                                                  asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
    }
    for (const auto& address : addresses) {
      close();
      open_socket(address.endpoint().protocol().family(), IPPROTO_TCP, error);
      if (error) continue;
      co_await socket.async_connect(address.endpoint(), asio::redirect_error(asio::use_awaitable, error));
      if (!error) {
        error_code ignored;
        socket.set_option(asio::ip::tcp::no_delay(true), ignored);
        notice_silence();
        co_return;
      }
      if (expired) co_return;
    }
  }

  [[nodiscard]] Error connect_failure(error_code error) {
    close();
    const std::string message = error.message();
    if (error == asio::error::access_denied || error.value() == EPERM) {
      return {.code = Errc::forbidden,
              .message = "you may not open " + endpoint.text() + ": " + message,
              .pointer = {},
              .type = {}};
    }
    return {.code = Errc::unavailable,
            .message = "no daemon at " + endpoint.text() + ": " + (expired ? "no answer" : message),
            .pointer = {},
            .type = std::string(kNoDaemonType)};
  }

  [[nodiscard]] std::string head_of(const Request& request) const {
    std::string head = request.method + ' ' + request.target + " HTTP/1.1\r\nHost: ";
    head += endpoint.kind == Endpoint::Kind::tcp ? endpoint.text().substr(7) : "localhost";
    head += "\r\nUser-Agent: ebb\r\nAccept: " + request.accept + "\r\n";
    if (endpoint.kind == Endpoint::Kind::tcp && !key.empty()) head += "Authorization: Bearer " + key + "\r\n";
    for (const auto& [name, value] : request.headers) head += name + ": " + value + "\r\n";
    if (!request.body.empty()) head += "Content-Type: application/json\r\n";
    if (!request.body.empty() || request.method != "GET") {
      head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
    }
    return head + "\r\n";
  }

  Task<Result<Response>> open(const Request& request, Duration deadline) {
    if (!socket.is_open()) co_return lost(endpoint, "it is closed");
    const Alarm alarm(*this, deadline);
    error_code error;
    const std::string text = head_of(request) + request.body;
    co_await asio::async_write(socket, asio::buffer(text), asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return failure(error, deadline);
    parser.emplace();
    parser->body_limit(boost::none);
    co_await http::async_read_header(socket, buffer, *parser,
                                     asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return failure(error, deadline);
    Response response{.status = static_cast<int>(parser->get().result_int()),
                      .content_type = std::string(parser->get()[http::field::content_type]),
                      .body = {},
                      .log_path = std::string(parser->get()["Ebb-Log-Path"])};
    if (response.ok()) co_return response;
    auto body = co_await read_all(deadline);
    if (!body) co_return body.error();
    response.body = std::move(*body);
    co_return response;
  }

  // The caller has armed an alarm.
  Task<Result<std::string>> read_chunk(Duration deadline) {
    std::string chunk(kChunk, '\0');
    while (true) {
      if (!parser || parser->is_done()) co_return std::string();
      if (!socket.is_open()) co_return lost(endpoint, "it is closed");
      auto& body = parser->get().body();
      body.data = chunk.data();
      body.size = chunk.size();
      error_code error;
      co_await http::async_read_some(socket, buffer, *parser,
                                     asio::redirect_error(asio::use_awaitable, error));
      if (error == http::error::need_buffer) error = {};
      const std::size_t size = chunk.size() - body.size;
      if (size > 0) {
        chunk.resize(size);
        co_return chunk;
      }
      if (error) co_return failure(error, deadline);
    }
  }

  Task<Result<std::string>> read_all(Duration deadline) {
    std::string body;
    while (true) {
      auto chunk = co_await read_chunk(deadline);
      if (!chunk) co_return chunk.error();
      if (chunk->empty()) break;
      body += *chunk;
      if (body.size() > kLargestAnswer) {
        close();
        co_return Error{.code = Errc::too_large,
                        .message = "the answer of " + endpoint.text() + " is larger than 64 MiB",
                        .pointer = {},
                        .type = {}};
      }
    }
    if (!parser->keep_alive()) close();
    co_return body;
  }

  Socket socket;
  asio::steady_timer timer;
  Endpoint endpoint;
  std::string key;
  boost::beast::flat_buffer buffer;
  std::optional<Parser> parser;
  std::uint64_t armed = 0;
  bool expired = false;
};

Connection::Connection(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

Connection::~Connection() {
  if (impl_) impl_->close();
}

Task<Result<Connection>> Connection::connect(asio::io_context& io, std::span<const Endpoint> candidates,
                                             std::string key, Duration deadline) {
  if (key.find_first_of("\r\n") != std::string::npos) {
    co_return Error{.code = Errc::invalid,
                    .message = "the key in EBB_API_KEY has a line break in it",
                    .pointer = {},
                    .type = {}};
  }
  for (const Endpoint& endpoint : candidates) {
    auto impl = std::make_shared<Impl>(io, endpoint, key);
    auto connected = co_await impl->connect(deadline);
    if (connected) co_return Connection(std::move(impl));
    if (connected.error().type != kNoDaemonType) co_return connected.error();
  }
  co_return no_daemon(candidates);
}

// The coroutines below hold the Impl themselves, so that they outlive a Connection that is destroyed while
// they wait.

Task<Result<Response>> Connection::exchange(Request request, Duration deadline) {
  const auto impl = impl_;
  auto response = co_await impl->open(request, deadline);
  if (!response || !response->ok()) co_return response;
  const Impl::Alarm alarm(*impl, deadline);
  auto body = co_await impl->read_all(deadline);
  if (!body) co_return body.error();
  response->body = std::move(*body);
  co_return response;
}

Task<Result<Response>> Connection::open(Request request, Duration deadline) {
  const auto impl = impl_;
  co_return co_await impl->open(request, deadline);
}

Task<Result<std::string>> Connection::read_some(Duration idle) {
  const auto impl = impl_;
  const Impl::Alarm alarm(*impl, idle);
  co_return co_await impl->read_chunk(idle);
}

Task<Result<void>> Connection::send_raw(std::string bytes) {
  constexpr auto kDeadline = std::chrono::seconds(5);
  const auto impl = impl_;
  const Impl::Alarm alarm(*impl, kDeadline);
  error_code error;
  co_await asio::async_write(impl->socket, asio::buffer(bytes),
                             asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return impl->failure(error, kDeadline);
  co_return Result<void>();
}

void Connection::close() noexcept { impl_->close(); }
const Endpoint& Connection::endpoint() const noexcept { return impl_->endpoint; }
bool Connection::usable() const noexcept {
  return impl_->socket.is_open() && (!impl_->parser || impl_->parser->is_done());
}

Error error_of(const Response& response) {
  if (response.content_type.starts_with("application/problem+json")) {
    if (const auto problem = model::from_json_text<model::Problem>(response.body)) {
      Error error = model::to_error(*problem);
      if (response.status == 401) {
        error.message += "; the key goes into EBB_API_KEY, or into ~/.config/ebb/key (chmod 600)";
      }
      return error;
    }
  }
  const Errc code = response.status == 401   ? Errc::unauthenticated
                    : response.status == 403 ? Errc::forbidden
                    : response.status == 404 ? Errc::not_found
                    : response.status < 500  ? Errc::invalid
                                             : Errc::internal;
  return {.code = code,
          .message = "the server answered with status " + std::to_string(response.status) +
                     " and no explanation; is it an Ebb daemon?",
          .pointer = {},
          .type = {}};
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
        std::string_view("-._~").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

}  // namespace ebb::client

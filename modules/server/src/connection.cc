#include "connection.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdio>

#include "core.h"
#include "ebb/base/units.h"

namespace ebb::server {

struct Connection::Parser : boost::beast::http::request_parser<boost::beast::http::string_body> {};

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using namespace std::chrono_literals;

constexpr std::uint32_t kHeaderLimit = 16 << 10;
constexpr std::size_t kBufferLimit = 128 << 10;
constexpr Duration kHeaderTime = 10s;
constexpr Duration kBodyTime = 30s;
constexpr Duration kIdleTime = 75s;
constexpr Duration kAnswerStall = 60s;
// What is still on its way when a request has been refused: more than any body that may be taken.
constexpr Duration kLingerTime = 1s;
constexpr std::size_t kLingerBytes = 128 << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

void take_head(const Connection::Parser& parser, Request& request) {
  const auto& message = parser.get();
  const auto method = message.method_string();
  request.method.assign(method.data(), method.size());
  const auto target = message.target();
  request.target_text.assign(target.data(), target.size());
  request.http_1_0 = message.version() < 11;
  request.keep_alive = message.keep_alive();
  for (const auto& field : message) {
    const auto name = field.name_string();
    const auto value = field.value();
    request.headers.emplace_back(lower({name.data(), name.size()}), std::string(value.data(), value.size()));
  }
}

// What Beast lets pass and we do not.
std::optional<std::string> fault_of(const Request& request) {
  const auto count = [&](std::string_view name) {
    return std::count_if(request.headers.begin(), request.headers.end(),
                         [&](const auto& header) { return header.first == name; });
  };
  if (count("host") > 1 || (count("host") == 0 && !request.http_1_0))
    return "exactly one Host header is needed";
  if (count("authorization") > 1) return "more than one Authorization header";
  const auto encoding = request.header("transfer-encoding");
  if (encoding && (count("transfer-encoding") > 1 || lower(*encoding) != "chunked")) {
    return "the only transfer encoding that is understood is chunked";
  }
  return std::nullopt;
}

Response fault(const boost::system::error_code& failure, std::uint64_t body_limit) {
  Response response;
  if (failure == http::error::header_limit || failure == http::error::buffer_overflow) {
    response = problem(431, "header-too-large", "the request's header is larger than 16 KiB");
  } else if (failure == http::error::body_limit) {
    response =
        problem(413, "payload-too-large",
                "the request's body is larger than " + format_size(static_cast<std::int64_t>(body_limit)) +
                    ", the most that is taken here ([server] max_body)");
  } else {
    response = problem(400, "bad-request", "this is no HTTP/1.1 request: " + failure.message());
  }
  response.close = true;
  return response;
}

bool is_http_fault(const boost::system::error_code& failure) {
  return failure.category() == make_error_code(http::error::bad_method).category() &&
         failure != http::error::end_of_stream && failure != http::error::partial_message;
}

Response too_slow(std::string_view what) {
  Response response = problem(408, "too-slow", std::string(what) + " did not arrive in time");
  response.close = true;
  return response;
}

}  // namespace

Connection::Connection(Core& core, Socket socket, Remote remote, std::uint64_t number)
    : core_(core),
      socket_(std::move(socket)),
      remote_(std::move(remote)),
      number_(number),
      buffer_(kBufferLimit),
      deadline_(core.io()) {}

const Result<daemon::Caller>& Connection::peer_caller() {
  if (!peer_caller_) {
    if (remote_.peer) {
      peer_caller_ = core_.daemon().caller_of_peer(remote_.peer);
    } else {
      peer_caller_ = Error{.code = Errc::unauthenticated,
                           .message = "the process at the other end of the socket cannot be identified",
                           .pointer = {},
                           .type = {}};
    }
  }
  return *peer_caller_;
}

Task<void> Connection::serve() {
  const auto self = shared_from_this();
  try {
    for (bool more = true; more && !gone_ && !core_.draining();) more = co_await one_request();
  } catch (const boost::system::system_error&) {  // NOLINT(bugprone-empty-catch)
    // The socket was closed under it.
  } catch (const std::exception& error) {
    spdlog::error("a request was abandoned: {}", error.what());
  }
  close();
  core_.closed(*this);
}

void Connection::close() {
  gone_ = true;
  disarm();
  boost::system::error_code ignored;
  socket_.close(ignored);
  if (wakeup_ != nullptr) wakeup_->notify();
}

void Connection::arm(Duration most) {
  timed_out_ = false;
  deadline_.expires_after(most);
  deadline_.async_wait(
      [weak = weak_from_this(), number = ++armed_](const boost::system::error_code& failure) {
        const auto self = weak.lock();
        if (failure || !self || self->armed_ != number) return;
        self->timed_out_ = true;
        boost::system::error_code ignored;
        self->socket_.cancel(ignored);
      });
}

void Connection::disarm() {
  ++armed_;
  deadline_.cancel();
}

void Connection::skip_empty_lines() {
  const auto data = buffer_.data();
  const auto* bytes = static_cast<const char*>(data.data());
  std::size_t count = 0;
  while (count < data.size() && (bytes[count] == '\r' || bytes[count] == '\n')) ++count;
  buffer_.consume(count);
}

// True when bytes of a request are in the buffer.
Task<bool> Connection::wait_for_request() {
  const bool owner = core_.owns_jobs(*this);  // its silence means nothing: the job may run for days
  if (!owner) arm(kIdleTime);
  for (skip_empty_lines(); buffer_.size() == 0; skip_empty_lines()) {
    const bool read = co_await read_more();
    if (!read) co_return false;
  }
  disarm();
  co_return true;
}

Task<bool> Connection::read_more() {
  constexpr std::size_t kPiece = 4096;
  boost::system::error_code failure;
  const std::size_t count = co_await socket_.async_read_some(
      buffer_.prepare(kPiece), asio::redirect_error(asio::use_awaitable, failure));
  if (failure) co_return false;
  buffer_.commit(count);
  co_return true;
}

// Reads up to the end of the header (or of the whole message); answers what goes wrong. False: no more.
Task<bool> Connection::read_part(Request& request, Parser& parser, bool head, Duration most) {
  boost::system::error_code failure;
  arm(most);
  if (head) {
    co_await http::async_read_header(socket_, buffer_, parser,
                                     asio::redirect_error(asio::use_awaitable, failure));
  } else {
    co_await http::async_read(socket_, buffer_, parser, asio::redirect_error(asio::use_awaitable, failure));
  }
  disarm();
  if (!failure) co_return true;
  request.keep_alive = false;
  if (!timed_out_ && !is_http_fault(failure)) co_return false;
  Response response = timed_out_ ? too_slow(head ? "the request's header" : "the request's body")
                                 : fault(failure, body_limit_);
  co_await refuse(request, std::move(response));
  co_return false;
}

Task<bool> Connection::one_request() {
  const bool there = co_await wait_for_request();
  if (!there) co_return false;
  Request request;
  request.connection = this;
  Parser parser;
  parser.header_limit(kHeaderLimit);
  body_limit_ = core_.max_body();
  parser.body_limit(body_limit_);
  const bool head = co_await read_part(request, parser, true, kHeaderTime);
  if (!head) co_return false;
  busy_ = true;
  take_head(parser, request);
  if (const auto wrong = fault_of(request)) {
    Response response = problem(400, "bad-request", *wrong);
    response.close = true;
    co_return co_await refuse(request, std::move(response));
  }

  const auto started = std::chrono::steady_clock::now();
  const bool body = !parser.is_done();
  Core::Admission admission = core_.admit(*this, request);
  if (!admission.refusal && body && parser.content_length().value_or(0) > admission.body_limit) {
    admission.refusal = fault(make_error_code(http::error::body_limit), admission.body_limit);
  }
  if (admission.refusal) {
    Response response = std::move(*admission.refusal);
    response.close = response.close || body;  // its body stays unread
    core_.record(admission, response.status, started);
    co_return co_await refuse(request, std::move(response));
  }
  if (body) {
    const bool read = co_await read_body(request, parser, admission.body_limit);
    if (!read) co_return false;
  }
  const int status = co_await core_.handle(*this, request, admission);
  core_.record(admission, status, started);
  watch(nullptr);
  busy_ = false;
  co_return request.keep_alive && !gone_ && !unfinished_;
}

Task<bool> Connection::read_body(Request& request, Parser& parser, std::uint64_t limit) {
  body_limit_ = limit;
  parser.body_limit(limit);
  const auto expect = request.header("expect");
  if (expect && lower(*expect) == "100-continue") {
    std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    const bool sent = co_await transmit(std::move(go_on), kAnswerStall);
    if (!sent) co_return false;
  }
  const bool read = co_await read_part(request, parser, false, kBodyTime);
  if (read) request.body = std::move(parser.get().body());
  co_return read;
}

// Answers, and where the connection ends with that, lets the answer arrive: closing a socket with unread
// bytes would have the kernel reset it and throw the answer away.
Task<bool> Connection::refuse(Request& request, Response response) {
  const bool last = response.close || !request.keep_alive;
  co_await send(request, std::move(response));
  busy_ = false;
  if (!last) co_return !gone_;
  boost::system::error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  arm(kLingerTime);
  for (std::size_t total = 0; total < kLingerBytes && !timed_out_;) {
    buffer_.clear();
    const bool read = co_await read_more();
    if (!read) break;
    total += buffer_.size();
  }
  disarm();
  co_return false;
}

Task<bool> Connection::transmit(std::string data, Duration stall) {
  if (gone_) co_return false;
  arm(stall);
  boost::system::error_code failure;
  co_await asio::async_write(socket_, asio::buffer(data), asio::redirect_error(asio::use_awaitable, failure));
  disarm();
  if (failure) close();
  co_return !failure;
}

Task<void> Connection::send(const Request& request, Response response) {
  std::string data = write_head(request, response, response.body.size());
  if (!request.head() && response.status != 204) data += response.body;
  if (response.close) unfinished_ = true;
  co_await transmit(std::move(data), kAnswerStall);
}

Task<bool> Connection::begin(const Request& request, Response head) {
  std::string data = write_head(request, head, std::nullopt);
  const bool head_only = request.head();
  unfinished_ = !head_only;
  const bool sent = co_await transmit(std::move(data), kAnswerStall);
  co_return sent && !head_only;
}

Task<bool> Connection::write(const Request& request, std::string_view data, Duration stall) {
  if (data.empty()) co_return !gone_;
  std::string chunk;
  chunk.reserve(data.size() + 16);
  if (!request.http_1_0) {
    char size[20];
    chunk.append(size, static_cast<std::size_t>(std::snprintf(size, sizeof size, "%zx\r\n", data.size())));
  }
  chunk += data;
  if (!request.http_1_0) chunk += "\r\n";
  co_return co_await transmit(std::move(chunk), stall);
}

Task<void> Connection::finish(const Request& request) {
  if (request.http_1_0) co_return;  // the connection's end is the answer's
  // A temporary inside a condition that awaits: GCC 12 makes an illegal instruction of it, so both get names.
  std::string last = "0\r\n\r\n";
  const bool sent = co_await transmit(std::move(last), kAnswerStall);
  if (sent) unfinished_ = false;
}

void Connection::watch(Wakeup* wakeup, bool acks) {
  wakeup_ = wakeup;
  want_acks_ = acks;
  if (wakeup != nullptr) start_watch();
}

void Connection::start_watch() {
  if (watching_ || gone_) return;
  watching_ = true;
  socket_.async_wait(Socket::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& failure) {
                       self->watching_ = false;
                       if (!failure) self->look();
                     });
}

void Connection::look() {
  if (wakeup_ == nullptr || gone_) return;  // the next request's bytes
  char bytes[256];
  const int fd = socket_.native_handle();
  const ssize_t count = ::recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
    gone_ = true;
    wakeup_->notify();
    return;
  }
  if (count > 0) {
    if (!want_acks_) return;  // a pipelined request: the peer is there
    std::size_t empty = 0;
    while (empty < static_cast<std::size_t>(count) && (bytes[empty] == '\r' || bytes[empty] == '\n')) ++empty;
    if (empty == 0) return;
    (void)::recv(fd, bytes, empty, MSG_DONTWAIT);
    acks_ += empty;
    wakeup_->notify();
  }
  start_watch();
}

bool Connection::drained() const {
  int waiting = 0;
  return ::ioctl(const_cast<Socket&>(socket_).native_handle(), SIOCOUTQ, &waiting) == 0 && waiting == 0;
}

void Connection::limit_silence(Duration most) {
  if (remote_.over_socket) return;
  const unsigned ms = static_cast<unsigned>(std::max<std::int64_t>(1000, most.count() / 1000));
  (void)::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

}  // namespace ebb::server

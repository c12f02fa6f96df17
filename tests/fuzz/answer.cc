// Whatever the other end of a client's connection answers, every call ends with a result when that end has
// said its last, and never waits for its deadline.

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <string>
#include <vector>

#include "ebb/client/client.h"
#include "ebb/client/http.h"
#include "folder.h"
#include "property.h"

namespace {

namespace asio = boost::asio;
using asio::local::stream_protocol;
using ebb::client::Connection;
using ebb::client::Task;

// One for all inputs: a socket in a folder that goes with the process.
class Peer {
 public:
  Peer() { acceptor_.emplace(io, stream_protocol::endpoint(path())); }
  ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  [[nodiscard]] std::string path() const { return (folder_ / "s").string(); }

  Task<void> answer(std::string_view bytes) {
    stream_protocol::socket socket = co_await acceptor_->async_accept(asio::use_awaitable);
    boost::system::error_code failure;  // the client may have heard enough before all was said
    const auto buffer = asio::buffer(bytes.data(), bytes.size());
    co_await asio::async_write(socket, buffer, asio::redirect_error(asio::use_awaitable, failure));
    socket.shutdown(stream_protocol::socket::shutdown_send, failure);
    char sink[512];
    while (!failure) {  // until the client closes: a reset would take the answer away from it
      const auto rest = asio::buffer(sink);
      co_await socket.async_read_some(rest, asio::redirect_error(asio::use_awaitable, failure));
    }
  }

  asio::io_context io{1};

 private:
  ebb::fuzz::Folder folder_;
  std::optional<stream_protocol::acceptor> acceptor_;
};

Task<void> ask(Peer& peer, bool streamed, bool& ended) {
  const std::vector<ebb::client::Endpoint> candidates{
      {.kind = ebb::client::Endpoint::Kind::socket, .path = peer.path(), .host = {}, .port = {}}};
  std::string key;
  auto connection = co_await Connection::connect(peer.io, candidates, std::move(key));
  ebb::fuzz::must(connection.ok());
  ebb::client::Request request;
  constexpr auto kDeadline = std::chrono::seconds(60);
  if (streamed) {
    const auto head = co_await connection->open(std::move(request), kDeadline);
    for (bool more = head && head->ok(); more;) {
      const auto piece = co_await connection->read_some(kDeadline);
      if (!piece) ebb::fuzz::must(piece.error().code == ebb::Errc::unavailable);
      more = piece && !piece->empty();
    }
  } else {
    const auto response = co_await connection->exchange(std::move(request), kDeadline);
    if (!response) {
      ebb::fuzz::must(response.error().code == ebb::Errc::unavailable);
    } else if (!response->ok()) {
      ebb::fuzz::must(!ebb::client::error_of(*response).message.empty());
    } else {
      (void)ebb::client::Client::parse_answer<ebb::model::Job>(response->body);
    }
  }
  connection->close();
  ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Peer peer;
  if (size == 0) return 0;
  bool ended = false;
  asio::co_spawn(peer.io, peer.answer(ebb::fuzz::text(data, size).substr(1)), asio::detached);
  asio::co_spawn(peer.io, ask(peer, data[0] % 2 == 1, ended), asio::detached);
  peer.io.restart();
  peer.io.run();
  ebb::fuzz::must(ended);
  return 0;
}

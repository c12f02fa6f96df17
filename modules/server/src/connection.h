#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/daemon/caller.h"
#include "message.h"
#include "wakeup.h"

namespace ebb::server {

class Core;

using Socket = boost::asio::generic::stream_protocol::socket;

/// Who is at the other end, as far as the transport tells.
struct Remote {
  bool over_socket = false;
  std::shared_ptr<const process::PeerCredentials> peer;  ///< over the socket, where it may be seen
  std::string address;                                   ///< over TCP: its IP address
  std::string local_address;                             ///< over TCP: ours
  bool loopback = false;                                 ///< over TCP: both ends on this machine
};

/// One HTTP/1.1 connection: reads requests one after the other, has each answered by the Core, and keeps the
/// time limits. Its coroutine holds it alive. A handler answers with send(), or with begin(), any number of
/// write() and finish().
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Core& core, Socket socket, Remote remote, std::uint64_t number);

  /// Serves until the peer closes, a limit is reached, or close().
  Task<void> serve();
  /// Ends it at its next step; what waits for it is woken.
  void close();

  /// Between the head of a request and the end of its answer.
  [[nodiscard]] bool busy() const { return busy_; }
  [[nodiscard]] std::uint64_t number() const { return number_; }
  [[nodiscard]] const Remote& remote() const { return remote_; }
  [[nodiscard]] const Result<daemon::Caller>& peer_caller();

  Task<void> send(const Request& request, Response response);
  /// Sends the head of an answer of unknown length. False where nothing may follow: HEAD, or the peer is
  /// gone.
  Task<bool> begin(const Request& request, Response head);
  /// Waits while the peer does not read, at most `stall`. False: the peer is gone.
  Task<bool> write(const Request& request, std::string_view data, Duration stall);
  Task<void> finish(const Request& request);

  /// While a handler waits for other things: notifies `wakeup` when the peer closes (see gone()) or, with
  /// `acks`, when it sends an empty line (see take_acks()). Until null is passed.
  void watch(Wakeup* wakeup, bool acks = false);
  [[nodiscard]] bool gone() const { return gone_; }
  [[nodiscard]] std::size_t take_acks() { return std::exchange(acks_, 0); }
  /// Bytes of ours that the peer has not taken yet (TCP: not acknowledged; Unix: not read).
  [[nodiscard]] bool drained() const;
  /// An acknowledgement that does not come for so long ends the connection (TCP only).
  void limit_silence(Duration most);

  struct Parser;  // Beast's; only connection.cc sees that

 private:
  Task<bool> one_request();
  Task<bool> wait_for_request();
  Task<bool> read_more();
  Task<bool> read_part(Request& request, Parser& parser, bool head, Duration most);
  Task<bool> read_body(Request& request, Parser& parser, std::uint64_t limit);
  Task<bool> refuse(Request& request, Response response);
  Task<bool> transmit(std::string data, Duration stall);
  void arm(Duration most);
  void disarm();
  void start_watch();
  void look();
  void skip_empty_lines();

  Core& core_;
  Socket socket_;
  Remote remote_;
  std::uint64_t number_;
  boost::beast::flat_buffer buffer_;
  boost::asio::steady_timer deadline_;
  std::uint64_t body_limit_ = 0;  // of the request that is being read
  std::uint64_t armed_ = 0;       // counts arm() and disarm(): an expiry that was overtaken is recognised
  bool timed_out_ = false;
  bool gone_ = false;
  bool unfinished_ = false;  // an answer has begun and not ended
  bool busy_ = false;
  bool watching_ = false;
  bool want_acks_ = false;
  std::size_t acks_ = 0;
  Wakeup* wakeup_ = nullptr;
  std::optional<Result<daemon::Caller>> peer_caller_;
};

}  // namespace ebb::server

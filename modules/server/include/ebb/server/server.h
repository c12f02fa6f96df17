#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/daemon/config.h"
#include "ebb/daemon/daemon.h"

namespace ebb::server {

/// A TCP socket that listens where `config.server.listen` says; empty for "none". In use: Errc::conflict,
/// with the holder where it may be seen, and the way out.
[[nodiscard]] Result<UniqueFd> listen_tcp(const daemon::Config& config);
/// A Unix socket that listens at `config.server.socket`, which may be longer than a sockaddr allows. A socket
/// left by a dead daemon is replaced: call it only while this process holds the lock of the state directory.
/// One that answers: Errc::conflict. Everyone may connect; who may do what is decided by the peer's uid.
[[nodiscard]] Result<UniqueFd> listen_unix(const daemon::Config& config);

/// The HTTP surface of one daemon. The thread of the io_context.
class Server {
 public:
  /// Serves both sockets from now on (`tcp` may be empty). `daemon` outlives the server.
  [[nodiscard]] static Result<std::unique_ptr<Server>> start(boost::asio::io_context& io,
                                                             daemon::Daemon& daemon, UniqueFd unix_socket,
                                                             UniqueFd tcp);
  ~Server();

  /// "/run/ebb/ebb.sock", "http://127.0.0.1:8765".
  [[nodiscard]] std::vector<std::string> addresses() const;
  /// No new connections, and the socket's file goes. Requests under way, streams among them, have `grace` to
  /// end by themselves, then every connection is closed. True when none is left; false when some has not
  /// ended a few seconds later: then the server must not be destroyed.
  [[nodiscard]] boost::asio::awaitable<bool> finish(Duration grace);

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::server

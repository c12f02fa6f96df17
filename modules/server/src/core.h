#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <unordered_map>

#include "compat_owners.h"
#include "connection.h"
#include "ebb/daemon/daemon.h"
#include "log_watches.h"
#include "message.h"
#include "metrics.h"
#include "routes.h"

namespace ebb::server {

/// What all connections of one server share: the daemon, the routes, who is let in, the counts.
class Core {
 public:
  Core(boost::asio::io_context& io, daemon::Daemon& daemon);

  [[nodiscard]] boost::asio::io_context& io() { return io_; }
  [[nodiscard]] daemon::Daemon& daemon() { return daemon_; }
  [[nodiscard]] const daemon::Config& config() const { return daemon_.config(); }
  [[nodiscard]] std::uint64_t max_body() const;
  [[nodiscard]] Metrics& metrics() { return metrics_; }
  [[nodiscard]] LogWatches& logs() { return logs_; }
  [[nodiscard]] CompatOwners& owners() { return owners_; }

  // ---- for connections
  struct Admission {
    const Route* route = nullptr;
    std::optional<Response> refusal;       ///< answer this, without reading the body
    std::optional<Response> late_refusal;  ///< answer this once the body has been seen to be JSON
    std::uint64_t body_limit = 0;
  };
  /// Decides by the head of a request whether its body is worth reading; fills in target, path and caller.
  [[nodiscard]] Admission admit(Connection& connection, Request& request);
  /// Answers; returns the status.
  Task<int> handle(Connection& connection, Request& request, const Admission& admission);
  void record(const Admission& admission, int status, std::chrono::steady_clock::time_point started);

  /// Takes a new connection in, or says why not (an answer to send before closing).
  [[nodiscard]] std::shared_ptr<Connection> accept(Socket socket, Remote remote);
  void closed(Connection& connection);
  /// See Server::finish().
  Task<bool> finish(Duration grace);
  /// No further request is read.
  [[nodiscard]] bool draining() const { return draining_; }
  /// Streams end now.
  [[nodiscard]] bool closing() const { return closing_; }
  [[nodiscard]] std::size_t connections() const { return connections_.size(); }
  [[nodiscard]] bool owns_jobs(const Connection& connection) { return owners_.owns(connection.number()); }

 private:
  std::optional<Response> check_source(const Connection& connection, Request& request) const;
  std::optional<Error> identify(Connection& connection, Request& request, Access access);
  static std::string peer_name(const Remote& remote);

  boost::asio::io_context& io_;
  daemon::Daemon& daemon_;
  Metrics metrics_;
  LogWatches logs_;
  CompatOwners owners_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Connection>> connections_;
  std::unordered_map<std::string, std::size_t> by_peer_;
  std::uint64_t last_number_ = 0;
  std::size_t most_connections_ = 0;
  bool draining_ = false;
  bool closing_ = false;
  Wakeup emptied_;  ///< while draining: the last connection is gone
};

}  // namespace ebb::server

#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/keeper_protocol.h"
#include "ready.h"

namespace ebb::process {

/// The keeper's side of the protocol: the connection that it was born with, the socket `keeper.sock` in the
/// attempt's folder, and the connections made there. Never blocks; a peer that does not read, or speaks
/// nonsense, is dropped and may connect again. One thread.
class Endpoint {
 public:
  /// `first` may be empty; it counts as a daemon without a Hello.
  explicit Endpoint(UniqueFd first);
  /// Makes keeper.sock in the folder, by its descriptor, since its path may be longer than a socket's may be.
  /// It has its name only when it can be connected to.
  [[nodiscard]] Result<void> listen(int folder);

  void add_polls(std::vector<pollfd>& entries) const;

  struct Request {
    std::size_t from = 0;  ///< for reply()
    KeeperCommand command;
  };
  /// All that has come since the last call. `from` is good until the next call.
  [[nodiscard]] std::vector<Request> receive(const Ready& ready);
  void reply(std::size_t to, const KeeperEvent& event, const std::vector<UniqueFd>* descriptors = nullptr);
  /// To every daemon.
  void broadcast(const KeeperEvent& event);

  /// Whether a daemon is connected.
  [[nodiscard]] bool daemon_present() const noexcept;
  /// Whether a daemon has read all that it was sent. Each that has is sent a word that says nothing, so that
  /// the next call can tell again.
  [[nodiscard]] bool daemon_reads();

 private:
  struct Connection {
    UniqueFd socket;
    bool daemon = false;
  };
  void accept();
  bool receive_from(std::size_t index, std::vector<Request>& requests);

  UniqueFd listener_;
  std::vector<Connection> connections_;
};

}  // namespace ebb::process

#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/devices/locks.h"

namespace ebb::devices {

/// A set of ports, as net.ipv4.ip_local_reserved_ports has it.
using PortSet = std::bitset<65536>;
/// "8080,38000-38099", also empty, with or without a last newline.
[[nodiscard]] Result<PortSet> parse_port_set(std::string_view text);
/// The same form; empty for none.
[[nodiscard]] std::string write_port_set(const PortSet& ports);

/// What Ebb's daemons have put into ip_local_reserved_ports, and who of them uses which ports: the file
/// `reserved-ports` in the lock directory (docs/formats/locks.md). The setting is per network namespace, so
/// each line names one. Written by replacement, under the lock `reserved-ports.lock`.
struct PortLedger {
  struct Use {
    std::uint64_t network = 0;  ///< inode of the network namespace
    int slot = 0;               ///< the daemon holds the lock `daemon-SLOT` while it lives; -1: it is
                                ///< dead, and jobs of it still hold these ports
    PortSet ports;
  };
  struct Added {
    std::uint64_t network = 0;
    PortSet ports;  ///< not there before: ours to take out
  };
  static constexpr std::size_t kMaxLines = 1024;

  std::string boot_id;  ///< of another boot: all of it is void
  std::vector<Use> uses;
  std::vector<Added> added;

  [[nodiscard]] std::string write() const;
  [[nodiscard]] static Result<PortLedger> parse(std::string_view text);
};

/// Keeps ports out of the kernel's ephemeral ones in this network namespace, for one daemon.
class PortReservation {
 public:
  static constexpr int kSlots = 64;  ///< living daemons that may share a lock directory

  /// Puts `ports` in, after taking out what dead daemons left. Fails (forbidden, io) where the setting cannot
  /// be written or the ledger not be trusted: then nothing has changed.
  [[nodiscard]] static Result<PortReservation> make(const LockDirectory& locks, const PortSet& ports);
  /// Takes out what Ebb put in and no other living daemon uses, nor a job that a dead one left to its keeper
  /// (its lock `port-N` is held).
  [[nodiscard]] Result<void> give_back(const LockDirectory& locks);

 private:
  PortReservation(LockFile slot_lock, int slot) : slot_lock_(std::move(slot_lock)), slot_(slot) {}

  LockFile slot_lock_;
  int slot_ = 0;
};

}  // namespace ebb::devices

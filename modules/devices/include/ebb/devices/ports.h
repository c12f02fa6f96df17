#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/devices/locks.h"
#include "ebb/devices/reserved_ports.h"
#include "ebb/model/report.h"

namespace ebb::devices {

/// Ports that jobs may lease, both ends included.
struct PortRange {
  std::uint16_t from = 0;
  std::uint16_t to = 0;
  [[nodiscard]] int size() const noexcept { return to - from + 1; }
  [[nodiscard]] bool contains(int port) const noexcept { return port >= from && port <= to; }
  bool operator==(const PortRange&) const = default;
};
inline constexpr PortRange kReservedRange{38000, 38099};  ///< where the kernel can be told to keep off
inline constexpr PortRange kPlainRange{28000, 28099};     ///< else: below the usual ephemeral ports
inline constexpr int kMaxPorts = 10'000;

/// "38000-38099", or one port. Refuses a reversed range, privileged ports (below 1024), ports over 65535 and
/// more than kMaxPorts.
[[nodiscard]] Result<PortRange> parse_port_range(std::string_view text);

/// A process that holds a port.
struct PortHolder {
  pid_t pid = 0;  ///< 0: not known
  std::string user;
  std::string name;
  std::string address;  ///< "0.0.0.0:38001", "[::]:38001"
};
/// "pid 4711 (python3, alice) on [::]:38001"
[[nodiscard]] std::string describe(const PortHolder& holder);

struct PortVerdict {
  enum class Kind { free, taken, unknown };
  Kind kind = Kind::unknown;
  std::vector<PortHolder> holders;  ///< taken: who, as far as it may be seen
  std::string text;                 ///< "no listener on 0.0.0.0:38001 or [::]:38001", or what is wrong
};
/// Before a lease: nobody listens, and both families can be bound. Any thread; takes no lock.
[[nodiscard]] PortVerdict check_port_free(std::uint16_t port);
/// At a release: nobody listens on either family. Any thread.
[[nodiscard]] PortVerdict check_port_released(std::uint16_t port);

/// The ports that this daemon leases, kept out of the kernel's ephemeral ports while it lives.
class PortPool {
 public:
  /// `range`: [ports] range or --ports. None: 38000–38099 where they can be reserved, else 28000–28099.
  /// A range of the user's that cannot be reserved is used all the same, with a note. `locks` outlives it.
  [[nodiscard]] static Result<PortPool> open(const LockDirectory& locks, std::optional<PortRange> range);

  [[nodiscard]] PortRange range() const noexcept { return range_; }
  [[nodiscard]] bool reserved() const noexcept { return bool(reservation_); }
  /// For the log and `ebb doctor`; empty where all is well.
  [[nodiscard]] const std::string& note() const noexcept { return note_; }
  /// The machine-wide lock on one port; conflict names the holder.
  [[nodiscard]] Result<LockFile> lock_port(std::uint16_t port) const;
  /// Takes our ports out of ip_local_reserved_ports again, but for those that another living daemon uses.
  /// Only when no job has a port any more. The destructor does not: after a crash, or `keep`, the next start
  /// does.
  [[nodiscard]] Result<void> give_back();

 private:
  PortPool(const LockDirectory& locks, PortRange range) : locks_(&locks), range_(range) {}

  const LockDirectory* locks_;
  PortRange range_;
  std::optional<PortReservation> reservation_;
  std::string note_;
};

}  // namespace ebb::devices

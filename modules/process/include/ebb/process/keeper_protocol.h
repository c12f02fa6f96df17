#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/process/end_record.h"

namespace ebb::process {

// What a daemon and a keeper say to each other over a SOCK_SEQPACKET Unix socket, one message a packet.
// Format: docs/formats/keeper.md. KeeperLink (spawn.h) is what a daemon uses; here is only the coding.

inline constexpr std::uint64_t kKeeperProtocolVersion = 2;  // 2: Disown
inline constexpr std::size_t kMaxKeeperMessage = 128 << 10;
inline constexpr std::size_t kMaxKeeperLocks = 250;  ///< a packet carries at most 253 descriptors

// ---- from the daemon

/// First on a connection made later (KeeperLink::connect); the one that a keeper is born with needs none.
/// While a connection that said Hello lives, the daemon counts as there.
struct Hello {
  std::uint64_t version = kKeeperProtocolVersion;
};
/// End the tree: TERM to every process, `grace`, kill. The first Stop's or Kill's reason is kept; a later
/// Stop can only bring the kill forward. After the end it does nothing.
struct Stop {
  std::string reason;  ///< at most EndRecord::kMaxReason bytes, returned in the end record
  Duration grace{};
};
/// Kill the tree now.
struct Kill {
  std::string reason;
};
/// Asks for Locks.
struct FetchLocks {};
/// The end record is on the daemon's disk: drop the locks and exit. Ignored before the end, and while
/// survivors are left.
struct Ack {};
/// The job has no owner any longer: forget the owner's process, and live on without a daemon for as long as
/// it takes (LaunchSpec::daemon_gone no longer counts). May come any number of times.
struct Disown {};

using KeeperCommand = std::variant<Hello, Stop, Kill, FetchLocks, Ack, Disown>;

// ---- from the keeper

enum class KeeperPhase : std::uint8_t { starting = 0, running = 1, ending = 2, ended = 3 };

/// The answer to Hello. Where `phase` is ended, Ended follows at once.
struct Welcome {
  std::uint64_t version = kKeeperProtocolVersion;
  std::string label;
  KeeperPhase phase = KeeperPhase::starting;
  pid_t keeper_pid = 0;
  pid_t leader_pid = 0;  ///< 0 before the start and after the leader's end
  pid_t init_pid = 0;    ///< of the PID namespace, as the host sees it; 0 where there is none
  std::string cgroup;    ///< the attempt's; empty where there is none
  std::string tier;
  std::optional<Moment> started;
};
/// The leader's execve succeeded. A failure to start is told by Ended (EndRecord::start_failure).
struct Started {
  pid_t leader_pid = 0;
  pid_t init_pid = 0;
  Moment at;
};
/// The leader ended, the tree may not have. Not sent where Ended follows at once.
struct LeaderExited {
  int wait_status = 0;
  Moment at;
};
/// The tree is gone (`record.complete`), or survivors were left after the kill; then a second Ended follows
/// when they are gone. The record is in the attempt's folder already.
struct Ended {
  EndRecord record;
};
/// The descriptors that the keeper was given at its launch, in that order, beside the packet; they share the
/// keeper's open file descriptions (and so the flocks). None, and unasked: says nothing, but is to be read.
struct Locks {
  std::uint64_t count = 0;
};

using KeeperEvent = std::variant<Welcome, Started, LeaderExited, Ended, Locks>;

[[nodiscard]] std::string encode(const KeeperCommand& command);
[[nodiscard]] std::string encode(const KeeperEvent& event);
/// Errc::corrupt for what encode() would not write. A Hello of any version is read, so that it can be
/// answered.
[[nodiscard]] Result<KeeperCommand> parse_keeper_command(std::string_view packet);
/// Likewise; a Welcome of another version has nothing but `version` set.
[[nodiscard]] Result<KeeperEvent> parse_keeper_event(std::string_view packet);

}  // namespace ebb::process

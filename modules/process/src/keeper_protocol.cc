#include "ebb/process/keeper_protocol.h"

#include <climits>

#include "codec.h"

namespace ebb::process {
namespace {

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};

// The first byte of a packet. Numbers are never given a second meaning; commands and events share no number,
// so that a packet sent the wrong way is noticed.
enum class Tag : std::uint8_t {
  hello = 1,
  stop = 2,
  kill = 3,
  fetch_locks = 4,
  ack = 5,
  disown = 6,
  welcome = 65,
  started = 66,
  leader_exited = 67,
  ended = 68,
  locks = 69,
};

WireWriter begin(Tag tag) {
  WireWriter out;
  out.number(static_cast<std::uint64_t>(tag));
  return out;
}

pid_t get_pid(WireReader& in) { return static_cast<pid_t>(in.number(INT_MAX)); }
void put_pid(WireWriter& out, pid_t pid) { out.number(static_cast<std::uint64_t>(pid)); }

Error damaged() { return wire_error(Errc::corrupt, "a message between daemon and keeper is damaged"); }

Welcome get_welcome(WireReader& in) {
  Welcome welcome;
  welcome.label = in.bytes(EndRecord::kMaxText);
  welcome.phase = static_cast<KeeperPhase>(in.number(static_cast<std::uint64_t>(KeeperPhase::ended)));
  welcome.keeper_pid = get_pid(in);
  welcome.leader_pid = get_pid(in);
  welcome.init_pid = get_pid(in);
  welcome.cgroup = in.bytes(64 << 10);
  welcome.tier = in.bytes(EndRecord::kMaxText);
  welcome.started = get_optional_moment(in);
  return welcome;
}

}  // namespace

std::string encode(const KeeperCommand& command) {
  return std::visit(Overloaded{
                        [](const Hello& hello) {
                          auto out = begin(Tag::hello);
                          out.number(hello.version);
                          return out.take();
                        },
                        [](const Stop& stop) {
                          auto out = begin(Tag::stop);
                          out.bytes(stop.reason);
                          put(out, stop.grace);
                          return out.take();
                        },
                        [](const Kill& kill) {
                          auto out = begin(Tag::kill);
                          out.bytes(kill.reason);
                          return out.take();
                        },
                        [](const FetchLocks&) { return begin(Tag::fetch_locks).take(); },
                        [](const Ack&) { return begin(Tag::ack).take(); },
                        [](const Disown&) { return begin(Tag::disown).take(); },
                    },
                    command);
}

std::string encode(const KeeperEvent& event) {
  return std::visit(Overloaded{
                        [](const Welcome& welcome) {
                          auto out = begin(Tag::welcome);
                          out.number(welcome.version);
                          out.bytes(welcome.label);
                          out.number(static_cast<std::uint64_t>(welcome.phase));
                          put_pid(out, welcome.keeper_pid);
                          put_pid(out, welcome.leader_pid);
                          put_pid(out, welcome.init_pid);
                          out.bytes(welcome.cgroup);
                          out.bytes(welcome.tier);
                          put_optional(out, welcome.started);
                          return out.take();
                        },
                        [](const Started& started) {
                          auto out = begin(Tag::started);
                          put_pid(out, started.leader_pid);
                          put_pid(out, started.init_pid);
                          put(out, started.at);
                          return out.take();
                        },
                        [](const LeaderExited& exited) {
                          auto out = begin(Tag::leader_exited);
                          out.signed_number(exited.wait_status);
                          put(out, exited.at);
                          return out.take();
                        },
                        [](const Ended& ended) {
                          auto out = begin(Tag::ended);
                          out.bytes(encode(ended.record));
                          return out.take();
                        },
                        [](const Locks& locks) {
                          auto out = begin(Tag::locks);
                          out.number(locks.count);
                          return out.take();
                        },
                    },
                    event);
}

Result<KeeperCommand> parse_keeper_command(std::string_view packet) {
  WireReader in(packet);
  switch (static_cast<Tag>(in.number(UINT8_MAX))) {
    case Tag::hello: {
      const Hello hello{.version = in.number()};
      // A later version may say more in its Hello; this one only needs to know which it is.
      if (!in.ok() || (hello.version == kKeeperProtocolVersion && !in.complete())) return damaged();
      return KeeperCommand(hello);
    }
    case Tag::stop: {
      const std::string_view reason = in.bytes(EndRecord::kMaxReason);
      const Duration grace = get_duration(in);
      if (!in.complete() || grace < Duration{}) return damaged();
      return KeeperCommand(Stop{.reason = std::string(reason), .grace = grace});
    }
    case Tag::kill: {
      const std::string_view reason = in.bytes(EndRecord::kMaxReason);
      if (!in.complete()) return damaged();
      return KeeperCommand(Kill{.reason = std::string(reason)});
    }
    case Tag::fetch_locks:
      if (!in.complete()) return damaged();
      return KeeperCommand(FetchLocks{});
    case Tag::ack:
      if (!in.complete()) return damaged();
      return KeeperCommand(Ack{});
    case Tag::disown:
      if (!in.complete()) return damaged();
      return KeeperCommand(Disown{});
    default:
      return damaged();
  }
}

Result<KeeperEvent> parse_keeper_event(std::string_view packet) {
  WireReader in(packet);
  switch (static_cast<Tag>(in.number(UINT8_MAX))) {
    case Tag::welcome: {
      const std::uint64_t version = in.number();
      if (in.ok() && version != kKeeperProtocolVersion) {
        Welcome foreign;
        foreign.version = version;
        return KeeperEvent(std::move(foreign));
      }
      Welcome welcome = get_welcome(in);
      if (!in.complete()) return damaged();
      return KeeperEvent(std::move(welcome));
    }
    case Tag::started: {
      Started started;
      started.leader_pid = get_pid(in);
      started.init_pid = get_pid(in);
      started.at = get_moment(in);
      if (!in.complete()) return damaged();
      return KeeperEvent(started);
    }
    case Tag::leader_exited: {
      LeaderExited exited;
      exited.wait_status = in.small_number();
      exited.at = get_moment(in);
      if (!in.complete()) return damaged();
      return KeeperEvent(exited);
    }
    case Tag::ended: {
      auto record = parse_end_record(in.bytes(kMaxKeeperMessage));
      if (!in.complete()) return damaged();
      if (!record) return std::move(record).error();
      return KeeperEvent(Ended{std::move(*record)});
    }
    case Tag::locks: {
      const Locks locks{.count = in.number(kMaxKeeperLocks)};
      if (!in.complete()) return damaged();
      return KeeperEvent(locks);
    }
    default:
      return damaged();
  }
}

}  // namespace ebb::process

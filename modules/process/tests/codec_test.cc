// The wire formats: what is written is read back, and anything else is refused.
#include <gtest/gtest.h>

#include <signal.h>

#include "ebb/base/ids.h"
#include "ebb/process/keeper_protocol.h"
#include "ebb/process/launch.h"
#include "ebb/process/wire.h"

namespace ebb::process {
namespace {

using namespace std::chrono_literals;

LaunchSpec full_spec() {
  LaunchSpec spec;
  spec.label = "7f3a91c2.1";
  spec.argv = {"python3", "", "train.py"};
  spec.env = {"A=1", "B="};
  spec.workdir = "/home/alice";
  spec.identity = Identity{.uid = 1000, .gid = 1000, .groups = {4, 1000}};
  spec.umask = 077;
  spec.rlimits = {{.resource = 7, .soft = UINT64_MAX}};
  spec.nice = -3;
  spec.attempt_dir = "/var/lib/ebb/attempts/7f3a91c2.1";
  spec.log_dir = "/var/lib/ebb/logs/7f3a91c2.1";
  spec.log_limit_bytes = 1ULL << 30;
  spec.tiers = {.cgroup = true, .pidns = true, .subreaper = false};
  spec.cgroup = "/sys/fs/cgroup/ebb/7f3a91c2.1";
  spec.cgroup_root = "/sys/fs/cgroup";
  spec.memory = {.value = 5, .mechanism = LimitMechanism::cgroup1, .cgroup1 = "/sys/fs/cgroup/memory/x"};
  spec.processes = {.value = 400, .mechanism = LimitMechanism::pid_max, .cgroup1 = {}};
  spec.hide = {"/var/lib/ebb"};
  spec.reachable = {"/var/lib/ebb/ebb.sock"};
  spec.mask_devices = {"/dev/nvidia3"};
  spec.time_limit = 1h;
  spec.grace = 10s;
  spec.kill_timeout = 5s;
  spec.daemon_gone = 60s;
  spec.wait_for_ack = false;
  return spec;
}

EndRecord full_record() {
  EndRecord record;
  record.label = "7f3a91c2.1";
  record.boot_id = "08d98a30-bfae-4276-aa7e-1a12df690000";
  record.cause = EndCause::stop;
  record.start_failure = StartFailure{.exit_code = 127, .message = "command not found"};
  record.wait_status = SIGKILL;
  record.stop_reason = std::string("\0opaque\xff", 8);
  record.started = moment_now();
  record.ended = moment_now();
  record.oom = true;
  record.processes = 3;
  record.survivors = {{.pid = 42, .comm = "cat"}};
  record.tier = "cgroup+pidns";
  record.action = "TERM";
  record.log_bytes = 1ULL << 40;
  return record;
}

// Every prefix and every change of one byte is either refused or read as something that is written the same
// way: nothing crashes, nothing is read past the end, and no two texts mean the same.
template <typename Parse>
void expect_robust(const std::string& good, const Parse& parse) {
  ASSERT_TRUE(parse(good).ok());
  EXPECT_EQ(encode(*parse(good)), good);
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(parse(std::string_view(good).substr(0, length)).ok()) << length;
  }
  EXPECT_FALSE(parse(good + '\0').ok());
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string changed = good;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      if (const auto parsed = parse(changed)) {
        EXPECT_EQ(encode(*parsed), changed);
      }
    }
  }
}

TEST(LaunchSpec, IsReadBackAndDamageIsRefused) {
  expect_robust(encode(full_spec()), parse_launch_spec);
  expect_robust(encode(LaunchSpec{}), parse_launch_spec);
}

TEST(LaunchSpec, OfAnotherVersionIsToldApart) {
  std::string data = encode(full_spec());
  data[0] = 99;
  EXPECT_EQ(parse_launch_spec(data).error().code, Errc::conflict);
}

TEST(LaunchSpec, IsCheckedFieldByField) {
  EXPECT_TRUE(check(full_spec()).ok());
  const auto refused = [](const auto& change) {
    LaunchSpec spec = full_spec();
    change(spec);
    return !check(spec).ok();
  };
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.argv.clear(); }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.argv[1] = std::string("a\0b", 3); }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.env[0] = std::string("A=\0", 3); }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.workdir = "relative"; }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.attempt_dir.clear(); }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.log_dir = "relative"; }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.tiers = {}; }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.tiers.pidns = false; }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.cgroup.clear(); }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.memory.cgroup1.clear(); }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.memory.mechanism = LimitMechanism::none; }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.hide.emplace_back("x"); }));
  EXPECT_TRUE(refused([](LaunchSpec& s) { s.grace = -1s; }));
}

TEST(EndRecord, IsReadBackAndDamageIsRefused) {
  expect_robust(encode(full_record()), parse_end_record);
  expect_robust(encode(EndRecord{}), parse_end_record);
}

TEST(EndRecord, ThatIsNotThereIsNotFound) {
  EXPECT_EQ(read_end_record("/no/such/folder").error().code, Errc::not_found);
}

TEST(KeeperCommand, IsReadBackAndDamageIsRefused) {
  for (const KeeperCommand& command :
       {KeeperCommand(Hello{}), KeeperCommand(Stop{.reason = "why", .grace = 3s}),
        KeeperCommand(Kill{.reason = "x"}), KeeperCommand(FetchLocks{}), KeeperCommand(Ack{}),
        KeeperCommand(Disown{})}) {
    expect_robust(encode(command), parse_keeper_command);
    EXPECT_FALSE(parse_keeper_event(encode(command)).ok()) << "an event and a command share a number";
  }
  EXPECT_FALSE(
      parse_keeper_command(encode(KeeperCommand(Stop{.reason = std::string(5000, 'x'), .grace = 0s}))).ok());
  EXPECT_FALSE(parse_keeper_command(encode(KeeperCommand(Stop{.reason = {}, .grace = -1s}))).ok());
}

TEST(KeeperEvent, IsReadBackAndDamageIsRefused) {
  Welcome welcome;
  welcome.label = "7f3a91c2.1";
  welcome.phase = KeeperPhase::running;
  welcome.keeper_pid = 100;
  welcome.leader_pid = 102;
  welcome.cgroup = "/sys/fs/cgroup/ebb/7f3a91c2.1";
  welcome.started = moment_now();
  const auto robust = [](const KeeperEvent& event) {
    const std::string good = encode(event);
    ASSERT_TRUE(parse_keeper_event(good).ok());
    EXPECT_EQ(encode(*parse_keeper_event(good)), good);
    for (std::size_t length = 0; length < good.size(); ++length) {
      EXPECT_FALSE(parse_keeper_event(std::string_view(good).substr(0, length)).ok()) << length;
    }
  };
  robust(welcome);
  robust(Started{.leader_pid = 5, .init_pid = 4, .at = moment_now()});
  robust(LeaderExited{.wait_status = 9, .at = moment_now()});
  robust(Ended{full_record()});
  robust(Locks{.count = 3});
}

TEST(KeeperEvent, TheLargestRecordFitsInAMessage) {
  EndRecord record = full_record();
  record.stop_reason.assign(EndRecord::kMaxReason, 'r');
  record.start_failure->message.assign(EndRecord::kMaxText, 'm');
  record.survivors.assign(EndRecord::kMaxSurvivors, {.pid = 1'000'000, .comm = std::string(15, 'c')});
  EXPECT_LT(encode(KeeperEvent(Ended{record})).size(), kMaxKeeperMessage);
  EXPECT_TRUE(parse_keeper_event(encode(KeeperEvent(Ended{record}))).ok());
}

TEST(WireReader, RefusesCountsThatCannotBeTrue) {
  WireWriter out;
  out.number(1'000'000);
  const std::string data = out.take();
  WireReader in(data);
  EXPECT_EQ(in.count(2'000'000), 0U);
  EXPECT_FALSE(in.ok());
}

TEST(WireReader, ReadsTheExtremes) {
  WireWriter out;
  for (const std::int64_t value : {INT64_MIN, std::int64_t{-1}, std::int64_t{0}, INT64_MAX})
    out.signed_number(value);
  out.number(UINT64_MAX);
  const std::string data = out.take();
  WireReader in(data);
  EXPECT_EQ(in.signed_number(), INT64_MIN);
  EXPECT_EQ(in.signed_number(), -1);
  EXPECT_EQ(in.signed_number(), 0);
  EXPECT_EQ(in.signed_number(), INT64_MAX);
  EXPECT_EQ(in.number(), UINT64_MAX);
  EXPECT_TRUE(in.complete());
  WireReader overlong("\x80\x00");
  EXPECT_EQ(overlong.number(), 0U);
  EXPECT_FALSE(overlong.ok());
}

}  // namespace
}  // namespace ebb::process

#include "ebb/process/containment.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "ebb/base/files.h"
#include "world.h"

namespace ebb::process {
namespace {

using testing::Idle;
using ::testing::StartsWith;
using testing::TempDir;

constexpr const char* kUnifiedHost =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kHybridHost =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/cpu,pids rw,relatime - cgroup cgroup rw,cpu,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

TEST(CgroupMounts, AreFoundOnAUnifiedHost) {
  const auto found = parse_cgroup_mounts(kUnifiedHost, "0::/system.slice/ebb.service\n");
  ASSERT_TRUE(found.unified.has_value());
  EXPECT_EQ(found.unified->mount, "/sys/fs/cgroup");
  EXPECT_EQ(found.unified->own, "/system.slice/ebb.service");
  EXPECT_FALSE(found.memory_v1.has_value());
  EXPECT_EQ(found.root, "/sys/fs/cgroup");
}

TEST(CgroupMounts, AreFoundInAHybridHierarchy) {
  const auto found =
      parse_cgroup_mounts(kHybridHost, "8:cpu,pids:/\n4:memory:/api/1\n9:name=systemd:/x\n0::/\n");
  ASSERT_TRUE(found.unified && found.memory_v1 && found.pids_v1);
  EXPECT_EQ(found.unified->mount, "/sys/fs/cgroup/unified");
  EXPECT_EQ(found.unified->own, "");
  EXPECT_EQ(found.memory_v1->mount, "/sys/fs/cgroup/memory");
  EXPECT_EQ(found.memory_v1->own, "/api/1");
  EXPECT_EQ(found.pids_v1->mount, "/sys/fs/cgroup/cpu,pids");
  EXPECT_EQ(found.root, "/sys/fs/cgroup");
}

TEST(CgroupMounts, HaltBeforeAHierarchyThatShowsOnlyAnotherPart) {
  const char* bind = "31 23 0:28 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  EXPECT_EQ(parse_cgroup_mounts(bind, "0::/docker/abc/x\n").unified.value().own, "/x");
  EXPECT_FALSE(parse_cgroup_mounts(bind, "0::/docker/abcd\n").unified.has_value());
  EXPECT_FALSE(parse_cgroup_mounts(bind, "0::/../other\n").unified.has_value());
  EXPECT_FALSE(parse_cgroup_mounts("", "").unified.has_value());
  EXPECT_FALSE(parse_cgroup_mounts("nonsense\n - \n1 2 3\n", "::\n0\n").unified.has_value());
}

TEST(CgroupBaseName, IsStableAndDiffersByFolder) {
  EXPECT_EQ(cgroup_base_name("/var/lib/ebb"), cgroup_base_name("/var/lib/ebb"));
  EXPECT_NE(cgroup_base_name("/var/lib/ebb"), cgroup_base_name("/home/alice/.local/state/ebb"));
  EXPECT_THAT(cgroup_base_name(""), StartsWith("ebb-"));
  EXPECT_EQ(cgroup_base_name("").size(), 12U);
}

TEST(Containment, SaysWhyAndWhatToDoForEachLack) {
  TempDir dir;
  const auto probed = probe_containment({.state_dir = dir.path().string(), .may_move = false});
  ASSERT_TRUE(probed.ok());
  for (const Capability* capability :
       {&probed->cgroup, &probed->pidns, &probed->subreaper, &probed->memory, &probed->processes}) {
    EXPECT_EQ(capability->available, capability->why_not.empty()) << capability->why_not;
    if (!capability->available) {
      EXPECT_FALSE(capability->what_to_do.empty());
    }
  }
  EXPECT_FALSE(tier_text(probed->tiers()).empty());
  EXPECT_EQ(probed->cgroup.available, !probed->cgroup_base.empty());
  const auto again = probe_containment({.state_dir = dir.path().string(), .may_move = false});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->cgroup_base, probed->cgroup_base);
  for (const std::string& v1 : {probed->memory_base, probed->processes_base}) {
    EXPECT_TRUE(v1.empty() || ::access(v1.c_str(), F_OK) != 0)
        << "a group was made before any job needed it: " << v1;
  }
  remove_bases(*probed);
  if (probed->cgroup.available) {
    EXPECT_NE(::access(probed->cgroup_base.c_str(), F_OK), 0) << "the probe left something behind";
  }
}

// In a log-in session the own group is shared with the shell and more.
TEST(Containment, FindsTheSameMeansForRootInAGroupThatItShares) {
  const auto mounts = find_cgroup_mounts();
  if (::geteuid() != 0 || !mounts || !mounts->unified) GTEST_SKIP() << "needs root and cgroup v2";
  TempDir dir;
  const auto before = probe_containment({.state_dir = dir.path().string(), .may_move = false});
  ASSERT_TRUE(before.ok());
  if (!before->cgroup.available) GTEST_SKIP() << before->cgroup.why_not;
  const std::string session = before->cgroup_base + "/session";
  ASSERT_TRUE(make_cgroup(session).ok());
  {
    Idle shell([&] { ASSERT_TRUE(write_cgroup(session, "cgroup.procs", "0").ok()); });
    testing::in_child([&] {
      ASSERT_TRUE(write_cgroup(session, "cgroup.procs", "0").ok());
      TempDir other;
      const auto probed = probe_containment({.state_dir = other.path().string(), .may_move = true});
      ASSERT_TRUE(probed.ok());
      EXPECT_TRUE(probed->cgroup.available) << probed->cgroup.why_not;
      EXPECT_EQ(probed->memory_mechanism, before->memory_mechanism);
      EXPECT_EQ(probed->processes_mechanism, before->processes_mechanism);
      const auto procs = read_file(session + "/cgroup.procs");
      ASSERT_TRUE(procs.ok());
      EXPECT_THAT(*procs, ::testing::HasSubstr(std::to_string(::getpid()))) << "moved without need";
      remove_bases(*probed);
    });
  }
  EXPECT_TRUE(remove_cgroup(session, BootClock::now() + std::chrono::seconds(20)).ok());
  remove_bases(*before);
}

TEST(Containment, LeavesTheMachinesOwnLimitOnPidsAlone) {
  const auto before = read_file("/proc/sys/kernel/pid_max");
  TempDir dir;
  const auto probed = probe_containment({.state_dir = dir.path().string(), .may_move = false});
  ASSERT_TRUE(before.ok() && probed.ok());
  EXPECT_EQ(*read_file("/proc/sys/kernel/pid_max"), *before);
  remove_bases(*probed);
}

class Cgroup : public ::testing::Test {
 protected:
  void SetUp() override {
    auto probed = probe_containment({.state_dir = dir.path().string(), .may_move = false});
    ASSERT_TRUE(probed.ok());
    containment = *probed;
    if (!containment.cgroup.available) GTEST_SKIP() << containment.cgroup.why_not;
    path = containment.cgroup_base + "/7f3a91c2.1";
  }
  void TearDown() override { remove_bases(containment); }
  void enter(const std::string& group) { ASSERT_TRUE(write_cgroup(group, "cgroup.procs", "0").ok()); }
  TempDir dir;
  Containment containment;
  std::string path;
};

TEST_F(Cgroup, IsMadeOnceAndRemovedWithItsChildren) {
  ASSERT_TRUE(make_attempt_cgroup(path).ok());
  EXPECT_EQ(make_attempt_cgroup(path).error().code, Errc::conflict);
  EXPECT_NE(cgroup_id(path), 0U);
  EXPECT_TRUE(remove_cgroup(path, BootClock::now() + std::chrono::seconds(20)).ok());
  EXPECT_EQ(cgroup_id(path), 0U);
  EXPECT_TRUE(remove_cgroup(path, BootClock::now()).ok()) << "removed already";
  EXPECT_TRUE(kill_cgroup(path).ok()) << "removed already";
}

TEST_F(Cgroup, KillEmptiesItAndItsNestedGroups) {
  ASSERT_TRUE(make_attempt_cgroup(path).ok());
  ASSERT_TRUE(make_cgroup(path + "/job/nested").ok());
  Idle first([&] { enter(path + "/job"); });
  Idle second([&] { enter(path + "/job/nested"); });
  auto events = CgroupEvents::open(path);
  ASSERT_TRUE(events.ok());
  EXPECT_TRUE(events->populated());
  const auto pids = cgroup_processes(path);
  ASSERT_TRUE(pids.ok());
  EXPECT_THAT(*pids, ::testing::UnorderedElementsAre(first.pid(), second.pid()));
  EXPECT_EQ(remove_cgroup(path, BootClock::now()).error().code, Errc::timeout);
  ASSERT_TRUE(kill_cgroup(path).ok());
  EXPECT_TRUE(events->wait_empty(BootClock::now() + std::chrono::seconds(20)));
  EXPECT_TRUE(remove_cgroup(path, BootClock::now() + std::chrono::seconds(20)).ok());
}

}  // namespace
}  // namespace ebb::process

#include "ebb/devices/reserved_ports.h"

#include <sched.h>
#include <sys/stat.h>

#include "ebb/base/clock.h"
#include "ebb/base/files.h"
#include "ebb/devices/ports.h"
#include "support.h"

namespace ebb::devices {
namespace {

using test::TempDir;
using testing::HasSubstr;

constexpr const char* kSetting = "/proc/sys/net/ipv4/ip_local_reserved_ports";

PortSet ports(const char* text) {
  auto set = parse_port_set(text);
  return set ? *set : PortSet();
}

std::string setting() {
  return write_port_set(ports(read_file(kSetting).ok() ? read_file(kSetting)->c_str() : ""));
}
void write_setting(const std::string& text) { std::ofstream(kSetting) << text << std::endl; }

void leave_for_a_network_of_our_own() {
  const uid_t user = ::geteuid();
  if (::unshare(user == 0 ? CLONE_NEWNET : CLONE_NEWNET | CLONE_NEWUSER) != 0) ::_exit(77);
  if (user != 0) std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
}

bool may_have_a_network() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    leave_for_a_network_of_our_own();
    ::_exit(::access(kSetting, W_OK) == 0 ? 0 : 77);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Each test changes the kernel's setting, which is per network namespace: in one of its own.
class PortReservationTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_have_a_network()) GTEST_SKIP() << "needs a network namespace of its own";
  }
  void in_own_network(const std::function<void(const LockDirectory&)>& body) {
    test::in_child([&] {
      leave_for_a_network_of_our_own();
      const auto locks = LockDirectory::open_shared(folder_.path());
      ASSERT_TRUE(locks) << locks.error().message;
      body(*locks);
    });
  }
  TempDir folder_;
};

TEST_F(PortReservationTest, PutsInAndTakesOutOnlyItsOwn) {
  in_own_network([](const LockDirectory& locks) {
    write_setting("8080,38050-38060");
    auto reservation = PortReservation::make(locks, ports("38000-38099"));
    ASSERT_TRUE(reservation) << reservation.error().message;
    EXPECT_EQ(setting(), "8080,38000-38099");
    ASSERT_TRUE(reservation->give_back(locks));
    EXPECT_EQ(setting(), "8080,38050-38060");
  });
}

TEST_F(PortReservationTest, WhatTheAdministratorAddsMeanwhileStays) {
  in_own_network([](const LockDirectory& locks) {
    auto reservation = PortReservation::make(locks, ports("38000-38099"));
    ASSERT_TRUE(reservation);
    write_setting("9000," + setting());
    ASSERT_TRUE(reservation->give_back(locks));
    EXPECT_EQ(setting(), "9000");
  });
}

TEST_F(PortReservationTest, OfTwoDaemonsTheLastTakesTheSharedPortsOut) {
  in_own_network([](const LockDirectory& locks) {
    auto first = PortReservation::make(locks, ports("38000-38099"));
    auto second = PortReservation::make(locks, ports("38050-38149"));
    ASSERT_TRUE(first && second);
    EXPECT_EQ(setting(), "38000-38149");
    ASSERT_TRUE(first->give_back(locks));
    EXPECT_EQ(setting(), "38050-38149") << "the second still uses what the first put in";
    ASSERT_TRUE(second->give_back(locks));
    EXPECT_EQ(setting(), "");
  });
}

TEST_F(PortReservationTest, NextStartTakesOutWhatAKilledDaemonLeft) {
  in_own_network([](const LockDirectory& locks) {
    test::in_child([&] { ASSERT_TRUE(PortReservation::make(locks, ports("38000-38099"))); });
    ASSERT_EQ(setting(), "38000-38099") << "it ended without giving back";
    auto next = PortReservation::make(locks, ports("39000"));
    ASSERT_TRUE(next);
    EXPECT_EQ(setting(), "39000");
    ASSERT_TRUE(next->give_back(locks));
    EXPECT_EQ(setting(), "");
  });
}

// `ebb serve --on-stop keep`, or a crash: the jobs go on under their keepers, which hold the locks.
TEST_F(PortReservationTest, PortsOfJobsThatOutliveTheirDaemonStayUntilTheyEnd) {
  in_own_network([](const LockDirectory& locks) {
    auto keeper = locks.lock(port_lock_name(38'001));
    ASSERT_TRUE(keeper);
    test::in_child([&] { ASSERT_TRUE(PortReservation::make(locks, ports("38000-38099"))); });
    auto next = PortReservation::make(locks, ports("39000"));
    ASSERT_TRUE(next);
    EXPECT_EQ(setting(), "38001,39000");
    keeper->close();
    ASSERT_TRUE(next->give_back(locks));
    EXPECT_EQ(setting(), "");
  });
}

TEST_F(PortReservationTest, AnotherNetworkNamespaceIsLeftAlone) {
  in_own_network([this](const LockDirectory& locks) {
    auto here = PortReservation::make(locks, ports("38000-38099"));
    ASSERT_TRUE(here);
    in_own_network([](const LockDirectory& same_folder) {
      EXPECT_EQ(setting(), "");
      auto there = PortReservation::make(same_folder, ports("38000-38009"));
      ASSERT_TRUE(there);
      EXPECT_EQ(setting(), "38000-38009");
      ASSERT_TRUE(there->give_back(same_folder));
      EXPECT_EQ(setting(), "");
    });
    EXPECT_EQ(setting(), "38000-38099");
    ASSERT_TRUE(here->give_back(locks));
    EXPECT_EQ(setting(), "");
  });
}

TEST_F(PortReservationTest, LedgerThatCannotBeTrustedTellsNothing) {
  in_own_network([](const LockDirectory& locks) {
    write_setting("8080");
    PortLedger lie;
    lie.boot_id = boot_id();
    struct stat network{};
    ASSERT_EQ(::stat("/proc/thread-self/ns/net", &network), 0);
    lie.added.push_back({.network = network.st_ino, .ports = ports("8080")});
    std::ofstream(locks.path() / "reserved-ports") << lie.write();
    ASSERT_EQ(::chmod((locks.path() / "reserved-ports").c_str(), 0666), 0);
    auto reservation = PortReservation::make(locks, ports("38000"));
    ASSERT_TRUE(reservation);
    EXPECT_EQ(setting(), "8080,38000") << "anybody may have written that 8080 is ours";
    ASSERT_TRUE(reservation->give_back(locks));
    EXPECT_EQ(setting(), "8080");
  });
}

TEST_F(PortReservationTest, PoolTakesTheReservedRangeWhereItCanAndElseThePlainOne) {
  in_own_network([](const LockDirectory& locks) {
    auto pool = PortPool::open(locks, std::nullopt);
    ASSERT_TRUE(pool) << pool.error().message;
    EXPECT_EQ(pool->range(), kReservedRange);
    EXPECT_TRUE(pool->reserved());
    EXPECT_EQ(setting(), "38000-38099");
    const auto lock = pool->lock_port(38'000);
    ASSERT_TRUE(lock) << lock.error().message;
    EXPECT_EQ(pool->lock_port(38'000).error().code, Errc::conflict);
    EXPECT_EQ(pool->lock_port(38'100).error().code, Errc::impossible);
    ASSERT_TRUE(pool->give_back());
    EXPECT_EQ(setting(), "");
    // Somebody else's file in the place of the ledger's lock: nothing can be reserved safely.
    ASSERT_EQ(::chmod((locks.path() / "reserved-ports.lock").c_str(), 0666), 0);
    auto plain = PortPool::open(locks, std::nullopt);
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->range(), kPlainRange);
    EXPECT_FALSE(plain->reserved());
    EXPECT_THAT(plain->note(), HasSubstr("28000-28099, not 38000-38099"));
    EXPECT_EQ(setting(), "");
    auto asked = PortPool::open(locks, PortRange{40'000, 40'001});
    ASSERT_TRUE(asked);
    EXPECT_THAT(asked->note(), HasSubstr("ephemeral"));
    auto low = PortPool::open(locks, PortRange{20'000, 20'001});
    ASSERT_TRUE(low);
    EXPECT_EQ(low->note(), "") << "no connection takes those by itself";
  });
}

TEST(PortLedger, ReadsBackAsWritten) {
  PortLedger ledger;
  ledger.boot_id = boot_id();
  ledger.uses.push_back({.network = 4'026'531'840, .slot = 3, .ports = ports("38000-38099")});
  ledger.uses.push_back({.network = 1, .slot = -1, .ports = ports("38001")});
  ledger.added.push_back({.network = 1, .ports = ports("1,3")});
  const auto read = PortLedger::parse(ledger.write());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->write(), ledger.write());
  EXPECT_EQ(read->uses.size(), 2U);
}

TEST(PortLedger, RefusesWhatItDidNotWrite) {
  for (const char* text : {"", "\n", "ebb-reserved-ports 2 x\n", "ebb-reserved-ports 1 x\nuse 1 2\n",
                           "ebb-reserved-ports 1 x\nuse 1 -2 5\n", "ebb-reserved-ports 1 x\nadded y 5\n",
                           "ebb-reserved-ports 1 x\nadded 1 5"}) {
    EXPECT_FALSE(PortLedger::parse(text)) << text;
  }
}

}  // namespace
}  // namespace ebb::devices

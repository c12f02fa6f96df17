#include "ebb/process/socket_owner.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "ebb/process/cgroup.h"
#include "world.h"

namespace ebb::process {
namespace {

using testing::Idle;

UniqueFd listen_somewhere(std::uint16_t& port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd.get(), 1), 0);
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  port = ntohs(address.sin_port);
  return fd;
}

Listener listener_on(std::uint16_t port) {
  auto found = tcp_listeners(port, port);
  EXPECT_TRUE(found.ok());
  EXPECT_EQ(found->size(), 1u);
  return found->at(0);
}

TEST(SocketOwner, IsFoundByItsDescriptorsWithoutCgroups) {
  std::uint16_t port = 0;
  const UniqueFd fd = listen_somewhere(port);
  const Listener listener = listener_on(port);
  const Idle other([&] { ::close(fd.get()); });
  EXPECT_TRUE(owns_listener({.cgroup_ids = {}, .pids = {other.pid(), ::getpid()}}, listener));
  EXPECT_FALSE(owns_listener({.cgroup_ids = {}, .pids = {other.pid()}}, listener));
  EXPECT_FALSE(owns_listener({}, listener));
}

TEST(SocketOwner, TheCgroupDecidesWhereBothSidesHaveOne) {
  Listener listener;
  listener.inode = 1;
  listener.cgroup_id = 77;
  EXPECT_TRUE(owns_listener({.cgroup_ids = {5, 77}, .pids = {}}, listener));
  EXPECT_FALSE(owns_listener({.cgroup_ids = {5}, .pids = {::getpid()}}, listener));
}

TEST(SocketOwner, ASocketCarriesTheCgroupItWasMadeIn) {
  const auto mounts = find_cgroup_mounts();
  if (!mounts || !mounts->unified || ::geteuid() != 0) GTEST_SKIP() << "no cgroup v2 to make groups in";
  const std::string group = mounts->unified->mount + "/ebb-test-" + std::to_string(::getpid());
  ASSERT_TRUE(make_cgroup(group).ok());
  int ports[2];
  ASSERT_EQ(::pipe2(ports, O_CLOEXEC), 0);
  {
    const Idle child([&] {
      EXPECT_TRUE(write_cgroup(group, "cgroup.procs", "0").ok());
      std::uint16_t port = 0;
      static UniqueFd kept = listen_somewhere(port);
      EXPECT_EQ(::write(ports[1], &port, sizeof port), ssize_t{sizeof port});
    });
    std::uint16_t port = 0;
    ASSERT_EQ(::read(ports[0], &port, sizeof port), ssize_t{sizeof port});
    const auto ids = cgroup_ids_below(group);
    ASSERT_EQ(ids.size(), 1u);
    EXPECT_TRUE(owns_listener({.cgroup_ids = ids, .pids = {}}, listener_on(port)));
    std::uint16_t own_port = 0;
    const UniqueFd own = listen_somewhere(own_port);
    EXPECT_FALSE(owns_listener({.cgroup_ids = ids, .pids = {}}, listener_on(own_port)));
  }
  EXPECT_TRUE(remove_cgroup(group, BootClock::now() + std::chrono::seconds(10)).ok());
  EXPECT_TRUE(cgroup_ids_below(group).empty());
}

TEST(SocketHolder, IsNamedForTheError) {
  std::uint16_t port = 0;
  UniqueFd fd = listen_somewhere(port);
  const Idle holder([] { ::prctl(PR_SET_NAME, "my\x1bserver"); });
  const Listener listener = listener_on(port);
  fd.reset();
  const SocketHolder found = find_holder(listener);
  EXPECT_EQ(found.pid, holder.pid());
  EXPECT_EQ(describe(found),
            "my?server (pid " + std::to_string(holder.pid()) + ") of " + user_name(::geteuid()));
  Listener hidden = listener;
  hidden.inode = 0;
  EXPECT_EQ(describe(find_holder(hidden)), "a process of " + user_name(::geteuid()));
}

TEST(UserName, IsTheAccountOrTheNumber) {
  EXPECT_EQ(user_name(0), "root");
  EXPECT_EQ(user_name(3'999'999'991u), "3999999991");
}

}  // namespace
}  // namespace ebb::process

#include "ebb/process/containment.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "clone3.h"
#include "codec.h"
#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "init.h"
#include "mounts.h"

namespace ebb::process {
namespace {

constexpr Duration kProbeTime = std::chrono::seconds(2);
constexpr std::uint64_t kSmallestPidMax = 301;  // the kernel keeps the numbers up to 300 for itself

Capability yes() { return {.available = true, .why_not = {}, .what_to_do = {}}; }
Capability no(std::string why, std::string todo) {
  return {.available = false, .why_not = std::move(why), .what_to_do = std::move(todo)};
}

constexpr const char* kDelegate =
    "run the daemon as a service with Delegate=yes ('systemctl --user start ebb', or 'systemd-run --user -p "
    "Delegate=yes ebb serve')";

std::string read_or_empty(const std::string& path) {
  auto text = read_file(path, 64 << 10);
  return text ? std::move(*text) : std::string();
}

bool lists(const std::string& path, std::string_view word) {
  const std::string text = read_or_empty(path);
  const std::string_view line = std::string_view(text).substr(0, text.find('\n'));
  const auto words = split(line, ' ');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Starts a process into a fresh group below `base`, kills the group and sees it empty: all that an attempt
// needs.
Result<void> try_group(const std::string& base) {
  const std::string path = base + "/probe-" + std::to_string(::getpid());
  if (auto made = make_cgroup(path); !made) return made;
  const auto attempt = [&]() -> Result<void> {
    auto group = open_file(path, O_PATH | O_DIRECTORY);
    if (!group) return std::move(group).error();
    int pidfd = -1;
    const auto wait_for_kill = [](void*) {
      for (;;) ::pause();
      return 0;
    };
    const pid_t pid = clone_child({.flags = 0, .cgroup = group->get(), .pidfd = &pidfd}, nullptr, 0,
                                  wait_for_kill, nullptr);
    if (pid < 0) return errno_error(-pid, "cannot start a process in " + path);
    const UniqueFd child(pidfd);
    auto events = CgroupEvents::open(path);
    auto killed = kill_cgroup(path);
    if (!killed) ::kill(pid, SIGKILL);  // our own child, not reaped yet: nobody else has its number
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(child.get()), &info, WEXITED);
    if (!killed) return killed;
    if (!events) return std::move(events).error();
    if (!events->wait_empty(BootClock::now() + kProbeTime)) {
      return wire_error(Errc::timeout, path + " does not become empty");
    }
    return {};
  };
  auto outcome = attempt();
  auto removed = remove_cgroup(path, BootClock::now() + kProbeTime);
  if (!outcome) return outcome;
  return removed;
}

void probe_cgroup(const CgroupMounts& mounts, const std::string& base, Containment& found) {
  if (!mounts.unified) {
    found.cgroup = no("no cgroup v2 hierarchy with this process in it is mounted",
                      "mount one ('mount -t cgroup2 none /sys/fs/cgroup'), or boot with "
                      "systemd.unified_cgroup_hierarchy=1");
    return;
  }
  const bool existed = ::access(base.c_str(), F_OK) == 0;
  if (auto made = make_cgroup(base); !made && made.error().code != Errc::conflict) {
    found.cgroup = no(made.error().message, kDelegate);
    return;
  }
  if (::access((base + "/cgroup.kill").c_str(), F_OK) != 0) {
    found.cgroup = no("this kernel has no cgroup.kill", "use Linux 5.14 or later");
  } else if (auto tried = try_group(base); !tried) {
    found.cgroup = no(tried.error().message, kDelegate);
  } else {
    found.cgroup = yes();
    found.cgroup_base = base;
    return;
  }
  if (!existed) ::rmdir(base.c_str());
}

// Where a base group could be: below this process's own group, or, for root, below the hierarchy's root.
struct Place {
  std::string parent;
  std::string base;
};

// Only this process is in `group`.
bool alone_in(const std::string& group) {
  return read_or_empty(group + "/cgroup.procs") == std::to_string(::getpid()) + "\n";
}

// Hands `controller` down to the base's children. From a group with processes in it the kernel hands nothing
// down, the root excepted; where only this process is in the way it moves into `<base>/daemon`.
Result<void> hand_down(const Place& place, const std::string& controller, bool may_move) {
  const std::string word = "+" + controller;
  if (!lists(place.base + "/cgroup.controllers", controller)) {
    if (!lists(place.parent + "/cgroup.controllers", controller)) {
      return wire_error(Errc::unavailable, "the v2 hierarchy has no " + controller + " controller here");
    }
    auto down = write_cgroup(place.parent, "cgroup.subtree_control", word);
    if (!down && may_move && alone_in(place.parent)) {
      const std::string daemon = place.base + "/daemon";
      if (auto made = make_cgroup(daemon); !made && made.error().code != Errc::conflict) return made;
      if (auto moved = write_cgroup(daemon, "cgroup.procs", "0"); !moved) return moved;
      down = write_cgroup(place.parent, "cgroup.subtree_control", word);
      if (!down) {
        static_cast<void>(write_cgroup(place.parent, "cgroup.procs", "0").ok());
        ::rmdir(daemon.c_str());
      }
    }
    if (!down) return down;
  }
  return write_cgroup(place.base, "cgroup.subtree_control", word);
}

struct Controllers {
  Result<void> memory = wire_error(Errc::unavailable, "there is no cgroup for it");
  Result<void> pids = wire_error(Errc::unavailable, "there is no cgroup for it");
};

Controllers hand_down_all(const Place& place, bool may_move) {
  return {.memory = hand_down(place, "memory", may_move), .pids = hand_down(place, "pids", may_move)};
}

// Chooses and makes the base group. Below the own group it ends with the daemon's service and is accounted to
// it; but a log-in session's group is shared with the shell, and then hands no controllers down. Root is not
// bound to it.
Controllers find_base(const CgroupMounts& mounts, const std::string& name, bool may_move,
                      Containment& found) {
  Place near;
  if (mounts.unified) {
    near.parent = mounts.unified->mount + mounts.unified->own;
    const std::string inner = "/" + name + "/daemon";
    if (near.parent.ends_with(inner))
      near.parent.resize(near.parent.size() - inner.size());  // moved by a probe before
    near.base = near.parent + "/" + name;
  }
  probe_cgroup(mounts, near.base, found);
  Controllers controllers;
  if (found.cgroup.available) controllers = hand_down_all(near, may_move);
  if (!mounts.unified || controllers.memory || ::geteuid() != 0 || near.parent == mounts.unified->mount) {
    return controllers;
  }
  const Place top{.parent = mounts.unified->mount, .base = mounts.unified->mount + "/" + name};
  Containment other;
  probe_cgroup(mounts, top.base, other);
  if (!other.cgroup.available) return controllers;
  Controllers there = hand_down_all(top, false);
  if (found.cgroup.available && !there.memory) {
    ::rmdir(top.base.c_str());
    return controllers;
  }
  if (found.cgroup.available) ::rmdir(near.base.c_str());
  found.cgroup = yes();
  found.cgroup_base = top.base;
  return there;
}

// A group in a v1 hierarchy, as root. Tried only: the keeper makes it, when an attempt has a limit at all.
Result<std::string> v1_base(const std::optional<CgroupMounts::Hierarchy>& hierarchy,
                            const std::string& name) {
  if (!hierarchy) return wire_error(Errc::unavailable, "there is no v1 hierarchy for it either");
  if (::geteuid() != 0) return wire_error(Errc::forbidden, "the v1 hierarchy is root's");
  std::string base = hierarchy->mount + hierarchy->own + "/" + name;
  const auto made = make_cgroup(base);
  if (!made && made.error().code != Errc::conflict) return made.error();
  if (made) ::rmdir(base.c_str());
  return base;
}

struct NamespaceProbe {
  bool possible = false;
  bool pid_max = false;
  std::string why;
};

// Runs in a process of its own: the namespaces' first process, which does what an attempt's init does.
struct ProbeChild {
  LaunchSpec spec;
  int report;
  uid_t uid;
  gid_t gid;
};

// Before Linux 6.14 there is one value for the whole machine, and root writing it "in a namespace" would set
// that: so this cannot be tried out, only be known.
bool pid_max_is_per_namespace() {
  utsname name{};
  int major = 0;
  int minor = 0;
  return ::uname(&name) == 0 && std::sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
         std::pair(major, minor) >= std::pair(6, 14);
}

int probe_body(void* argument) {
  const auto& probe = *static_cast<ProbeChild*>(argument);
  const auto say = [&](std::string_view text) { static_cast<void>(write_all(probe.report, text).ok()); };
  if (auto prepared = prepare_namespaces(probe.spec, probe.uid, probe.gid); !prepared) {
    say("-" + prepared.error().message);
    return 1;
  }
  say("+");
  if (pid_max_is_per_namespace() && write_text("/proc/sys/kernel/pid_max", "1000")) say("p");
  return 0;
}

NamespaceProbe try_namespaces(bool user_namespace, const std::string& cgroup_root) {
  NamespaceProbe result;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return {.possible = false, .pid_max = false, .why = "cannot make a pipe"};
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t middle = ::fork();  // glibc's, after which memory may be allocated whatever other threads did
  if (middle < 0) return {.possible = false, .pid_max = false, .why = "cannot fork"};
  if (middle == 0) {
    ProbeChild probe{.spec = {}, .report = writer.get(), .uid = ::geteuid(), .gid = ::getegid()};
    probe.spec.user_namespace = user_namespace;
    probe.spec.cgroup_root = cgroup_root;
    std::uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC;
    if (user_namespace) flags |= CLONE_NEWUSER;
    const pid_t child =
        clone_child({.flags = flags, .cgroup = -1, .pidfd = nullptr}, nullptr, 0, probe_body, &probe);
    if (child < 0) {
      static_cast<void>(
          write_all(writer.get(), std::string("-cannot make namespaces: ") + std::strerror(-child)).ok());
    } else {
      ::waitpid(child, nullptr, 0);
    }
    ::_exit(0);
  }
  writer.reset();
  std::string text;
  std::array<char, 512> buffer;
  for (ssize_t got = 0; (got = ::read(reader.get(), buffer.data(), buffer.size())) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::waitpid(middle, nullptr, 0);
  result.possible = text.starts_with('+');
  result.pid_max = text == "+p";
  if (!result.possible) result.why = text.starts_with('-') ? text.substr(1) : "the trial process died";
  return result;
}

std::string advice_for_namespaces(bool root) {
  if (root)
    return "give the daemon CAP_SYS_ADMIN (in a container: --privileged, or --cap-add SYS_ADMIN and an "
           "unmasked /proc)";
  if (read_or_empty("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").starts_with('1')) {
    return "allow user namespaces: 'sysctl kernel.apparmor_restrict_unprivileged_userns=0'";
  }
  if (read_or_empty("/proc/sys/kernel/unprivileged_userns_clone").starts_with('0')) {
    return "allow user namespaces: 'sysctl kernel.unprivileged_userns_clone=1'";
  }
  if (read_or_empty("/proc/sys/user/max_user_namespaces").starts_with('0')) {
    return "allow user namespaces: 'sysctl user.max_user_namespaces=10000'";
  }
  return "run outside of a container that masks /proc, or let root run the daemon";
}

}  // namespace

Tiers Containment::tiers() const {
  return {.cgroup = cgroup.available, .pidns = pidns.available, .subreaper = !pidns.available};
}

Result<Containment> probe_containment(const ContainmentOptions& options) {
  Containment found;
  auto mounts = find_cgroup_mounts();
  if (!mounts) return std::move(mounts).error();
  found.cgroup_root = mounts->root;
  const std::string name = cgroup_base_name(options.state_dir);

  auto [memory, pids] = find_base(*mounts, name, options.may_move, found);

  found.user_namespace = ::geteuid() != 0;
  const NamespaceProbe namespaces = try_namespaces(found.user_namespace, mounts->root);
  found.pidns =
      namespaces.possible ? yes() : no(namespaces.why, advice_for_namespaces(!found.user_namespace));
  found.subreaper = yes();

  if (memory) {
    found.memory = yes();
    found.memory_mechanism = LimitMechanism::cgroup2;
  } else if (auto v1 = v1_base(mounts->memory_v1, name)) {
    found.memory = yes();
    found.memory_mechanism = LimitMechanism::cgroup1;
    found.memory_base = std::move(*v1);
  } else {
    found.memory = no(memory.error().message + "; " + v1.error().message,
                      std::string("--memory is counted but not enforced; to enforce it, ") + kDelegate);
  }
  if (pids) {
    found.processes = yes();
    found.processes_mechanism = LimitMechanism::cgroup2;
  } else if (namespaces.pid_max) {
    found.processes = yes();
    found.processes_mechanism = LimitMechanism::pid_max;
  } else if (auto v1 = v1_base(mounts->pids_v1, name)) {
    found.processes = yes();
    found.processes_mechanism = LimitMechanism::cgroup1;
    found.processes_base = std::move(*v1);
  } else {
    found.processes =
        no(pids.error().message + "; the namespace's pid_max cannot be set; " + v1.error().message,
           std::string("a fork bomb is not bounded; to bound it, ") + kDelegate);
  }
  return found;
}

void remove_bases(const Containment& containment) {
  // A group with children or processes stays: rmdir refuses.
  if (!containment.cgroup_base.empty()) ::rmdir(containment.cgroup_base.c_str());
  if (!containment.memory_base.empty()) ::rmdir(containment.memory_base.c_str());
  if (!containment.processes_base.empty()) ::rmdir(containment.processes_base.c_str());
}

void contain(LaunchSpec& spec, const Containment& containment, std::uint64_t memory_bytes,
             std::uint64_t max_processes) {
  spec.tiers = containment.tiers();
  spec.user_namespace = containment.pidns.available && containment.user_namespace;
  spec.cgroup_root = containment.pidns.available ? containment.cgroup_root : "";
  if (spec.tiers.cgroup) spec.cgroup = containment.cgroup_base + "/" + spec.label;
  spec.memory = {.value = containment.memory.available ? memory_bytes : 0,
                 .mechanism = containment.memory_mechanism,
                 .cgroup1 = {}};
  spec.processes = {.value = containment.processes.available ? max_processes : 0,
                    .mechanism = containment.processes_mechanism,
                    .cgroup1 = {}};
  if (spec.memory.mechanism == LimitMechanism::cgroup1)
    spec.memory.cgroup1 = containment.memory_base + "/" + spec.label;
  if (spec.processes.mechanism == LimitMechanism::cgroup1) {
    spec.processes.cgroup1 = containment.processes_base + "/" + spec.label;
  }
  if (spec.processes.mechanism == LimitMechanism::pid_max && spec.processes.value > 0) {
    spec.processes.value = std::max(spec.processes.value, kSmallestPidMax);
  }
}

}  // namespace ebb::process

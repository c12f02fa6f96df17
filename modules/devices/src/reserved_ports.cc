#include "ebb/devices/reserved_ports.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "ebb/base/clock.h"
#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "errors.h"

namespace ebb::devices {
namespace {

constexpr const char* kSetting = "/proc/sys/net/ipv4/ip_local_reserved_ports";
constexpr const char* kLedger = "reserved-ports";
constexpr const char* kLedgerLock = "reserved-ports.lock";
constexpr int kNoDaemon = -1;  // the slot of ports that a dead daemon's jobs still hold

std::string slot_name(int slot) { return "daemon-" + std::to_string(slot); }

std::uint64_t network_namespace() {
  struct stat info{};
  return ::stat("/proc/thread-self/ns/net", &info) == 0 ? info.st_ino : 0;
}

Result<PortSet> read_setting() {
  const auto text = read_file(kSetting, 1 << 20);
  if (!text) return text.error();
  return parse_port_set(*text);
}

Result<void> write_setting(const PortSet& ports) {
  auto file = open_file(kSetting, O_WRONLY);
  if (!file) return std::move(file).error();
  return write_all(file->get(), write_port_set(ports) + '\n');
}

// A ledger that another user wrote, of another boot, or that does not read, tells nothing.
PortLedger read_ledger(const LockDirectory& locks) {
  PortLedger empty;
  empty.boot_id = boot_id();
  const auto path = locks.path() / kLedger;
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != ::geteuid() ||
      (info.st_mode & 0022U) != 0) {
    return empty;
  }
  const auto text = read_file(path, 8 << 20);
  auto ledger = text ? PortLedger::parse(*text) : Result<PortLedger>(text.error());
  return ledger && ledger->boot_id == boot_id() ? std::move(*ledger) : empty;
}

Result<void> write_ledger(const LockDirectory& locks, const PortLedger& ledger) {
  return replace_file(locks.path() / kLedger, ledger.write(), 0644);
}

PortSet still_locked(const LockDirectory& locks, const PortSet& ports) {
  PortSet held;
  for (std::size_t port = 0; port < ports.size(); ++port) {
    held[port] = ports[port] && locks.is_locked(port_lock_name(static_cast<std::uint16_t>(port)));
  }
  return held;
}

// Reduces the entries of dead daemons to the ports that their jobs still hold under keepers.
void bury_dead(const LockDirectory& locks, PortLedger& ledger, int own_slot) {
  for (PortLedger::Use& use : ledger.uses) {
    if (use.slot == own_slot) continue;
    // Slots are taken under the ledger's lock, which we have: a free one stays free while we look.
    if (use.slot != kNoDaemon && locks.is_locked(slot_name(use.slot))) continue;
    use.slot = kNoDaemon;
    use.ports = still_locked(locks, use.ports);
  }
  std::erase_if(ledger.uses, [](const PortLedger::Use& use) { return use.ports.none(); });
}

// Brings the setting of this network namespace to what the ledger's uses need, and the ledger's `added` to
// what is then ours. The ledger is written before the setting: a crash between leaves "added" entries that
// are not there, which is harmless; the reverse would leave ports that nobody takes out.
Result<void> settle(const LockDirectory& locks, PortLedger& ledger, const PortSet& wanted) {
  auto current = read_setting();
  if (!current) return std::move(current).error();
  const std::uint64_t network = network_namespace();
  PortSet used = wanted;
  for (const auto& use : ledger.uses) {
    if (use.network == network) used |= use.ports;
  }
  PortSet ours;
  for (const auto& added : ledger.added) {
    if (added.network == network) ours |= added.ports;
  }
  std::erase_if(ledger.added, [&](const PortLedger::Added& added) { return added.network == network; });
  ours &= *current;
  const PortSet stale = ours & ~used;
  const PortSet missing = wanted & ~*current;
  const PortSet next = (*current & ~stale) | missing;

  const auto with_added = [&](const PortSet& ports) {
    PortLedger written = ledger;
    if (ports.any()) written.added.push_back({.network = network, .ports = ports});
    return written;
  };
  if (auto intent = write_ledger(locks, with_added(ours | missing)); !intent) return intent;
  if (next != *current) {
    if (auto set = write_setting(next); !set) return set;
  }
  ledger = with_added((ours & ~stale) | missing);
  return stale.none() ? Result<void>() : write_ledger(locks, ledger);
}

}  // namespace

Result<PortReservation> PortReservation::make(const LockDirectory& locks, const PortSet& ports) {
  if (::access(kSetting, W_OK) != 0) {
    return errno_error(errno, std::string("cannot write ") + kSetting, Errc::forbidden);
  }
  auto guard = locks.wait_own(kLedgerLock);
  if (!guard) return std::move(guard).error();
  const std::uint64_t network = network_namespace();
  for (int slot = 0; slot < kSlots; ++slot) {
    auto slot_lock = locks.lock_own(slot_name(slot));
    if (!slot_lock) continue;
    PortLedger ledger = read_ledger(locks);
    // What stands there under our slot is a dead daemon's; its jobs may live.
    for (auto& use : ledger.uses) {
      if (use.slot == slot) use.slot = kNoDaemon;
    }
    bury_dead(locks, ledger, slot);
    ledger.uses.push_back({.network = network, .slot = slot, .ports = ports});
    if (auto settled = settle(locks, ledger, ports); !settled) {
      // The next start finds the slot free, and takes out what of it came to be.
      return std::move(settled).error();
    }
    return PortReservation(std::move(*slot_lock), slot);
  }
  return fail(Errc::exhausted, "over " + std::to_string(kSlots) + " daemons share " + locks.path().string());
}

Result<void> PortReservation::give_back(const LockDirectory& locks) {
  auto guard = locks.wait_own(kLedgerLock);
  if (!guard) return std::move(guard).error();
  PortLedger ledger = read_ledger(locks);
  std::erase_if(ledger.uses, [&](const PortLedger::Use& use) { return use.slot == slot_; });
  bury_dead(locks, ledger, slot_);
  auto settled = settle(locks, ledger, {});
  slot_lock_.close();
  return settled;
}

}  // namespace ebb::devices

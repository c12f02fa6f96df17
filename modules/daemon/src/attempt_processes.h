#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "context.h"
#include "ebb/base/ids.h"
#include "ebb/base/listeners.h"
#include "ebb/process/end_record.h"

namespace ebb::daemon {

/// Tells which processes and listening sockets of this machine are one attempt's. Shared with the releases
/// and checks that ask.
class AttemptProcesses {
 public:
  AttemptProcesses(const Context& context, AttemptId id) : context_(context), id_(id) {}

  [[nodiscard]] AttemptId id() const { return id_; }
  /// 0: none, or not known.
  [[nodiscard]] pid_t leader() const { return leader_; }
  void led_by(pid_t leader) { leader_ = leader; }
  /// How the tree ended, once that is known; again when what had outlived the kill is gone.
  void ended(const process::EndRecord& record);
  /// Whether something is known to have outlived the kill.
  [[nodiscard]] bool left() const { return left_; }

  /// The attempt's cgroup; empty where there is none (any more).
  [[nodiscard]] std::string cgroup() const;
  /// Those that live now, as far as the cgroup or their marks tell.
  [[nodiscard]] std::vector<process::Survivor> find() const;
  /// Remembers those that live now, before they are killed: what they made is known by their numbers.
  void remember();
  [[nodiscard]] const std::vector<pid_t>& remembered() const { return remembered_; }
  [[nodiscard]] bool owns(pid_t pid) const;
  [[nodiscard]] bool owns(const Listener& listener) const;

 private:
  const Context& context_;
  AttemptId id_;
  pid_t leader_ = 0;
  bool left_ = false, gone_ = false;
  std::vector<process::Survivor> survivors_;
  std::vector<pid_t> remembered_;
};

}  // namespace ebb::daemon

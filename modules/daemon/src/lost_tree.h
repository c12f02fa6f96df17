#pragma once

#include <functional>
#include <memory>
#include <string>

#include "context.h"
#include "ebb/base/unique_fd.h"

namespace ebb::daemon {

/// Ends a process tree whose keeper is dead or does not answer, by what the containment gives: the attempt's
/// cgroup, the init of its PID namespace, and without a namespace by the marks of its processes (which they
/// can erase, so that these are the weakest). Destroying it stops the waiting; it then calls nobody.
class LostTree {
 public:
  struct Tree {
    AttemptId attempt;
    std::string cgroup;  ///< empty: none
    UniqueFd init;       ///< pidfd of the namespace's init; empty: none
    pid_t leader = 0;    ///< as the keeper told it; 0: not known
  };
  /// Whether the tree was found empty, and how that was found or what is left.
  using Done = std::function<void(bool empty, std::string how)>;

  /// Kills at once. `done` is called on the loop's thread, when the tree is empty or after `limit`; in that
  /// case once more when it is empty at last, as a keeper would tell.
  LostTree(Context& context, Tree tree, Duration limit, Done done);
  LostTree(const LostTree&) = delete;
  LostTree& operator=(const LostTree&) = delete;
  ~LostTree();

 private:
  class Hunt;
  std::shared_ptr<Hunt> hunt_;
};

}  // namespace ebb::daemon

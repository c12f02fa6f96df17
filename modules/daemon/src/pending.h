#pragma once

#include <functional>
#include <vector>

#include "ebb/engine/actions.h"
#include "ebb/store/store.h"

namespace ebb::daemon {

/// What the engine has decided and the disk does not have yet: one transaction, and what waits for it.
struct Pending {
  /// A new job, whose submitter waits.
  struct Unanswered {
    JobId id;
    std::function<void(Result<void>)> done;
  };

  store::Batch batch;
  std::vector<engine::Act> then;
  std::vector<Unanswered> unanswered;
  std::vector<JobId> touched;    ///< whose waiters are woken
  std::vector<AttemptId> ended;  ///< of the jobs that have ended, the last one
  std::vector<model::Report> reports;
  std::int64_t last_event = 0;
  /// Something waits for it. What only tells of progress may wait for company.
  bool urgent = false;

  [[nodiscard]] bool empty() const { return batch.empty() && then.empty(); }
  /// Takes out everything about a job that never was.
  void drop(JobId job);
};

}  // namespace ebb::daemon

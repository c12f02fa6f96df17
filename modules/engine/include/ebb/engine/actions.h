#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ebb/engine/types.h"
#include "ebb/model/report.h"

// What the engine wants done. The shell carries out `now` at once, commits `records` in one transaction, and
// only when they are on disk carries out `then`, in the order of the events also where there is nothing to
// commit (a Stop must not overtake its Start). Intent is on disk before the act, and a freed lease before
// anybody else uses it.
namespace ebb::engine {

namespace act {

/// Take the locks of these devices and verify that they are free; answer Acquired or AcquireFailed.
struct Acquire {
  AttemptId attempt;
  Leases leases;
};
/// Give back what Acquire took (or is still taking): the attempt will not be started.
struct Abandon {
  AttemptId attempt;
};
/// Start the attempt under a keeper; answer Started, or Ended with start_failed.
struct Start {
  AttemptId attempt;
  Leases leases;
};
/// TERM to the tree, the grace period, then kill; answer Ended. A second one may shorten the grace.
struct Stop {
  AttemptId attempt;
  model::StopReason reason;
  Duration grace{};
};
/// The job has no owner any longer: its keeper must not end it for want of one, nor of a daemon.
struct Disown {
  AttemptId attempt;
};
/// Run the attempt's releases; answer Released.
struct Release {
  AttemptId attempt;
  Leases leases;
  model::StopReason reason;
  model::Exit exit;
  std::optional<WallTime> started_at;
  std::optional<WallTime> stop_requested_at;
};
/// The report is on disk: let the keeper go, and give the locks back or hand them to their next holder.
struct Finish {
  AttemptId attempt;
};
/// A queued job waits for this GPU (or port), which is used from outside: tell by DeviceChanged when it is
/// free.
struct Watch {
  bool is_port = false;
  int id = 0;
};
/// Nobody waits for it any longer.
struct Unwatch {
  bool is_port = false;
  int id = 0;
};

}  // namespace act

using Act = std::variant<act::Acquire, act::Abandon, act::Start, act::Stop, act::Release, act::Finish,
                         act::Watch, act::Unwatch, act::Disown>;

namespace record {

/// The job is in the queue. The shell adds what the engine does not know (spec, user's ids, environment), and
/// tells NotRecorded where the disk does not take it.
struct JobAdded {
  JobId job;
};
/// An attempt is about to start with these leases.
struct AttemptAdded {
  AttemptId attempt;
  Leases leases;
};
/// Started, and ready where that was asked for; `pid` of the leader on this host.
struct AttemptRunning {
  AttemptId attempt;
  int pid = 0;
  WallTime at{};
};
/// A stop has been asked for (the first one counts); from here on the job is `releasing`.
struct StopAsked {
  AttemptId attempt;
  model::StopReason reason;
  WallTime at{};
};
/// Its tree has ended; the other releases begin.
struct AttemptEnded {
  AttemptId attempt;
  model::StopReason reason;
  model::Exit exit;
  WallTime at{};
};
/// The report; its leases are free (those that it does not call quarantined), the job has its last state.
/// Attempt 0: a job that ended while queued.
struct JobEnded {
  JobId job;
  model::Report report;
};
/// The recorded attempt never came to life; its leases are free and the job is queued again.
struct AttemptDropped {
  AttemptId attempt;
};
/// A GPU that could not be verified free; it stays so over restarts until it is given back.
struct Quarantined {
  int gpu = 0;
  std::string why;
  std::optional<AttemptId> attempt;
};
struct QuarantineLifted {
  int gpu = 0;
};
/// The job is detached from now on.
struct OwnerDropped {
  JobId job;
};
/// For GET /v1/events; numbered by the shell.
struct Note {
  std::string type;
  std::optional<JobId> job;
  std::optional<model::JobState> state;
  std::optional<std::string> detail;
};

}  // namespace record

using Record =
    std::variant<record::JobAdded, record::AttemptAdded, record::AttemptRunning, record::StopAsked,
                 record::AttemptEnded, record::JobEnded, record::AttemptDropped, record::Quarantined,
                 record::QuarantineLifted, record::OwnerDropped, record::Note>;

/// What follows from one event.
struct Actions {
  std::vector<Act> now;
  std::vector<Record> records;
  std::vector<Act> then;
  [[nodiscard]] bool empty() const { return now.empty() && records.empty() && then.empty(); }
};

}  // namespace ebb::engine

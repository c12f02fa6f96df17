#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ebb/engine/types.h"
#include "ebb/model/report.h"

// What happens to the engine. Every event is a fact that the shell has learnt; the engine alone decides what
// follows from it. An event about a job or an attempt that the engine does not know, or that is past it, has
// no effect: late and doubled messages are normal.
namespace ebb::engine {

/// A job of the journal at start-up, before any other event. With an attempt, its leases are held again; the
/// shell then tells by Started, Ended or NeverStarted what its census found (of one that is `releasing`,
/// whose tree has ended and which releases again, nothing needs to be told). In order of JobInfo::seq.
struct Restored {
  struct Attempt {
    int number = 1;
    Leases leases;
    model::JobState state =
        model::JobState::starting;                 ///< starting or running; releasing: its tree has ended
    std::optional<model::StopReason> stop_reason;  ///< a stop that was on its way; releasing: the end's
    std::optional<WallTime> stop_asked_at;
    std::optional<WallTime> started_at;
    model::Exit exit;  ///< releasing
  };
  JobInfo job;
  int attempts_before = 0;  ///< number of the last attempt that has ended
  std::optional<Attempt> attempt;
};
/// All Restored have been applied: the queue may move.
struct RestoreDone {};

/// A new job; Engine::check() has accepted it just before. Its row goes to disk with what follows from this.
struct Submitted {
  JobInfo job;
};
/// The disk did not take the row of a new job, and its submitter is told so: it never was. Of what was
/// decided for it nothing has been carried out but Acquire.
struct NotRecorded {
  JobId job;
};
/// Somebody wants the job to end. `grace` over the job's own.
struct StopRequested {
  JobId job;
  model::StopReason reason;
  std::optional<Duration> grace;
};

/// Answers to act::Acquire: locks taken and every GPU verified free, or the devices that refused (then
/// nothing is held, and the engine tries others).
struct Acquired {
  AttemptId attempt;
};
struct AcquireFailed {
  struct Refusal {
    bool is_port = false;
    int id = 0;                                              ///< of the GPU, or the port's number
    model::DeviceState state = model::DeviceState::outside;  ///< outside, unknown or quarantined
    std::string why;
    std::vector<model::OutsideUse> outside;
  };
  AttemptId attempt;
  std::vector<Refusal> refusals;
};

/// The leader has been executed, at `at` where its keeper tells: --time counts from then, and not by the wall
/// clock, also for an attempt that was restored.
struct Started {
  AttemptId attempt;
  int pid = 0;
  std::optional<BootTime> at;
};
/// It answers, and every listener on its port is its own.
struct BecameReady {
  AttemptId attempt;
};
/// It did not become ready, for this reason: the attempt ends as start_failed.
struct ReadyFailed {
  AttemptId attempt;
  std::string why;
};
/// Nothing of the tree is left to wait for: it is gone, or kill_timeout has passed (the release will say).
struct Ended {
  AttemptId attempt;
  model::Exit exit;
  model::StopReason
      reason;  ///< as seen from outside: completed, failed, start_failed, oom, timeout, keeper_lost, …
  /// When the leader was gone, or its keeper was found dead, where that is known: if that was before a stop
  /// was asked for, `reason` stands.
  std::optional<BootTime> exited_at;
  /// The keeper left a request unanswered, so that no stop has reached the tree: `reason` stands.
  bool unanswered = false;
};
/// Start-up found that a recorded attempt never came to life: its job goes back to its place in the queue.
struct NeverStarted {
  AttemptId attempt;
};
/// The scope has run: what was released, what stays quarantined. Ends the attempt and the job. The report has
/// a record for each leased GPU and port, its target the id (or number); one without is not used again
/// before it has been looked at.
struct Released {
  AttemptId attempt;
  model::Report report;
};

/// The shell has looked at a GPU or a port that is not leased, or a quarantined one came free.
struct DeviceChanged {
  bool is_port = false;
  int id = 0;
  model::DeviceState state = model::DeviceState::free;  ///< free, outside, unknown or quarantined
  std::string why;
  std::vector<model::OutsideUse> outside;
};

/// The owner's stream is there; also when it comes back.
struct OwnerConnected {
  JobId job;
};
/// The stream is gone, or its owner no longer answers: the lease has been running out since `since` (the last
/// sign of life; empty: now).
struct OwnerDisconnected {
  JobId job;
  std::optional<BootTime> since;
};
/// Ctrl+Z at the owner: the lease stands still until it connects again or resumes.
struct OwnerSuspended {
  JobId job;
};
struct OwnerResumed {
  JobId job;
};
/// The owner's process is known to be gone: no lease is waited for.
struct OwnerExited {
  JobId job;
};
/// The job has no owner any longer and goes on by itself.
struct OwnerDropped {
  JobId job;
};

/// No new job is accepted and none is started, until resumed.
struct Drain {
  bool on = true;
};
/// The daemon ends: nothing more is started; with `end_jobs` every attempt is stopped as daemon_stopped
/// (queued jobs stay queued on disk). A second one with `now` lets no grace period run any longer.
struct Shutdown {
  bool end_jobs = true;
  bool now = false;
};
/// Time has passed; due at Engine::next_deadline() at the latest.
struct Tick {};

using Event = std::variant<Restored, RestoreDone, Submitted, NotRecorded, StopRequested, Acquired,
                           AcquireFailed, Started, BecameReady, ReadyFailed, Ended, NeverStarted, Released,
                           DeviceChanged, OwnerConnected, OwnerDisconnected, OwnerSuspended, OwnerResumed,
                           OwnerExited, OwnerDropped, Drain, Shutdown, Tick>;

}  // namespace ebb::engine

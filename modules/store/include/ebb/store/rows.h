#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/model/api.h"
#include "ebb/model/job.h"
#include "ebb/model/report.h"

namespace ebb::store {

/// As whom and in what surroundings a job is executed, as taken at its submission.
struct Surroundings {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::string workdir;
  int umask = 022;
  int nice = 0;
  std::map<std::string, std::uint64_t> limits;  ///< soft limits by name ("nofile"); ~0 is unlimited
  std::vector<std::string> environment;         ///< "K=V"; stored once by content hash
  bool operator==(const Surroundings&) const = default;
};

/// A job as it was submitted; never changes.
struct JobRow {
  JobId id;
  std::int64_t seq = 0;  ///< order of submission, unique, ascending
  std::string user;
  model::JobSpec spec;
  Surroundings surroundings;
  std::optional<std::string> origin;  ///< template of the compatible endpoints ("training"), else empty
  std::optional<std::string> server_url;
  WallTime submitted_at{};
};

/// One attempt; the leases are those that it took at its start.
struct AttemptRow {
  AttemptId id;
  std::vector<int> gpus;
  std::vector<int> ports;
  std::int64_t memory_bytes = 0;
  std::string tier;
  std::string boot_id;
  std::optional<int> pid;
  std::optional<WallTime> started_at;
  std::optional<WallTime> stop_asked_at;
  std::optional<model::StopReason> stop_reason;
  std::optional<WallTime> ended_at;  ///< the tree's end; empty while it lives
  model::Exit exit;
};

/// A job with what has become of it.
struct JobRecord {
  JobRow row;
  model::JobState state = model::JobState::queued;
  std::optional<AttemptRow> attempt;    ///< the last one
  std::optional<model::Report> report;  ///< the last one: of the job's end
};

struct UserRow {
  model::User user;
  std::string key_hash;  ///< of the current key; empty once revoked
};

/// GPUs that an ended attempt may still use, kept over restarts.
struct QuarantineRow {
  int gpu = 0;
  std::string uuid;
  std::string why;
  std::optional<AttemptId> attempt;
};

// Writes: each changes one thing; a batch of them is one transaction. One that names a job or an attempt that
// is not there, or adds one that is, fails its whole batch.

namespace write {
struct AddJob {
  JobRow job;
};
struct AddAttempt {
  AttemptRow attempt;
};
struct SetRunning {
  AttemptId attempt;
  int pid = 0;
  WallTime at{};
};
/// The job is no longer attached: its JobRow reads without an owner's lease from now on.
struct SetDisowned {
  JobId job;
};
struct SetTier {
  AttemptId attempt;
  std::string tier;
};
struct SetStopAsked {  ///< the job is `releasing` from now on
  AttemptId attempt;
  model::StopReason reason;
  WallTime at{};
};
struct SetEnded {
  AttemptId attempt;
  model::StopReason reason;
  model::Exit exit;
  WallTime at{};
};
/// The attempt's report (attempt 0: none was ever made): the job ends and its leases are free. Written once.
struct AddReport {
  model::Report report;
};
struct DropAttempt {
  AttemptId attempt;
};
struct PutQuarantine {
  QuarantineRow row;
};
struct DropQuarantine {
  int gpu = 0;
};
/// `seq` is given by the shell, ascending. The last 100,000 or so are kept.
struct AddEvent {
  model::Event event;
};
/// The answer to a submission with an Idempotency-Key; kept for a day.
struct AddIdempotency {
  std::string user;
  std::string key;
  std::string body_hash;
  JobId job;
  WallTime at{};
};
/// Forgets a job that has ended, with its attempts and reports; its id stays known for ever. The newest job
/// stays: the numbering goes on from it.
struct DropJob {
  JobId job;
};
/// Adds or replaces a user (by user_id).
struct PutUser {
  UserRow user;
};
/// A small named value, such as the GPU baselines.
struct PutValue {
  std::string name;
  std::string value;
};
}  // namespace write

using Write = std::variant<write::AddJob, write::AddAttempt, write::SetRunning, write::SetDisowned,
                           write::SetTier, write::SetStopAsked, write::SetEnded, write::AddReport,
                           write::DropAttempt, write::PutQuarantine, write::DropQuarantine, write::AddEvent,
                           write::AddIdempotency, write::DropJob, write::PutUser, write::PutValue>;
using Batch = std::vector<Write>;

}  // namespace ebb::store

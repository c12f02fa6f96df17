#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ebb/model/devices.h"
#include "ebb/model/job.h"
#include "ebb/model/report.h"

namespace ebb::model {

enum class BlockerKind { gpu, port, memory, limit, dependency, drain, outside, quarantined };

struct Holder {
  JobId job;
  std::string user;
  std::vector<int> gpus;
};

/// One thing that a queued job waits for.
struct Blocker {
  BlockerKind kind = BlockerKind::gpu;
  std::int64_t need = 0;
  std::int64_t free = 0;
  std::vector<Holder> held_by;
  std::string text;  ///< "waits for 2 GPUs; alice's 5c01aa07 holds 0 1 2 3"
};

/// Why a job waits: GET /v1/jobs/{id}/why.
struct Why {
  JobState state = JobState::queued;
  std::optional<std::int64_t> position;
  std::vector<Blocker> blockers;
};

/// One entry of the journal that GET /v1/events follows.
struct Event {
  std::int64_t seq = 0;
  WallTime at{};
  std::string type;  ///< "job.queued", "job.starting", "job.running", "job.releasing", "job.ended",
                     ///< "device.changed", …
  std::optional<JobId> job;
  std::optional<std::string> user;
  std::optional<JobState> state;
  std::optional<std::string> detail;
};

struct User {
  std::string user_id;  ///< "user_" + 8 hex digits
  std::string name;
  WallTime created_at{};
  bool admin = false;
  bool templates_only = false;
  std::optional<std::string> account;  ///< the Unix account that its jobs run as
  std::optional<WallTime> revoked_at;
};

struct UserList {
  std::vector<User> items;
};

/// POST /v1/users.
struct UserRequest {
  std::string name;
  std::optional<bool> admin;
  std::optional<bool> templates_only;
  std::optional<std::string> account;
};

/// The answer that shows a key, for the only time.
struct UserKey {
  User user;
  std::string api_key;
};

/// RFC 9457 problem details.
struct Problem {
  std::string type;  ///< stable: "no-such-job", "not-yours", "impossible-request", …
  std::string title;
  int status = 500;
  std::string detail;
  std::optional<std::string> pointer;  ///< JSON pointer to the field of the request
};
/// The problem that stands for an error; its status follows from the error's code.
[[nodiscard]] Problem to_problem(const Error& error);
/// The error that a problem stands for: what a client makes of an answer.
[[nodiscard]] Error to_error(const Problem& problem);

}  // namespace ebb::model

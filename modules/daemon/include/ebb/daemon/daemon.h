#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/daemon/caller.h"
#include "ebb/daemon/config.h"
#include "ebb/model/api.h"

namespace ebb::daemon {

template <typename T>
using Task = boost::asio::awaitable<T>;

/// One request to make a job.
struct Submission {
  model::JobRequest request;
  std::optional<std::string> idempotency_key;
  std::string body_hash;  ///< of the request's bytes, for the key
  /// By a template of the compatible endpoints: its name, the request's fields as text (absent: null or
  /// false), the secrets that only the job's environment may show, and the `config` object as JSON.
  struct FromTemplate {
    std::string name;
    std::map<std::string, std::string> fields;
    std::map<std::string, std::string> secret_env;
    std::optional<std::string> config_json;
    std::optional<std::int64_t> gpus;
  };
  std::optional<FromTemplate> from_template;
};

struct Submitted {
  model::Job job;
  bool replayed = false;  ///< the answer of an earlier request with the same Idempotency-Key
};

struct CancelRequest {
  std::string by;  ///< "owner", "admin alice", …
  std::string detail;
  std::optional<Duration> grace;
  Duration wait{};
  /// POST /complete_job: the owner says that the work is done, so the job ends as `completed`; one that is
  /// still queued is cancelled.
  bool complete = false;
};
struct Cancelled {
  model::Job job;
  std::optional<model::Report> report;  ///< once released
};

struct JobFilter {
  std::vector<model::JobState> states;
  std::optional<std::string> user, group, name;
  std::optional<WallTime> since;
  int limit = 100;
  std::optional<std::string> cursor;
  bool oldest_first = false;
};

/// The life of one owner's stream; when it is destroyed, the job's lease begins to run out.
class OwnerHold {
 public:
  virtual ~OwnerHold() = default;
  /// The owner has shown that it lives: the lease begins anew.
  virtual void renew() = 0;
};

/// The daemon without its HTTP surface. Everything is called on the thread of the io_context; nothing blocks
/// it. Every call that takes a Caller checks what that caller may do.
class Daemon {
 public:
  /// Takes the state directory (one living daemon each), opens the store, finds the devices, recovers what an
  /// earlier daemon left, and moves the queue. Errors are complete sentences for `ebb serve`.
  [[nodiscard]] static Task<Result<std::unique_ptr<Daemon>>> start(boost::asio::io_context& io,
                                                                   Config config);
  ~Daemon();
  /// What start() found of a daemon that had not cleaned up, and did about it: a sentence each.
  [[nodiscard]] const std::vector<std::string>& recovered() const;

  // ---- who asks
  [[nodiscard]] Result<Caller> caller_of_peer(std::shared_ptr<const process::PeerCredentials> peer) const;
  [[nodiscard]] Result<Caller> caller_of_key(std::string_view key) const;
  /// Authentication is off ([compat] auth = false), for the compatible endpoints only.
  [[nodiscard]] Caller anonymous() const;

  // ---- jobs
  /// Returns when the job is durable.
  [[nodiscard]] Task<Result<Submitted>> submit(Caller caller, Submission submission);
  [[nodiscard]] Result<model::Job> job(const Caller& caller, JobId id) const;
  [[nodiscard]] Result<model::JobList> jobs(const Caller& caller, const JobFilter& filter) const;
  [[nodiscard]] Result<model::Why> why(const Caller& caller, JobId id) const;
  [[nodiscard]] Result<model::Report> report(const Caller& caller, JobId id) const;
  /// Returns when the stop is on disk, so that no daemon's death takes it back; or, with `wait`, when the job
  /// is released or that time is over. An ended job: its report.
  [[nodiscard]] Task<Result<Cancelled>> cancel(Caller caller, JobId id, CancelRequest request);
  /// The first `limit` jobs whose ids begin so, by id.
  [[nodiscard]] Result<model::JobList> with_prefix(const Caller& caller, std::string_view prefix,
                                                   int limit) const;
  /// The folder of the job's log; the caller may see its output.
  [[nodiscard]] Result<std::filesystem::path> log_folder(const Caller& caller, JobId id) const;
  /// Waits until the job's state is no longer `seen`, or the time has passed; the job as it is then.
  [[nodiscard]] Task<Result<model::Job>> changed(Caller caller, JobId id, model::JobState seen,
                                                 Duration wait);

  // ---- owners
  [[nodiscard]] Result<std::unique_ptr<OwnerHold>> hold(const Caller& caller, JobId id);
  /// The job has no owner any longer and goes on by itself, also under later daemons.
  [[nodiscard]] Result<void> disown(const Caller& caller, JobId id);
  /// Ctrl+Z and fg at the owner.
  [[nodiscard]] Result<void> suspend_owner(const Caller& caller, JobId id, bool suspended);

  // ---- events, devices, the daemon itself
  struct Events {
    std::vector<model::Event> events;  ///< empty where the time has passed
    bool reset = false;                ///< some before these are no longer kept
  };
  /// Waits for events after `seq` that the caller may see.
  [[nodiscard]] Task<Result<Events>> events(Caller caller, std::int64_t seq, Duration wait);
  [[nodiscard]] std::int64_t last_event() const;
  [[nodiscard]] Task<model::Devices> devices(Caller caller);
  /// "0" or "gpu-0" is a GPU, "port-38001" a port.
  [[nodiscard]] Task<Result<model::Devices>> release_device(Caller caller, std::string id);
  [[nodiscard]] Result<void> drain(const Caller& caller, bool on);

  // ---- users
  [[nodiscard]] Result<model::UserList> users(const Caller& caller) const;
  [[nodiscard]] Task<Result<model::UserKey>> add_user(Caller caller, model::UserRequest request);
  /// By the open /register endpoint: no caller; templates only.
  [[nodiscard]] Task<Result<model::UserKey>> register_user(std::string name);
  [[nodiscard]] Task<Result<model::UserKey>> rotate_user(Caller caller, std::string name);
  [[nodiscard]] Task<Result<model::User>> revoke_user(Caller caller, std::string name);
  /// Users of another system with the hashes of their keys, which go on working.
  [[nodiscard]] Task<Result<model::User>> import_user(Caller caller, model::UserRequest request,
                                                      std::string key);

  // ---- the end
  /// Ends every job, or leaves them to their keepers (`keep`); returns the reports when all are released.
  /// Where the disk takes no writes, or leaves one unanswered for 15 s, jobs cannot be ended in order: they
  /// stay with their keepers, too, and count as active or unwritten; disk_error() says why. Called again
  /// meanwhile with `now`: no grace period runs any longer.
  [[nodiscard]] Task<std::vector<model::Report>> shutdown(bool keep);
  void shutdown_now();
  /// Called once on an error after which the daemon must not go on (fsync failed). Jobs stay with their
  /// keepers.
  void on_fatal(std::function<void(Error)> handler);

  [[nodiscard]] const Config& config() const;
  struct Counters {
    std::int64_t submitted = 0, started = 0, ended = 0, queued = 0, active = 0;
    std::int64_t unwritten = 0;  ///< have ended, which is not on disk yet
  };
  [[nodiscard]] Counters counters() const;
  /// Why the disk does not take what is to be written; empty while it does.
  [[nodiscard]] const std::string& disk_error() const;
  /// Whether shutdown() has given up waiting for the disk. Then destroying this would wait for it.
  [[nodiscard]] bool disk_hangs() const;
  /// Whether submissions are accepted and the disk takes writes (GET /readyz).
  [[nodiscard]] bool ready() const;

 private:
  class Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::daemon

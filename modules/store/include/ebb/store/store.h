#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/store/rows.h"

namespace ebb::store {

/// GET /v1/jobs: newest first, `limit` at most, those before `before_seq`.
struct JobQuery {
  std::vector<model::JobState> states = {};  ///< empty: any
  std::optional<std::string> user = {};
  std::optional<std::string> group = {};
  std::optional<std::string> name = {};
  std::optional<WallTime> since = {};  ///< submitted at or after
  std::optional<std::int64_t> before_seq = {};
  std::optional<std::int64_t> after_seq = {};  ///< the cursor where the oldest come first
  bool oldest_first = false;
  int limit = 100;
};

/// The database. Writes go to a thread of its own, which takes all batches that wait into one transaction
/// (WAL, synchronous=FULL) and then reports each; a slow disk delays them, never the caller. Reads see what
/// is committed, run on the caller's thread over a connection of their own, and never wait for a write.
///
/// commit() may be called from one thread; the readers from that same thread. A reader's failure is corrupt
/// (the database is damaged; what to do stands in the message) or io.
class Store {
 public:
  /// Opens or makes the database at `folder`/ebb.db, brings it to the current version, checks it. Errors name
  /// the file and what to do: a corrupt or newer database, no space, a network file system (WAL does not work
  /// there), a folder that is not writable, another daemon that has it open (Errc::conflict; the message has
  /// its pid, its user and its `note`, such as the path of its socket).
  [[nodiscard]] static Result<Store> open(const std::filesystem::path& folder, std::string_view note = {});
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  /// Waits for what is under way, then closes.
  ~Store();

  /// What the one before left in its log, where it did not close the database; open() has taken it in.
  struct FoundLog {
    std::int64_t commits = 0;
    /// Bytes of the log's end that are cut off, damaged, or of a commit that is not whole: left out, as if
    /// they had never been written. They were confirmed to nobody, unless the disk lost what it had
    /// confirmed.
    std::int64_t left_out = 0;
  };
  [[nodiscard]] FoundLog found_log() const;

  /// Called on the writer thread when the batch is on disk, or could not be written. A failure is of this
  /// batch alone (disk full) or final (fsync failed: `fatal`; the caller must stop admitting and exit, since
  /// nobody knows what is on disk).
  struct Outcome {
    Result<void> result;
    bool fatal = false;
  };
  /// Queues a batch: all of it becomes durable, or none. Batches become durable in the order of their calls.
  void commit(Batch batch, std::function<void(Outcome)> done);

  [[nodiscard]] Result<std::optional<JobRecord>> job(JobId id) const;
  /// The environment is left out (job() has it).
  [[nodiscard]] Result<std::vector<JobRecord>> jobs(const JobQuery& query) const;
  /// Whether the id was ever given to a job.
  [[nodiscard]] Result<bool> known(JobId id) const;
  /// A place in the order in which jobs ended; the default is before all of them.
  struct EndedAt {
    WallTime at{};
    std::int64_t seq = 0;
    auto operator<=>(const EndedAt&) const = default;
  };
  struct EndedJob {
    JobId id;
    EndedAt ended;
    int attempts = 0;  ///< the number of its last attempt
    /// Not to be dropped: the newest of all jobs, from which the numbering goes on, or one whose GPU is
    /// quarantined and is looked for by the next daemon.
    bool kept = false;
  };
  /// Ended jobs that come after `after`, the longest ended first.
  [[nodiscard]] Result<std::vector<EndedJob>> ended_after(EndedAt after, int limit) const;
  /// How many ended jobs there are; reads an index from end to end.
  [[nodiscard]] Result<std::int64_t> count_ended() const;
  /// Ids that begin with these 1 to 8 hex digits, at most `limit`.
  [[nodiscard]] Result<std::vector<JobId>> with_prefix(std::string_view prefix, int limit) const;
  [[nodiscard]] Result<std::optional<model::Report>> report(JobId id, std::optional<int> attempt) const;
  /// Every job that has not ended, in order of submission, one by one: a million do not fit in memory twice.
  /// The environment is left out (job() has it).
  [[nodiscard]] Result<void> each_live_job(const std::function<void(const JobRecord&)>& visit) const;
  [[nodiscard]] Result<std::vector<QuarantineRow>> quarantined() const;
  [[nodiscard]] Result<std::vector<model::Event>> events_after(std::int64_t seq, int limit) const;
  /// First and last number of the events that are kept; {0, 0} where there is none.
  struct EventRange {
    std::int64_t first = 0;
    std::int64_t last = 0;
  };
  [[nodiscard]] Result<EventRange> event_range() const;
  struct Idempotent {
    std::string body_hash;
    JobId job;
  };
  [[nodiscard]] Result<std::optional<Idempotent>> idempotent(const std::string& user, const std::string& key,
                                                             WallTime not_before) const;
  [[nodiscard]] Result<std::vector<UserRow>> users() const;
  [[nodiscard]] Result<std::optional<UserRow>> user_by_key_hash(const std::string& key_hash) const;
  [[nodiscard]] Result<std::optional<UserRow>> user_by_name(const std::string& name) const;
  [[nodiscard]] Result<std::optional<std::string>> value(const std::string& name) const;
  /// The largest JobRow::seq and Event::seq ever given; 0 where there is none.
  [[nodiscard]] Result<std::int64_t> last_job_seq() const;
  [[nodiscard]] Result<std::int64_t> last_event_seq() const;

 private:
  class Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ebb::store

#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>

#include "ebb/daemon/daemon.h"

namespace ebb::server {

/// The rule `owner = "connection"` of job templates: a job submitted over a connection that stays open lives
/// with it. When the connection closes, the job's lease begins to run, and goes on being held only if the
/// same user asks about the job on another connection. A connection that closes within 2 s of the answer to
/// the submission, as curl's does, without having asked about the job, never meant to own: the job is set
/// free. One thread.
class CompatOwners {
 public:
  explicit CompatOwners(daemon::Daemon& daemon) : daemon_(daemon) {}

  /// The job was just submitted on this connection.
  void attach(const daemon::Caller& caller, JobId id, std::uint64_t connection);
  /// The answer to the submission has been sent.
  void answered(JobId id);
  /// The caller has asked about this one job on this connection; a list of all, as a dashboard polls it, is
  /// no such question.
  void touched(const daemon::Caller& caller, JobId id, std::uint64_t connection);
  void closed(std::uint64_t connection);
  /// Whether jobs that still live are attached to the connection.
  [[nodiscard]] bool owns(std::uint64_t connection);

 private:
  struct Entry {
    daemon::Caller caller;
    std::uint64_t connection = 0;  ///< 0: closed, the lease runs
    std::unique_ptr<daemon::OwnerHold> hold;
    std::optional<BootTime> answered;
  };
  [[nodiscard]] bool ended(const Entry& entry, JobId id) const;

  daemon::Daemon& daemon_;
  std::map<JobId, Entry> jobs_;
  std::multimap<std::uint64_t, JobId> by_connection_;
};

}  // namespace ebb::server

// The rows that every saved database holds, whichever version it has.
#pragma once

#include "ebb/store/rows.h"

namespace ebb::store {

inline constexpr JobId kQueued{0x00000001U}, kRunning{0x7f3a91c2U}, kEnded{0xfffffffeU};

inline WallTime moment(std::int64_t seconds) {
  return WallTime(std::chrono::seconds(1'763'938'000 + seconds));
}

inline JobRow job(JobId id, std::int64_t seq) {
  JobRow row;
  row.id = id;
  row.seq = seq;
  row.user = "alice";
  row.spec.command = {"python3", "train.py", "{port}"};
  row.spec.gpus = 2;
  row.spec.ports = 1;
  row.spec.grace = std::chrono::seconds(10);
  row.spec.log_limit_bytes = std::int64_t{1} << 30;
  row.surroundings.uid = 1000;
  row.surroundings.gid = 1000;
  row.surroundings.groups = {1000, 44};
  row.surroundings.workdir = "/home/alice";
  row.surroundings.limits = {{"nofile", 1024}};
  row.surroundings.environment = {"HOME=/home/alice", "LANG=C.UTF-8"};
  row.submitted_at = moment(seq);
  return row;
}

/// A queued job with every option, a running one and an ended one; a user, a quarantine, events and the rest.
inline Batch all_rows() {
  JobRow queued = job(kQueued, 1);
  queued.spec.gpu_ids = {1, 3};
  queued.spec.cpus = 0.5;
  queued.spec.memory_bytes = std::int64_t{3} << 30;
  queued.spec.time = std::chrono::hours(2);
  queued.spec.priority = -7;
  queued.spec.name = "digits";
  queued.spec.group = "night";
  queued.spec.env = {{"A", "1"}};
  queued.spec.clean_env = true;
  queued.spec.workdir = "/data";
  queued.spec.ready = model::JobSpec::ReadyCheck{.path = "/health", .timeout = std::chrono::seconds(60)};
  queued.spec.owner_lease = std::chrono::seconds(15);
  queued.spec.share_ipc = true;
  queued.spec.expand = false;
  queued.origin = "training";
  queued.server_url = "http://127.0.0.1:38001";

  const auto attempt = [](JobId id) {
    AttemptRow row;
    row.id = {id, 1};
    row.gpus = {0, 1};
    row.ports = {38001};
    row.memory_bytes = 4096;
    row.tier = "cgroup+pidns";
    row.boot_id = "11111111-2222-3333-4444-555555555555";
    return write::AddAttempt{std::move(row)};
  };
  const AttemptId ended{kEnded, 1};
  const model::StopReason reason{.kind = model::StopKind::cancelled, .by = "owner", .detail = "SIGINT"};
  model::Report report;
  report.job = kEnded;
  report.attempt = 1;
  report.reason = reason;
  report.exit.signal = 15;
  report.tier = "cgroup+pidns";
  report.released_at = moment(30);
  report.releases.emplace_back().target = "fffffffe.1";

  model::Event event;
  event.seq = 5;
  event.at = moment(3);
  event.type = "job.ended";
  event.job = kEnded;
  event.user = "alice";
  event.state = model::JobState::cancelled;

  UserRow user;
  user.user.user_id = "user_00000001";
  user.user.name = "alice";
  user.user.created_at = moment(0);
  user.user.admin = true;
  user.key_hash = "00ff";

  return {
      write::AddJob{std::move(queued)},
      write::AddJob{job(kRunning, 2)},
      attempt(kRunning),
      write::SetRunning{{kRunning, 1}, 4242, moment(10)},
      write::AddJob{job(kEnded, 3)},
      attempt(kEnded),
      write::SetRunning{ended, 4243, moment(11)},
      write::SetStopAsked{ended, reason, moment(20)},
      write::SetEnded{ended, reason, report.exit, moment(25)},
      write::AddReport{std::move(report)},
      write::AddEvent{std::move(event)},
      write::AddIdempotency{.user = "alice", .key = "k", .body_hash = "h", .job = kQueued, .at = moment(1)},
      write::PutQuarantine{{.gpu = 3, .uuid = "GPU-3", .why = "pid 7", .attempt = ended}},
      write::PutUser{std::move(user)},
      write::PutValue{"gpu-baselines", "{}"}};
}

}  // namespace ebb::store

#include "attempt_end.h"

#include <sys/wait.h>

#include "ebb/base/units.h"
#include "ebb/model/json.h"

namespace ebb::daemon {
namespace {

model::Exit exit_of(const process::EndRecord& end) {
  if (end.start_failure) return {.code = end.start_failure->exit_code, .signal = {}};
  if (!end.wait_status) return {};
  if (WIFSIGNALED(*end.wait_status)) return {.code = {}, .signal = WTERMSIG(*end.wait_status)};
  return {.code = WEXITSTATUS(*end.wait_status), .signal = {}};
}

model::StopReason reason_of_leader(const model::Exit& exit) {
  using Kind = model::StopKind;
  if (exit.code == 0) return {.kind = Kind::completed, .by = {}, .detail = {}};
  if (exit.signal)
    return {.kind = Kind::failed, .by = {}, .detail = "signal " + std::to_string(*exit.signal)};
  return {.kind = Kind::failed,
          .by = {},
          .detail = exit.code ? std::optional("exit code " + std::to_string(*exit.code)) : std::nullopt};
}

// What the end of an attempt looks like from outside; a stop that the engine asked for is its own to name.
model::StopReason reason_of(const process::EndRecord& end) {
  using Cause = process::EndCause;
  using Kind = model::StopKind;
  if (end.start_failure) {
    return {.kind = Kind::start_failed, .by = {}, .detail = end.start_failure->message};
  }
  if (end.oom) return {.kind = Kind::oom, .by = "kernel", .detail = "its memory limit was reached"};
  switch (end.cause) {
    case Cause::stop:
      if (auto told = model::from_json_text<model::StopReason>(end.stop_reason)) return std::move(*told);
      return {.kind = Kind::cancelled, .by = "daemon", .detail = {}};
    case Cause::time_limit:
      return {.kind = Kind::timeout, .by = "keeper", .detail = {}};
    case Cause::daemon_gone:
      return {.kind = Kind::daemon_stopped, .by = "keeper", .detail = "no daemon answered in time"};
    case Cause::owner_gone:
      return {.kind = Kind::owner_lost,
              .by = "keeper",
              .detail = "the owner's process ended while no daemon ran"};
    case Cause::keeper_ended:
      return {.kind = Kind::keeper_lost, .by = {}, .detail = "its keeper was told to end by SIGTERM"};
    case Cause::start_failure:
    case Cause::leader_exit:
      break;
  }
  return reason_of_leader(exit_of(end));
}

process::EndRecord record_of(AttemptId attempt) {
  process::EndRecord record;
  record.label = attempt.str();
  record.complete = true;
  record.ended = process::moment_now();
  return record;
}

}  // namespace

engine::Ended ended_by(AttemptId attempt, const process::EndRecord& record) {
  return {.attempt = attempt,
          .exit = exit_of(record),
          .reason = reason_of(record),
          .exited_at = record.leader_exited ? std::optional(record.leader_exited->boot) : std::nullopt};
}

engine::Ended ended_by_reboot(AttemptId attempt, const process::EndRecord& record) {
  engine::Ended ended = ended_by(attempt, record);
  ended.reason = {.kind = model::StopKind::reboot, .by = {}, .detail = {}};
  return ended;
}

engine::Ended ended_by_loss(AttemptId attempt, const process::EndRecord& record, const KeeperLoss& loss) {
  using Loss = KeeperSession::Loss;
  std::string detail = "its keeper died";
  if (loss.how == Loss::unanswered) {
    detail = "its keeper did not answer within " + format_duration(KeeperSession::kAnswerTimeout);
    // The stop does not count, but whoever asked for it looks for it here.
    if (loss.asked)
      detail += ", when it was asked to stop (" + std::string(model::name_of(loss.asked->kind)) + ")";
  } else if (loss.how == Loss::foreign) {
    detail = "its keeper speaks another version of the protocol, so that the daemon ended it";
  } else if (loss.how == Loss::overdue) {
    detail = "its keeper did not end it in time";
  }
  engine::Ended ended = ended_by(attempt, record);
  ended.reason = {.kind = model::StopKind::keeper_lost, .by = "daemon", .detail = std::move(detail)};
  ended.exited_at = loss.seen;
  ended.unanswered = loss.how == Loss::unanswered;
  return ended;
}

process::EndRecord never_started(AttemptId attempt) {
  process::EndRecord record = record_of(attempt);
  record.action = "nothing was started";
  record.verified_by = "no process";
  return record;
}

process::EndRecord start_failed(AttemptId attempt, const std::string& why) {
  process::EndRecord record = never_started(attempt);
  record.cause = process::EndCause::start_failure;
  record.start_failure = process::StartFailure{.exit_code = 125, .message = why};
  return record;
}

process::EndRecord gone_with_its_boot(AttemptId attempt) {
  process::EndRecord record = record_of(attempt);
  record.action = "the machine was started anew";
  record.verified_by = "another boot id";
  return record;
}

process::EndRecord killed_by_daemon(AttemptId attempt, const std::string& tier, bool empty,
                                    const std::string& how) {
  process::EndRecord record = record_of(attempt);
  record.complete = empty;
  if (!empty) record.ended.reset();
  record.tier = tier;
  record.action = "the daemon killed what its keeper left";
  record.verified_by = how;
  return record;
}

}  // namespace ebb::daemon

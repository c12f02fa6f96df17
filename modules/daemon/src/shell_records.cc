// What the engine wants recorded, as rows of the database.
#include <algorithm>

#include "overloaded.h"
#include "shell.h"

namespace ebb::daemon {

void Shell::write(const engine::Record& record, WallTime at) {
  using namespace engine::record;
  namespace put = store::write;
  store::Batch& batch = gathering_.batch;
  gathering_.urgent |=
      !std::holds_alternative<AttemptRunning>(record) && !std::holds_alternative<Note>(record);
  const auto touch = [&](JobId id) { gathering_.touched.push_back(id); };
  std::visit(Overloaded{
                 [&](const JobAdded& added) {
                   auto arrived = arriving_.extract(added.job);
                   batch.push_back(put::AddJob{*rows_.at(added.job)});
                   if (auto& key = arrived.mapped().key) batch.push_back(std::move(*key));
                   gathering_.unanswered.push_back({added.job, std::move(arrived.mapped().done)});
                 },
                 [&](const AttemptAdded& added) {
                   store::AttemptRow attempt;
                   attempt.id = added.attempt;
                   attempt.gpus = added.leases.gpus;
                   attempt.ports = added.leases.ports;
                   attempt.memory_bytes = added.leases.memory_bytes;
                   attempt.tier = process::tier_text(context_.containment.tiers());
                   attempt.boot_id = boot_id();
                   batch.push_back(put::AddAttempt{std::move(attempt)});
                   touch(added.attempt.job);
                 },
                 [&](const AttemptRunning& running) {
                   batch.push_back(
                       put::SetRunning{.attempt = running.attempt, .pid = running.pid, .at = running.at});
                   touch(running.attempt.job);
                 },
                 [&](const StopAsked& asked) {
                   batch.push_back(
                       put::SetStopAsked{.attempt = asked.attempt, .reason = asked.reason, .at = asked.at});
                 },
                 [&](const AttemptEnded& gone) {
                   batch.push_back(put::SetEnded{
                       .attempt = gone.attempt, .reason = gone.reason, .exit = gone.exit, .at = gone.at});
                   touch(gone.attempt.job);
                 },
                 [&](const JobEnded& over) {
                   ++ended;
                   if (collecting_) gathering_.reports.push_back(over.report);
                   batch.push_back(put::AddReport{over.report});
                   secrets_.erase(over.job);
                   owners_.erase(over.job);
                   if (over.report.attempt == 0) rows_.erase(over.job);
                   touch(over.job);
                   gathering_.ended.push_back(
                       {over.job, static_cast<std::uint32_t>(std::max(over.report.attempt, 0))});
                 },
                 [&](const AttemptDropped& dropped) {
                   batch.push_back(put::DropAttempt{dropped.attempt});
                   touch(dropped.attempt.job);
                 },
                 [&](const Quarantined& quarantined) {
                   batch.push_back(put::PutQuarantine{{.gpu = quarantined.gpu,
                                                       .uuid = context_.gpu(quarantined.gpu).uuid,
                                                       .why = quarantined.why,
                                                       .attempt = quarantined.attempt}});
                 },
                 [&](const OwnerDropped& dropped) {
                   batch.push_back(put::SetDisowned{dropped.job});
                   if (const auto job = rows_.find(dropped.job); job != rows_.end()) {
                     auto detached = std::make_shared<store::JobRow>(*job->second);
                     detached->spec.owner_lease.reset();
                     job->second = std::move(detached);
                   }
                 },
                 [&](const QuarantineLifted& lifted) { batch.push_back(put::DropQuarantine{lifted.gpu}); },
                 [&](const Note& note) {
                   model::Event event;
                   event.seq = ++event_seq_;
                   event.at = at;
                   event.type = note.type;
                   event.job = note.job;
                   event.state = note.state;
                   event.detail = note.detail;
                   if (note.job) {
                     if (const auto job = rows_.find(*note.job); job != rows_.end()) {
                       event.user = job->second->user;
                     } else if (const auto stored = row(*note.job)) {
                       event.user = (*stored)->user;
                     }
                     touch(*note.job);
                   }
                   gathering_.last_event = event.seq;
                   batch.push_back(put::AddEvent{std::move(event)});
                 },
             },
             record);
}

}  // namespace ebb::daemon

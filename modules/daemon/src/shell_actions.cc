// What the engine decided, done: its actions to attempts and watches.
#include "overloaded.h"
#include "shell.h"

namespace ebb::daemon {

void Shell::carry_out(const engine::Act& act) {
  using namespace engine::act;
  std::visit(Overloaded{
                 [&](const Acquire& acquire) {
                   auto job = row(acquire.attempt.job);
                   if (!job) {
                     return tell(engine::AcquireFailed{.attempt = acquire.attempt, .refusals = {}});
                   }
                   auto attempt =
                       std::make_shared<Attempt>(context_, acquire.attempt, std::move(*job), acquire.leases);
                   attempts_[acquire.attempt.job] = attempt;
                   attempt->acquire();
                 },
                 [&](const Abandon& abandon) {
                   if (const auto attempt = this->attempt(abandon.attempt.job)) attempt->abandon();
                   attempts_.erase(abandon.attempt.job);
                 },
                 [&](const Start& start) {
                   const auto attempt = this->attempt(start.attempt.job);
                   if (!attempt) return;
                   ++started;
                   const auto owner = owners_.find(start.attempt.job);
                   const int pidfd =
                       owner == owners_.end() || !owner->second.process ? -1 : owner->second.process->pidfd();
                   auto secrets = secrets_.extract(start.attempt.job);
                   attempt->start(
                       secrets.empty() ? std::map<std::string, std::string>() : std::move(secrets.mapped()),
                       pidfd);
                 },
                 [&](const Stop& stop) {
                   if (const auto attempt = this->attempt(stop.attempt.job))
                     attempt->stop(stop.reason, stop.grace);
                 },
                 [&](const Disown& disown) {
                   if (const auto attempt = this->attempt(disown.attempt.job)) attempt->disown();
                 },
                 [&](const Release& release) {
                   if (const auto attempt = this->attempt(release.attempt.job)) attempt->release(release);
                 },
                 [&](const Finish& finish) {
                   if (const auto attempt = this->attempt(finish.attempt.job)) attempt->finish();
                   attempts_.erase(finish.attempt.job);
                   rows_.erase(finish.attempt.job);
                 },
                 [&](const Watch& watch) {
                   if (watch.is_port) {
                     watches_.add_port(watch.id);
                   } else {
                     watches_.add_gpu(watch.id);
                   }
                 },
                 [&](const Unwatch& unwatch) {
                   if (unwatch.is_port) {
                     watches_.remove_port(unwatch.id);
                   } else {
                     watches_.remove_gpu(unwatch.id);
                   }
                 },
             },
             act);
}

}  // namespace ebb::daemon

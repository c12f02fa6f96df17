#include "ebb/flow/pipeline_service.h"

#include "ebb/flow/runtime/made.h"
#include "run.h"

namespace ebb::flow {

// ---- tickets

void TicketBase::note(std::exception_ptr error) noexcept {
  const std::lock_guard lock(mutex_);
  error_ = std::move(error);
}

void TicketBase::note(const char* what, const std::string& at) noexcept {
  const std::lock_guard lock(mutex_);
  words_ = std::string("it ") + what + " '" + at + "'";
}

std::exception_ptr TicketBase::fate(const std::string& service) {
  const std::lock_guard lock(mutex_);
  if (error_ || words_.empty()) return std::exchange(error_, nullptr);
  return made_error<Unanswered>("service '" + service + "' gave no answer: " + words_);
}

std::exception_ptr InboxBase::unanswered(const std::string& why) const {
  return made_error<Unanswered>("service '" + service_->name() + "' gave no answer: " + why);
}

std::exception_ptr InboxBase::not_up() const {
  return made_error<ServiceStopped>("service '" + service_->name() + "' is not up: " + *how_it_ended_);
}

void InboxBase::close() noexcept {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  news_.notify_all();
}

bool InboxBase::wait_for_end(BootTime deadline) {
  std::unique_lock lock(mutex_);
  return news_.wait_for(lock, deadline - BootClock::now(), [&] { return source_ended_ || how_it_ended_; });
}

void InboxBase::end(const std::string& how) noexcept {
  std::vector<std::shared_ptr<TicketBase>> open;
  {
    const std::lock_guard lock(mutex_);
    how_it_ended_ = how;
    for (const auto& [raw, ticket] : open_) {
      if (auto alive = ticket.lock()) open.push_back(std::move(alive));
    }
    news_.notify_all();
  }
  // Not under the mutex: the slot that one gives back is the next call's.
  for (const auto& ticket : open) ticket->end(unanswered(how));
}

void InboxBase::leave(TicketBase& ticket, const Call& call) noexcept {
  {
    const std::lock_guard lock(mutex_);
    open_.erase(&ticket);
  }
  service_->leave(call);
}

// ---- the pipeline

namespace {

std::string end_of(const PipelineReport& report) {
  if (!report.error.empty()) return "its pipeline failed at '" + report.failed_at + "': " + report.error;
  return std::string("its pipeline was ") + to_string(report.outcome);
}

}  // namespace

void InnerPipeline::start(SubmitOptions of_outer, std::shared_ptr<Pool> around,
                          const std::shared_ptr<InboxBase>& inbox) {
  SubmitOptions options = std::move(of_outer);
  options.autostop = true;  // nobody waits in submit()
  options.progress = false;
  options.on_report = [inbox](const PipelineReport& report) { inbox->end(end_of(report)); };
  // What hangs in it makes its stop() hang, with which the outer one deals.
  options.when_stuck = WhenStuck::wait;
  auto run = std::make_shared<Run>(env_.name_, env_.graph_, std::move(options), std::move(around));
  env_.submitted_ = true;
  run->start();
  {
    const std::lock_guard lock(mutex_);
    run_ = run;
  }
  if (run->wait_for_start()) return;
  run->wait(true);
  throw std::runtime_error(end_of(run->report()));
}

void InnerPipeline::stop(Duration limit, InboxBase& inbox) {
  // The rest of the time is for the end of a cancel.
  const BootTime deadline = BootClock::now() + limit - limit / 4;
  inbox.close();
  inbox.wait_for_end(deadline);
  run_->request(Run::Request::drain);
  if (!run_->wait(true, deadline)) {
    run_->request(Run::Request::cancel);
    run_->wait(true);
  }
  const PipelineReport report = run_->report();
  if (!report.ok || report.outcome == Outcome::cancelled) throw std::runtime_error(end_of(report));
}

std::shared_ptr<const PipelineReport> InnerPipeline::report() const {
  const std::lock_guard lock(mutex_);
  return run_ ? std::make_shared<const PipelineReport>(run_->report()) : nullptr;
}

}  // namespace ebb::flow

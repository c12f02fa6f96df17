#include "ebb/flow/pipeline.h"

#include "ebb/flow/environment.h"
#include "run.h"
#include "signals.h"

namespace ebb {
namespace {

[[noreturn]] void throw_failure(PipelineReport report) {
  std::string what = "ebb: pipeline '" + report.name + "' ";
  if (report.unbalanced) {
    what += "does not add up: " + report.imbalance();
  } else {
    what += "failed at '" + report.failed_at + "': " + report.error;
  }
  throw PipelineError(what, std::move(report));
}

PipelineReport checked(PipelineReport report) {
  if (!report.ok) throw_failure(std::move(report));
  return report;
}

}  // namespace

Pipeline& Pipeline::operator=(Pipeline&& other) noexcept {
  if (this != &other) {
    Pipeline before(std::move(*this));
    run_ = std::move(other.run_);
  }
  return *this;
}

Pipeline::~Pipeline() {
  if (run_ && !run_->wait(true, BootClock::now())) cancel();
}

bool Pipeline::wait(std::optional<Duration> timeout) {
  return run_->wait(run_->autostop(), timeout ? std::optional(BootClock::now() + *timeout) : std::nullopt);
}

void Pipeline::drain() {
  run_->request(flow::Run::Request::drain);
  run_->wait(true);
}
void Pipeline::stop() {
  run_->request(flow::Run::Request::stop);
  run_->wait(true);
}
void Pipeline::cancel() {
  run_->request(flow::Run::Request::cancel);
  run_->wait(true);
}
Pipeline::Status Pipeline::status() const { return run_->status(); }
PipelineReport Pipeline::report() const { return run_->report(); }

Pipeline::operator PipelineReport() {
  run_->request(flow::Run::Request::finish);
  run_->wait(true);
  return checked(run_->report());
}

LocalEnvironment::LocalEnvironment(std::string name)
    : name_(std::move(name)), graph_(std::make_shared<flow::Graph>()) {}

LocalEnvironment::~LocalEnvironment() {
  if (const auto run = run_.lock()) {
    run->request(flow::Run::Request::cancel);
    run->wait(true);
  }
}

void LocalEnvironment::add_service(std::shared_ptr<flow::ServiceBase> service) {
  for (const auto& other : graph_->services) {
    if (other->name() == service->name()) {
      throw std::invalid_argument("ebb: there is a service '" + service->name() + "' already");
    }
  }
  graph_->services.push_back(std::move(service));
}

Pipeline LocalEnvironment::submit(SubmitOptions options) {
  if (submitted_) throw std::logic_error("ebb: this environment was submitted already; make a new one");
  const bool autostop = options.autostop;
  auto run = std::make_shared<flow::Run>(name_, graph_, std::move(options));
  run->start();
  submitted_ = true;
  run_ = run;
  if (stop_target_) stop_target_->set(run);
  Pipeline pipeline(std::move(run));
  if (autostop) static_cast<void>(static_cast<PipelineReport>(pipeline));
  return pipeline;
}

}  // namespace ebb

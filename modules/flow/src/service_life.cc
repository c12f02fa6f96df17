#include "service_life.h"

#include "report_of.h"

namespace ebb::flow {

using lifecycle::text_of;

ServiceLife::ServiceLife(std::vector<std::shared_ptr<ServiceBase>> services, const SubmitOptions& options,
                         Stuck stuck)
    : options_(options), stuck_(std::move(stuck)) {
  for (auto& service : services) {
    Life life{.service = std::move(service), .report = {}, .constructed = false, .started = false};
    life.report.name = life.service->name();
    lives_.push_back(std::move(life));
  }
}

void ServiceLife::note(Life& life, const std::function<void(ServiceReport&)>& change) {
  const std::lock_guard lock(mutex_);
  change(life.report);
}

std::optional<std::exception_ptr> ServiceLife::call(const Life& life, const char* hook, Duration limit,
                                                    bool starting, std::function<void()> body) {
  const auto inside = [body = std::move(body), service = life.service] {
    const Pool::Inside of(service->pool().get());
    body();
  };
  auto done = thread_.run(inside, BootClock::now() + limit);
  while (!done) {
    if (stuck_(std::string(hook) + " of service '" + life.service->name() + "'", starting)) {
      thread_.abandon();
      left_behind_ = true;
      return {};
    }
    done = thread_.wait_on(BootClock::now() + options_.watchdog);
  }
  return done;
}

void ServiceLife::start(std::string& failed) {
  for (Life& life : lives_) {
    ServiceBase& service = *life.service;
    const auto hook = [&](const char* name, void (ServiceBase::*method)()) {
      const auto thrown =
          call(life, name, options_.watchdog, true, [cell = life.service, method] { ((*cell).*method)(); });
      if (thrown && !*thrown) return;
      failed = service.name();
      const std::string text = thrown ? text_of(*thrown) : std::string(name) + " does not come back";
      note(life, [&](ServiceReport& report) { report.error = text; });
      if (thrown) std::rethrow_exception(*thrown);
      throw std::runtime_error(text);
    };
    hook("the constructor", &ServiceBase::construct);
    life.constructed = true;
    hook("setup()", &ServiceBase::setup);
    note(life, [](ServiceReport& report) { report.initialized = true; });
    hook("start()", &ServiceBase::start);
    service.open();
    life.started = true;
    note(life, [](ServiceReport& report) { report.running = true; });
  }
}

Duration ServiceLife::limit_of(const Life& life) const {
  return life.service->spec().cleanup_limit.value_or(options_.cleanup_timeout);
}

// No call comes from outside any more, and those that did have returned; services may still call each other,
// also in their stop(). One whose call does not return is not stopped.
void ServiceLife::await_calls(bool success) {
  for (Life& life : lives_) {
    if (life.started) life.service->close_outside(!success);
  }
  for (Life& life : lives_) {
    if (life.started) life.empty = await(life, &ServiceBase::await_outside);
  }
}

bool ServiceLife::await(const Life& life, bool (ServiceBase::*calls)(BootTime)) {
  Duration limit = limit_of(life);
  while (!((*life.service).*calls)(BootClock::now() + limit)) {
    if (life.service->ends_calls()) return true;
    if (stuck_("a call of service '" + life.service->name() + "'", false)) {
      left_behind_ = true;
      return false;
    }
    limit = options_.watchdog;
  }
  return true;
}

model::ReleaseRecord ServiceLife::release(Life& life, bool success) {
  const Duration limit = limit_of(life);
  model::ReleaseRecord record;
  record.kind = model::ReleaseKind::service;
  record.target = life.service->name();
  bool back = true;
  const auto trouble = [&](const std::string& text) {
    record.outcome = model::Outcome::failed;
    record.error = record.error ? *record.error + "; " + text : text;
    note(life, [&](ServiceReport& report) { report.error = *record.error; });
  };
  const auto hook = [&](const char* name, void (ServiceBase::*method)()) {
    const auto thrown =
        call(life, name, limit, false, [cell = life.service, method] { ((*cell).*method)(); });
    if (!thrown) {
      back = false;
      trouble(std::string(name) + " did not come back and was left behind");
    } else if (*thrown) {
      trouble(std::string(name) + ": " + text_of(*thrown));
    }
    return thrown && !*thrown;
  };
  std::string action = "destroyed";
  if (life.started) {
    life.service->close_inside();
    const bool ends_calls = life.service->ends_calls();
    if (!life.empty || (!ends_calls && !await(life, &ServiceBase::await_all))) {
      trouble("a call is still in it");
      back = false;
    }
    if (back) hook("stop()", &ServiceBase::stop);
    note(life, [&](ServiceReport& report) { report.running = !back; });
    action = "stopped, " + action;
  }
  const bool cleans =
      options_.cleanup == Cleanup::Always || (options_.cleanup == Cleanup::OnSuccess && success);
  if (!life.report.initialized) {
    action += "; it was never set up";
  } else if (!cleans) {
    action += "; cleanup skipped by policy";
  } else if (back) {
    note(life, [](ServiceReport& report) { report.cleanup_called = true; });
    const bool completed = hook("cleanup()", &ServiceBase::cleanup);
    note(life, [&](ServiceReport& report) { report.cleanup_completed = completed; });
    action = "cleaned, " + action;
  }
  // What still runs in it must not find it gone.
  if (back) hook("the destructor", &ServiceBase::destroy);
  record.action = action;
  if (record.outcome == model::Outcome::released) record.verified_by = "each hook returned";
  return record;
}

void ServiceLife::stop(bool success) {
  await_calls(success);
  lifecycle::BlockingScope scope;
  for (Life& life : lives_) {
    if (!life.constructed) continue;
    model::ReleaseRecord what;
    what.kind = model::ReleaseKind::service;
    what.target = life.service->name();
    scope.add(std::move(what), 4 * limit_of(life),
              [this, &life, success](BootTime) { return release(life, success); });
  }
  auto records = scope.release();
  const std::lock_guard lock(mutex_);
  releases_ = std::move(records);
}

std::vector<ServiceReport> ServiceLife::reports() const {
  const std::lock_guard lock(mutex_);
  std::vector<ServiceReport> all;
  for (const Life& life : lives_) {
    all.push_back(life.report);
    all.back().calls = life.service->calls();
    Quantiles took;
    took.add(life.service->latency());
    all.back().latency = latency_of(took);
    all.back().timeouts = life.service->timeouts();
    all.back().pipeline = life.service->pipeline_report();
  }
  return all;
}

std::string ServiceLife::trouble() const {
  const std::lock_guard lock(mutex_);
  for (const model::ReleaseRecord& record : releases_) {
    if (record.error) return "service '" + record.target + "': " + *record.error;
  }
  return "";
}

}  // namespace ebb::flow

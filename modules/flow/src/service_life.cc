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

Hook ServiceLife::hook_of(const Life& life, const char* name, void (ServiceBase::*method)()) {
  return {.name = name, .body = [service = life.service, method] {
            const Pool::Inside of(service->pool().get());
            ((*service).*method)();
          }};
}

std::vector<std::exception_ptr> ServiceLife::call(const Life& life, std::vector<Hook> hooks, Duration limit,
                                                  bool starting) {
  bool back = thread_.run(std::move(hooks), limit);
  while (!back && !left(stuck_(thread_.late() + " of service '" + life.service->name() + "'", starting))) {
    back = thread_.wait_on(options_.watchdog);
  }
  return thread_.thrown();
}

// Whether the hook that is late was left behind.
bool ServiceLife::left(bool leave) {
  if (!leave || !thread_.abandon()) return false;
  left_behind_ = true;
  return true;
}

void ServiceLife::start(std::string& failed) {
  for (Life& life : lives_) {
    ServiceBase& service = *life.service;
    const auto hook = [&](const char* name, void (ServiceBase::*method)()) {
      const auto thrown = call(life, {hook_of(life, name, method)}, options_.watchdog, true);
      if (!thrown.empty() && !thrown[0]) return;
      failed = service.name();
      const std::string text =
          thrown.empty() ? std::string(name) + " does not come back" : text_of(thrown[0]);
      note(life, [&](ServiceReport& report) { report.error = text; });
      if (!thrown.empty()) std::rethrow_exception(thrown[0]);
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
  const auto trouble = [&](const std::string& text) {
    record.outcome = model::Outcome::failed;
    record.error = record.error ? *record.error + "; " + text : text;
    note(life, [&](ServiceReport& report) { report.error = *record.error; });
  };
  std::string action = "destroyed";
  std::vector<Hook> hooks;
  if (life.started) {
    life.service->close_inside();
    if (!life.empty || (!life.service->ends_calls() && !await(life, &ServiceBase::await_all))) {
      trouble("a call is still in it");
    } else {
      hooks.push_back(hook_of(life, "stop()", &ServiceBase::stop));
      hooks.back().ends = [&](bool) { note(life, [](ServiceReport& report) { report.running = false; }); };
    }
    action = "stopped, " + action;
  }
  const bool in_use = record.error.has_value();  // what still runs in it must not find it cleaned or gone
  const bool cleans =
      options_.cleanup == Cleanup::Always || (options_.cleanup == Cleanup::OnSuccess && success);
  if (!life.report.initialized) {
    action += "; it was never set up";
  } else if (!cleans) {
    action += "; cleanup skipped by policy";
  } else {
    hooks.push_back(hook_of(life, "cleanup()", &ServiceBase::cleanup));
    hooks.back().begins = [&] { note(life, [](ServiceReport& report) { report.cleanup_called = true; }); };
    hooks.back().ends = [&](bool threw) {
      note(life, [&](ServiceReport& report) { report.cleanup_completed = !threw; });
    };
    action = "cleaned, " + action;
  }
  hooks.push_back(hook_of(life, "the destructor", &ServiceBase::destroy));
  std::vector<const char*> names;
  for (const Hook& hook : hooks) names.push_back(hook.name);
  if (!in_use) {
    const auto thrown = call(life, std::move(hooks), limit, false);
    for (std::size_t i = 0; i < thrown.size(); ++i) {
      if (thrown[i]) trouble(std::string(names[i]) + ": " + text_of(thrown[i]));
    }
    if (thrown.size() < names.size()) {
      trouble(std::string(names[thrown.size()]) + " did not come back and was left behind");
    }
  }
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

#include "ebb/engine/engine.h"

#include "core.h"

namespace ebb::engine {

Engine::Engine(Machine machine, Limits limits)
    : state_(std::make_unique<State>(std::move(machine), limits)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<void> Engine::check(const JobInfo& job) const { return state_->check(job); }
Actions Engine::apply(const Event& event, Instant now) { return state_->apply(event, now); }
std::optional<BootTime> Engine::next_deadline() const { return state_->next_deadline(); }
std::optional<JobView> Engine::find(JobId job) const { return state_->find(job); }
std::optional<std::int64_t> Engine::position(JobId job) const { return state_->position(job); }
std::optional<model::Why> Engine::why(JobId job) const { return state_->why(job); }
model::Devices Engine::devices() const { return state_->devices(); }
std::vector<JobId> Engine::active() const { return state_->active(); }
std::int64_t Engine::queued_count() const { return state_->queued_count(); }
bool Engine::draining() const { return state_->draining(); }
bool Engine::idle() const { return state_->idle(); }

Engine::State::State(Machine machine, Limits limits) : limits_(limits), pool_(std::move(machine)) {}

Actions Engine::State::apply(const Event& event, Instant now) {
  now_ = now;
  std::visit([this](const auto& e) { on(e); }, event);
  settle();
  return std::exchange(out_, {});
}

std::optional<BootTime> Engine::State::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return std::get<BootTime>(*deadlines_.begin());
}

bool Engine::State::idle() const {
  if (!acquiring_.empty()) return false;
  return shutdown_ == Ending::keeping || active_.empty();
}

}  // namespace ebb::engine

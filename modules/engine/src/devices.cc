#include <charconv>

#include "core.h"
#include "ebb/model/json.h"

// What becomes known of GPUs and ports.
namespace ebb::engine {
namespace {

using model::DeviceState;

std::optional<int> number_in(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

const model::ReleaseRecord* record_of(const model::Report& report, model::ReleaseKind kind, int id) {
  for (const auto& release : report.releases)
    if (release.kind == kind && number_in(release.target) == id) return &release;
  return nullptr;
}

}  // namespace

void Engine::State::learn(bool is_port, int id, DeviceState known, std::string why,
                          std::vector<model::OutsideUse> outside, std::optional<AttemptId> attempt) {
  Device* const device = pool_.find(is_port, id);
  if (!device || known == DeviceState::leased || known == DeviceState::releasing) return;
  const DeviceState before = device->known;
  // A driver that does not answer says nothing about what an ended job left there.
  if (before == DeviceState::quarantined && known == DeviceState::unknown) return;
  if (before == known && device->why == why && device->outside == outside) return;
  if (!restoring_) {
    if (!is_port && known == DeviceState::quarantined)
      out_.records.emplace_back(record::Quarantined{id, why, attempt});
    if (!is_port && before == DeviceState::quarantined && known != DeviceState::quarantined)
      out_.records.emplace_back(record::QuarantineLifted{id});
    if (before != known) {
      out_.records.emplace_back(record::Note{
          "device.changed", std::nullopt, std::nullopt,
          (is_port ? "port " : "gpu ") + std::to_string(id) + " " + std::string(model::name_of(known))});
    }
  }
  if (before != known) changed_ = true;
  pool_.set_known(is_port, *device, known, std::move(why), std::move(outside));
}

void Engine::State::on(const DeviceChanged& event) {
  learn(event.is_port, event.id, event.state, event.why, event.outside, std::nullopt);
}

void Engine::State::learn_from(const model::Report& report, const Leases& leases, AttemptId attempt) {
  const auto learn_one = [&](bool is_port, int id) {
    const auto* const release =
        record_of(report, is_port ? model::ReleaseKind::port : model::ReleaseKind::gpu, id);
    if (!release) {
      learn(is_port, id, DeviceState::unknown, "its release was not verified", {}, attempt);
    } else if (release->outcome != model::Outcome::released) {
      learn(is_port, id, DeviceState::quarantined,
            release->error.value_or("job " + attempt.job.str() + " could not be cleared from it"), {},
            attempt);
    } else if (release->outside && !release->outside->empty()) {
      learn(is_port, id, DeviceState::outside,
            release->verified_by.value_or("used by processes that are not Ebb's"), *release->outside,
            attempt);
    } else if (pool_.find(is_port, id) && pool_.find(is_port, id)->known != DeviceState::quarantined) {
      learn(is_port, id, DeviceState::free, "", {}, attempt);
    }
  };
  for (const int gpu : leases.gpus) learn_one(false, gpu);
  for (const int port : leases.ports) learn_one(true, port);
}

}  // namespace ebb::engine

#include <algorithm>

#include "ebb/model/json.h"
#include "oracle.h"
#include "world.h"

// What must hold of that which is on disk, when it gets there.
namespace ebb::simulation {

using model::Outcome;
using model::ReleaseKind;

void Oracle::job_on_disk(const AddJob& added) {
  Facts& of = facts(added.info.id);
  if (of.on_disk) fail("job " + added.info.id.str() + " is twice on disk");
  of.on_disk = true;
}

void Oracle::on_disk(const engine::Record& record) {
  using namespace engine::record;
  if (const auto* added = std::get_if<AttemptAdded>(&record)) {
    Facts& of = facts(added->attempt.job);
    const std::string who = "attempt " + added->attempt.str();
    if (!of.on_disk || of.reports > 0) fail(who + " is of no job that lives on disk");
    if (of.executed > 0) fail(who + " is a second one of a job that has run");
    if (of.leases) fail(who + " is added while another one is there");
    of.leases = added->leases;
    of.attempt = added->attempt.number;
    const auto lease = [&](bool is_port, int id) {
      const auto [other, is_new] = leased_.emplace(DeviceKey{is_port, id}, added->attempt);
      if (!is_new)
        fail((is_port ? "port " : "gpu ") + std::to_string(id) + " is leased to " + other->second.str() +
             " and to " + added->attempt.str());
    };
    for (const int gpu : added->leases.gpus) lease(false, gpu);
    for (const int port : added->leases.ports) lease(true, port);
    leased_memory_ += added->leases.memory_bytes;
    if (leased_memory_ > world_.plan.machine.memory_bytes) fail("more memory is leased than there is");
  } else if (const auto* dropped = std::get_if<AttemptDropped>(&record)) {
    Facts& of = facts(dropped->attempt.job);
    if (of.executed > 0) fail("attempt " + dropped->attempt.str() + " is dropped, and has run");
    const int keeper = world_.keepers.find(dropped->attempt);
    if (keeper >= 0 && world_.keepers[keeper].alive)
      fail("attempt " + dropped->attempt.str() + " is dropped while its keeper lives");
    free_leases(of, dropped->attempt);
  } else if (const auto* over = std::get_if<JobEnded>(&record)) {
    reported(over->report);
  } else if (const auto* lifted = std::get_if<QuarantineLifted>(&record)) {
    for (const Keeper& keeper : world_.keepers.all()) {
      const bool uses = std::ranges::count(keeper.leases.gpus, lifted->gpu) > 0;
      const bool is_lessee =
          leased_.contains({false, lifted->gpu}) && leased_.at({false, lifted->gpu}) == keeper.attempt;
      if (uses && !is_lessee && (keeper.tree.leader || keeper.tree.others))
        fail("gpu " + std::to_string(lifted->gpu) + " leaves its quarantine, and " + keeper.attempt.str() +
             " uses it");
    }
  }
}

void Oracle::free_leases(Facts& of, AttemptId attempt) {
  if (!of.leases || of.attempt != attempt.number)
    return fail("attempt " + attempt.str() + " had no leases on disk");
  for (const int gpu : of.leases->gpus) leased_.erase({false, gpu});
  for (const int port : of.leases->ports) leased_.erase({true, port});
  leased_memory_ -= of.leases->memory_bytes;
  of.leases.reset();
}

// A report is believed in nothing: each of its claims is compared with the world.
void Oracle::reported(const model::Report& report) {
  Facts& of = facts(report.job);
  const std::string who = "the report of job " + report.job.str();
  if (++of.reports > 1) return fail("a second report of job " + report.job.str());
  const auto kind = report.reason.kind;
  if (((of.may_end >> static_cast<unsigned>(kind)) & 1U) == 0)
    return fail(who + " says " + std::string(model::name_of(kind)) + ", and there was no cause for that");
  if (report.attempt == 0) {
    if (of.executed > 0) fail(who + " says that it never ran");
    if (of.leases) fail(who + " knows of no attempt, and there is one");
    return;
  }
  const AttemptId attempt{report.job, static_cast<std::uint32_t>(report.attempt)};
  const engine::Leases leases = of.leases.value_or(engine::Leases{});
  free_leases(of, attempt);
  bool processes = false;
  for (const Keeper& keeper : world_.keepers.all())
    if (keeper.attempt == attempt && !keeper.tree.empty()) processes = true;
  if (report.complete && processes) return fail(who + " is complete, and there are processes");
  const auto check = [&](ReleaseKind what, int id) {
    const auto* const found = [&]() -> const model::ReleaseRecord* {
      for (const auto& release : report.releases)
        if (release.kind == what && release.target == std::to_string(id)) return &release;
      return nullptr;
    }();
    const std::string it = (what == ReleaseKind::gpu ? " gpu " : " port ") + std::to_string(id);
    if (found == nullptr) return fail(who + " says nothing of" + it);
    if (found->outcome != Outcome::released) {
      if (report.complete || !found->error) fail(who + " does not say why" + it + " is not released");
      return;
    }
    if (processes) return fail(who + " says that" + it + " is released, and there are processes");
    if (what != ReleaseKind::gpu) return;
    const Device& gpu = world_.machine.device(false, id);
    if (gpu.residue == attempt && gpu.residue_until > world_.now())
      fail(who + " says that" + it + " is released, and the driver shows it");
  };
  for (const int gpu : leases.gpus) check(ReleaseKind::gpu, gpu);
  for (const int port : leases.ports) check(ReleaseKind::port, port);
}

}  // namespace ebb::simulation

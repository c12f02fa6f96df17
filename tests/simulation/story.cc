#include "story.h"

#include <array>
#include <optional>

#include "ebb/model/json.h"

namespace ebb::simulation {
namespace {

// In the order of the variants.
constexpr std::array kEvents = {"Restored",
                                "RestoreDone",
                                "Submitted",
                                "NotRecorded",
                                "StopRequested",
                                "Acquired",
                                "AcquireFailed",
                                "Started",
                                "BecameReady",
                                "ReadyFailed",
                                "Ended",
                                "NeverStarted",
                                "Released",
                                "DeviceChanged",
                                "OwnerConnected",
                                "OwnerDisconnected",
                                "OwnerSuspended",
                                "OwnerResumed",
                                "OwnerExited",
                                "OwnerDropped",
                                "Drain",
                                "Shutdown",
                                "Tick"};
constexpr std::array kActs = {"Acquire", "Abandon", "Start",   "Stop",  "Release",
                              "Finish",  "Watch",   "Unwatch", "Disown"};
constexpr std::array kRecords = {
    "JobAdded",       "AttemptAdded", "AttemptRunning",   "StopAsked",    "AttemptEnded", "JobEnded",
    "AttemptDropped", "Quarantined",  "QuarantineLifted", "OwnerDropped", "Note"};
static_assert(kEvents.size() == std::variant_size_v<engine::Event>);
static_assert(kActs.size() == std::variant_size_v<engine::Act>);
static_assert(kRecords.size() == std::variant_size_v<engine::Record>);

std::string whose(AttemptId attempt) { return attempt.str(); }
std::string whose(JobId job) { return job.str(); }
std::string whose(const engine::JobInfo& job) { return job.id.str(); }
template <typename T>
std::string whose(const std::optional<T>& maybe) {
  return maybe ? whose(*maybe) : std::string();
}

std::string list(const engine::Leases& leases) {
  std::string text = " on";
  for (const int gpu : leases.gpus) text += " gpu " + std::to_string(gpu);
  for (const int port : leases.ports) text += " port " + std::to_string(port);
  return text + (leases.memory_bytes > 0 ? " memory " + std::to_string(leases.memory_bytes) : "");
}

std::string words(const model::StopReason& reason) {
  return " " + std::string(model::name_of(reason.kind)) + (reason.by ? " by " + *reason.by : "");
}

template <typename T>
std::string details(const T& what) {
  std::string text;
  if constexpr (requires { what.attempt; }) {
    if constexpr (!std::is_same_v<decltype(what.attempt), std::optional<engine::Restored::Attempt>>)
      text += " " + whose(what.attempt);
  }
  if constexpr (requires { what.job; }) text += " " + whose(what.job);
  if constexpr (requires { what.is_port; }) text += what.is_port ? " port" : " gpu";
  if constexpr (requires { what.id; }) text += " " + std::to_string(what.id);
  if constexpr (requires { what.gpu; }) text += " gpu " + std::to_string(what.gpu);
  if constexpr (requires { what.state; }) {
    if constexpr (std::is_same_v<decltype(what.state), model::DeviceState>)
      text += " " + std::string(model::name_of(what.state));
  }
  if constexpr (requires { what.leases; }) text += list(what.leases);
  if constexpr (requires { what.reason.kind; }) text += words(what.reason);
  if constexpr (requires { what.report; }) {
    text += words(what.report.reason) + (what.report.complete ? "" : ", not complete");
    for (const auto& release : what.report.releases)
      text += "; " + release.target + " " + std::string(model::name_of(release.outcome));
  }
  if constexpr (requires { what.on; }) text += what.on ? " on" : " off";
  return text;
}

template <typename T>
std::uint64_t id_of(const T& what) {
  if constexpr (requires { what.attempt.job; }) {
    return (std::uint64_t{what.attempt.job.value()} << 16U) + what.attempt.number;
  } else if constexpr (requires { std::uint32_t{what.job.value()}; }) {
    return what.job.value();
  } else if constexpr (requires { what.job.id; }) {
    return what.job.id.value();
  } else if constexpr (requires { int{what.id}; }) {
    return static_cast<std::uint64_t>(what.id);
  } else {
    return 0;
  }
}

template <typename Variant>
std::uint64_t mark(const Variant& variant) {
  return (std::visit([](const auto& what) { return id_of(what); }, variant) << 8U) + variant.index();
}

}  // namespace

std::string text_of(const engine::Event& event) {
  return "engine: " + std::string(kEvents.at(event.index())) +
         std::visit([](const auto& what) { return details(what); }, event);
}
std::string text_of(const engine::Act& act) {
  return std::string(kActs.at(act.index())) + std::visit([](const auto& what) { return details(what); }, act);
}
std::string text_of(const engine::Record& record) {
  return "record " + std::string(kRecords.at(record.index())) +
         std::visit([](const auto& what) { return details(what); }, record);
}
std::uint64_t mark_of(const engine::Event& event) { return mark(event); }
std::uint64_t mark_of(const engine::Act& act) { return mark(act) + 64; }
std::uint64_t mark_of(const engine::Record& record) { return mark(record) + 128; }

}  // namespace ebb::simulation

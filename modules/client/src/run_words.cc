#include "run_words.h"

#include <utility>

#include "ebb/lifecycle/signals.h"
#include "ebb/model/json.h"

namespace ebb::client {
namespace {

constexpr Duration kPlaceEvery = std::chrono::seconds(10);

// " on GPU 0 1, port 38001"
std::string where(const model::Job& job) {
  std::string text;
  const auto list = [&text](std::string_view before, const std::vector<int>& numbers) {
    if (numbers.empty()) return;
    text += before;
    for (const int number : numbers) text += ' ' + std::to_string(number);
  };
  list(" on GPU", job.gpu_ids);
  list(job.ports.size() > 1 ? ", ports" : ", port", job.ports);
  return text;
}

}  // namespace

void Progress::show(const model::Job& job, BootTime now, const Say& say) {
  unsaid_.clear();
  const std::string name = "job " + job.id.str();
  if (job.state == model::JobState::queued && job.why) {
    unsaid_ = name + " is queued";
    if (job.position) unsaid_ += ", position " + std::to_string(*job.position);
    unsaid_ += ": " + *job.why;
    if (unsaid_ == said_) unsaid_.clear();
    say_place(now, say);
  } else if (job.state == model::JobState::starting && job.spec.ready && !starting_) {
    starting_ = true;
    say(name + " starts" + where(job) + "; it runs once " + job.spec.ready->path + " answers");
  } else if (job.state == model::JobState::running && !running_) {
    running_ = true;
    say(name + " runs" + where(job));
  }
}

void Progress::say_place(BootTime now, const Say& say) {
  if (unsaid_.empty() || now < next_place_) return;
  say(unsaid_);
  said_ = std::exchange(unsaid_, {});
  next_place_ = now + kPlaceEvery;
}

std::optional<BootTime> Progress::due() const {
  return unsaid_.empty() ? std::nullopt : std::optional(next_place_);
}

std::string end_words(const model::Report& report) {
  const model::StopReason& reason = report.reason;
  if (reason.kind == model::StopKind::completed) return {};
  std::string text = "job " + report.job.str() + ' ';
  const bool failed = reason.kind == model::StopKind::failed;
  text += failed ? "failed" : "ended: " + std::string(model::name_of(reason.kind));
  if (reason.by && reason.kind == model::StopKind::cancelled) text += " by " + *reason.by;
  if (failed && report.exit.signal) {
    text += ": " + lifecycle::signal_name(*report.exit.signal);
  } else if (reason.detail) {
    text += ": " + *reason.detail;
  } else if (report.exit.signal) {
    text += ": " + lifecycle::signal_name(*report.exit.signal);
  } else if (report.exit.code) {
    text += ": exit code " + std::to_string(*report.exit.code);
  }
  return text;
}

Result<void> put_sidecar_urls(model::JobRequest& request, const SidecarUrls& urls) {
  for (std::size_t i = 0; request.command && i < request.command->size(); ++i) {
    auto word = replace_sidecar_urls((*request.command)[i], urls, "argument " + std::to_string(i));
    if (!word) return word.error();
    (*request.command)[i] = std::move(*word);
  }
  if (!request.env) return {};
  for (auto& [name, value] : *request.env) {
    auto replaced = replace_sidecar_urls(value, urls, "--env " + name);
    if (!replaced) return replaced.error();
    value = std::move(*replaced);
  }
  return {};
}

}  // namespace ebb::client

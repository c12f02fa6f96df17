#include "run_words.h"

#include "ebb/lifecycle/signals.h"
#include "ebb/model/json.h"

namespace ebb::client {

void Progress::show(const model::Job& job, const std::function<void(std::string_view)>& say) {
  if (job.state == model::JobState::queued && job.why) {
    std::string text = "job " + job.id.str() + " is queued";
    if (job.position) text += ", position " + std::to_string(*job.position);
    text += ": " + *job.why;
    if (text != queued_) say(text);
    queued_ = std::move(text);
  }
  if (job.state != model::JobState::running || running_) return;
  running_ = true;
  std::string text = "job " + job.id.str() + " runs";
  const auto list = [&text](std::string_view before, const std::vector<int>& numbers) {
    if (numbers.empty()) return;
    text += before;
    for (const int number : numbers) text += ' ' + std::to_string(number);
  };
  list(" on GPU", job.gpu_ids);
  list(job.ports.size() > 1 ? ", ports" : ", port", job.ports);
  say(text);
}

std::string end_words(const model::Report& report) {
  const model::StopReason& reason = report.reason;
  if (reason.kind == model::StopKind::completed) return {};
  std::string text = "job " + report.job.str() + ' ';
  const bool failed = reason.kind == model::StopKind::failed;
  text += failed ? "failed" : "ended: " + std::string(model::name_of(reason.kind));
  if (reason.by && !failed) text += " by " + *reason.by;
  if (reason.detail) {
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

#include "pending.h"

#include <optional>

namespace ebb::daemon {
namespace {

// The job that a write or an act is about.
template <typename T>
std::optional<JobId> job_of(const T& one) {
  if constexpr (requires { one.attempt.job; }) {
    return one.attempt.job;
  } else if constexpr (requires { one.attempt.id.job; }) {
    return one.attempt.id.job;
  } else if constexpr (requires { one.report.job; }) {
    return one.report.job;
  } else if constexpr (requires { one.job.id; }) {
    return one.job.id;
  } else if constexpr (requires { one.event.job; }) {
    return one.event.job;
  } else if constexpr (requires { one.job; }) {
    return one.job;
  } else {
    return std::nullopt;
  }
}

}  // namespace

void Pending::drop(JobId job) {
  const auto is_its = [job](const auto& any) {
    return std::visit([job](const auto& one) { return job_of(one) == job; }, any);
  };
  std::erase_if(batch, is_its);
  std::erase_if(then, is_its);
  std::erase_if(unanswered, [job](const Unanswered& one) { return one.id == job; });
  std::erase(touched, job);
  std::erase_if(ended, [job](AttemptId one) { return one.job == job; });
  std::erase_if(reports, [job](const model::Report& one) { return one.job == job; });
}

}  // namespace ebb::daemon

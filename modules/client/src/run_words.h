#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "ebb/base/result.h"
#include "ebb/client/placeholders.h"
#include "ebb/model/job.h"
#include "ebb/model/report.h"

namespace ebb::client {

/// Says on the way what becomes of a job, each thing once.
class Progress {
 public:
  void show(const model::Job& job, const std::function<void(std::string_view)>& say);

 private:
  std::string queued_;  ///< what was last said of its place in the queue
  bool running_ = false;
};

/// "job 7f3a91c2 failed: exit code 3"; empty for a job that completed.
[[nodiscard]] std::string end_words(const model::Report& report);

/// Replaces {sidecar.NAME.url} in the request's command and environment.
[[nodiscard]] Result<void> put_sidecar_urls(model::JobRequest& request, const SidecarUrls& urls);

}  // namespace ebb::client

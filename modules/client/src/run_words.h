#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "ebb/base/clock.h"
#include "ebb/base/result.h"
#include "ebb/client/placeholders.h"
#include "ebb/model/job.h"
#include "ebb/model/report.h"

namespace ebb::client {

/// Says on the way what becomes of a job, each thing once. Its place in a queue that moves is said at most
/// every ten seconds, and the last one always.
class Progress {
 public:
  using Say = std::function<void(std::string_view)>;
  void show(const model::Job& job, BootTime now, const Say& say);
  /// Says the job's place if it has changed and it is time.
  void say_place(BootTime now, const Say& say);
  /// When say_place() will have something to say; nothing while it has not.
  [[nodiscard]] std::optional<BootTime> due() const;

 private:
  std::string said_;     ///< of its place in the queue
  std::string unsaid_;   ///< its place now, where that is another
  BootTime next_place_;  ///< not to be said before
  bool starting_ = false;
  bool running_ = false;
};

/// "job 7f3a91c2 failed: exit code 3"; empty for a job that completed.
[[nodiscard]] std::string end_words(const model::Report& report);

/// Replaces {sidecar.NAME.url} in the request's command and environment.
[[nodiscard]] Result<void> put_sidecar_urls(model::JobRequest& request, const SidecarUrls& urls);

}  // namespace ebb::client

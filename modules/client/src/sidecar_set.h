#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ebb/client/placeholders.h"
#include "ebb/client/sidecar.h"
#include "run_context.h"

namespace ebb::client {

/// The side processes of one `ebb run`: all started together, stopped together.
class SidecarSet {
 public:
  explicit SidecarSet(RunContext& context) : context_(context) {}

  /// Picks the ports and starts all. Their addresses are urls() from then on.
  [[nodiscard]] Result<void> start(const std::vector<SidecarSpec>& specs, bool expand,
                                   const std::string& keeper);
  [[nodiscard]] const SidecarUrls& urls() const noexcept { return urls_; }
  /// Whether all of them are up: started, and answering where that was asked for. Says each as it comes up.
  [[nodiscard]] bool up();
  /// Why one of them will not come up; how that one ended is said with it.
  [[nodiscard]] std::optional<Error> failure();
  /// Says which have ended by themselves since it was last asked.
  void say_ended();
  /// TERM, two seconds, kill; returns when all are gone, and says how each ended.
  Task<void> stop();

 private:
  struct Member {
    SidecarSpec spec;
    int port = 0;
    BootTime started;
    std::unique_ptr<Sidecar> process;
    bool answers = false;  ///< where readiness was asked for
    bool said_up = false;
    bool said_ended = false;
    std::optional<Error> failure;
  };
  Task<void> probe(Member& member);
  [[nodiscard]] Task<bool> answers(const Member& member);

  RunContext& context_;
  std::optional<SidecarFolder> folder_;
  std::vector<std::unique_ptr<Member>> members_;
  SidecarUrls urls_;
};

}  // namespace ebb::client

#pragma once

#include <optional>
#include <stop_token>

#include "ebb/base/clock.h"
#include "ebb/base/unique_fd.h"

namespace ebb::flow {

/// Waits in poll(2) that end when a stop is requested. One thread.
class Wake {
 public:
  /// Throws std::system_error.
  explicit Wake(std::stop_token stop);

  enum class Why { ready, stopped, timeout };
  /// Until the descriptor is ready for `events`, or has an end or an error to tell.
  [[nodiscard]] Why wait(int fd, short events, std::optional<BootTime> deadline = {});

 private:
  struct Tell {
    int event;
    void operator()() const noexcept;
  };
  UniqueFd event_;  // readable once a stop is requested
  std::stop_token stop_;
  std::stop_callback<Tell> told_;
};

}  // namespace ebb::flow

#pragma once

#include <cstdint>
#include <functional>

#include "ebb/base/clock.h"

namespace ebb::lifecycle {

/// Calls back after a while. The program's event loop stands behind it (Asio in the daemon, ManualTimers in
/// tests); one thread uses it, and the callbacks run on that thread, never from within after() or cancel().
class Timers {
 public:
  using Token = std::uint64_t;
  static constexpr Token kNone = 0;

  virtual ~Timers() = default;
  /// Calls `call` once, when `delay` has passed; never for a delay that is cancelled first. Not kNone.
  virtual Token after(Duration delay, std::function<void()> call) = 0;
  /// Forgets a call that is still to come; kNone, and one that has been made, have no effect.
  virtual void cancel(Token token) noexcept = 0;
};

}  // namespace ebb::lifecycle

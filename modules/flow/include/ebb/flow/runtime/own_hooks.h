#pragma once

#include <exception>

#include "ebb/flow/runtime/graph.h"

namespace ebb::flow {

/// The functions' own hooks, all optional: open(Context&) or open(), finish(emit) or finish(), commit() or
/// abort(), close().
template <typename F>
void open_function(F& function, Context& context) {
  if constexpr (requires { function.open(context); }) {
    function.open(context);
  } else if constexpr (requires { function.open(); }) {
    function.open();
  }
}
template <typename F>
inline constexpr bool kCommits =
    requires(F& function) { function.commit(); } || requires(F& function) { function.abort(); };
/// What a hook throws is a failure of the run; the others are still called.
template <typename F>
void close_function(F& function, bool success, Slot& slot) noexcept {
  const auto guarded = [&](auto&& hook) {
    try {
      hook();
    } catch (...) {
      slot.context.worker().run().fail(slot.of->name, std::current_exception());
    }
  };
  guarded([&] {
    if constexpr (requires { function.commit(); }) {
      if (success) function.commit();
    }
    if constexpr (requires { function.abort(); }) {
      if (!success) function.abort();
    }
  });
  guarded([&] {
    if constexpr (requires { function.close(); }) function.close();
  });
}

}  // namespace ebb::flow

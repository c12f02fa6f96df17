#pragma once

#include <chrono>
#include <string>

#include "ebb/base/clock.h"

namespace ebb {

namespace flow {
class SideBase;
}

// What happens to a record whose function throws: the argument of on_error().

/// The pipeline fails, with the error in its report. What operators do unless told otherwise.
struct FailPolicy {};
inline constexpr FailPolicy fail;  // NOLINT(readability-identifier-naming): a word of the language

/// The record is left out, and counted.
struct SkipPolicy {};
inline constexpr SkipPolicy skip;  // NOLINT(readability-identifier-naming)

/// The function is called again with the same record, up to `times` more times, `backoff` after the first
/// failure and twice as long after each next one; after the last the pipeline fails. Needs a function that
/// takes `const T&`, or a T that can be copied.
struct RetryPolicy {
  int times = 0;
  Duration backoff{};
};
[[nodiscard]] inline RetryPolicy retry(int times, Duration backoff = std::chrono::milliseconds(100)) {
  return {.times = times, .backoff = backoff};
}

/// A record whose function threw, as it went into the operator, and what it threw.
template <typename T>
struct DeadLetter {
  T record;
  std::string error;
  std::string op;  ///< the operator's name
};
/// The record goes to a stream of such records: on_error(ebb::dead_letter(bad)), where `bad` comes from
/// env.dead_letters<T>(name). Needs a function that takes `const T&`, or a T that can be copied.
template <typename T>
struct DeadLetterPolicy {
  flow::SideBase* side = nullptr;
};

}  // namespace ebb

#pragma once

#include <string>
#include <utility>

#include "ebb/base/result.h"

namespace ebb::daemon {

/// An error as the API gives it: `type` is one of its stable words, `pointer` names the request's field.
[[nodiscard]] inline Error refused(Errc code, std::string message, std::string type,
                                   std::string pointer = {}) {
  return {
      .code = code, .message = std::move(message), .pointer = std::move(pointer), .type = std::move(type)};
}

}  // namespace ebb::daemon

#pragma once

#include <string>
#include <utility>

#include "ebb/base/result.h"

namespace ebb::devices {

[[nodiscard]] inline Error fail(Errc code, std::string message) {
  return Error{.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

}  // namespace ebb::devices

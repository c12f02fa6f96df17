#include "ebb/base/result.h"

#include <system_error>

namespace ebb {

Error errno_error(int errno_value, std::string_view what, Errc code) {
  std::string message(what);
  message += ": ";
  message += std::generic_category().message(errno_value);
  return Error{.code = code, .message = std::move(message), .pointer = {}, .type = {}};
}

}  // namespace ebb

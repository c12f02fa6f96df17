#pragma once

namespace ebb::daemon {

/// One visitor of a variant, made of a lambda for each alternative.
template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};

}  // namespace ebb::daemon

#pragma once

#include <memory>
#include <utility>

namespace ebb::flow {

/// A new Derived, owned as the Base that everybody knows it by. A pipeline has many a Derived of its own, for
/// which the compiler would make a unique_ptr each.
template <typename Base, typename Derived, typename... A>
[[nodiscard]] std::unique_ptr<Base> made(A&&... arguments) {
  return std::unique_ptr<Base>(new Derived(std::forward<A>(arguments)...));
}

}  // namespace ebb::flow

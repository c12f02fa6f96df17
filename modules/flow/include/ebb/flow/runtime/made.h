#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace ebb::flow {

/// A new Derived, owned as the Base that everybody knows it by. A pipeline has many a Derived of its own, for
/// which the compiler would make a unique_ptr each.
template <typename Base, typename Derived, typename... A>
[[nodiscard]] std::unique_ptr<Base> made(A&&... arguments) {
  return std::unique_ptr<Base>(new Derived(std::forward<A>(arguments)...));
}

/// An E for another thread. The standard's errors share their text with what they were copied from: that has
/// gone when this returns, and not at the end of the caller's expression, when the other thread has the error
/// already.
template <typename E>
[[nodiscard]] std::exception_ptr made_error(const std::string& text) {
  return std::make_exception_ptr(E(text));
}

}  // namespace ebb::flow

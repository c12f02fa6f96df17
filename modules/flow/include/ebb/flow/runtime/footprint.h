#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace ebb::flow {

/// About how many bytes a record holds besides its own sizeof, for limits on what is kept: exact for strings,
/// vectors, optionals, pairs, tuples and variants of them; a type with a member `std::size_t heap_bytes()
/// const` says it itself; 0 for anything else.
template <typename T>
std::size_t heap_bytes(const T& value);

template <typename T>
struct HeapBytes {
  static std::size_t of(const T& value) {
    if constexpr (requires { value.heap_bytes(); }) {
      return value.heap_bytes();
    } else {
      return 0;
    }
  }
};
template <>
struct HeapBytes<std::string> {
  static std::size_t of(const std::string& text) {
    return text.capacity() < sizeof(std::string) ? 0 : text.capacity();  // short ones lie inside
  }
};
template <typename T>
struct HeapBytes<std::vector<T>> {
  static std::size_t of(const std::vector<T>& all) {
    std::size_t sum = all.capacity() * sizeof(T);
    for (const auto& one : all) sum += heap_bytes<T>(one);
    return sum;
  }
};
template <typename T>
struct HeapBytes<std::optional<T>> {
  static std::size_t of(const std::optional<T>& value) { return value ? heap_bytes(*value) : 0; }
};
template <typename... T>
struct HeapBytes<std::tuple<T...>> {
  static std::size_t of(const std::tuple<T...>& all) {
    return std::apply([](const T&... one) { return (std::size_t{0} + ... + heap_bytes(one)); }, all);
  }
};
template <typename A, typename B>
struct HeapBytes<std::pair<A, B>> {
  static std::size_t of(const std::pair<A, B>& both) {
    return heap_bytes<std::remove_const_t<A>>(both.first) + heap_bytes(both.second);
  }
};
template <typename... T>
struct HeapBytes<std::variant<T...>> {
  static std::size_t of(const std::variant<T...>& one) {
    return std::visit([](const auto& value) { return heap_bytes(value); }, one);
  }
};

template <typename T>
std::size_t heap_bytes(const T& value) {
  return HeapBytes<T>::of(value);
}
/// What it takes to keep one.
template <typename T>
std::size_t footprint(const T& value) {
  return sizeof(T) + heap_bytes(value);
}

}  // namespace ebb::flow

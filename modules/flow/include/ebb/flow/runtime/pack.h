#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace ebb::flow {

template <std::size_t I, typename T>
struct PackLeaf {
  T value;
};
template <typename Indices, typename... T>
struct PackOf;
template <std::size_t... I, typename... T>
struct PackOf<std::index_sequence<I...>, T...> : PackLeaf<I, T>... {};

/// The operators of a chain, or references to them: a tuple without any of std::tuple's constructors, which
/// for chains of ten operators take a third of the time that the compiler needs.
template <typename... T>
using Pack = PackOf<std::index_sequence_for<T...>, T...>;

template <std::size_t I, typename T>
[[nodiscard]] [[gnu::always_inline]] constexpr T& at(PackLeaf<I, T>& leaf) noexcept {
  return leaf.value;
}
template <std::size_t I, typename T>
[[nodiscard]] constexpr const T& at(const PackLeaf<I, T>& leaf) noexcept {
  return leaf.value;
}

template <std::size_t I, typename T>
T pack_type(const PackLeaf<I, T>&);
template <std::size_t I, typename... T>
using PackAt = decltype(pack_type<I>(std::declval<Pack<T...>&>()));

}  // namespace ebb::flow

#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace ebb {

namespace flow {

/// Every bit of the result depends on every bit of `value` (the finalizer of MurmurHash3, by Austin Appleby).
constexpr std::uint64_t mix(std::uint64_t value) noexcept {
  value = (value ^ value >> 33) * 0xff51afd7ed558ccdU;
  value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53U;
  return value ^ value >> 33;
}

inline std::uint64_t hash_bytes(std::string_view bytes) noexcept {
  std::uint64_t hash = mix(bytes.size() + 0x9e3779b97f4a7c15U);
  for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    hash = mix(hash ^ word);
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, bytes.data(), bytes.size());
  return bytes.empty() ? hash : mix(hash ^ rest);
}

}  // namespace flow

/// The hash by which keys are spread over replicas and found in their state: the same in every process of
/// every run, for every value. It is there for integers, enumerations, bool, strings, pairs and tuples; give
/// your own type one by a member `std::uint64_t key_hash() const`.
template <typename K>
struct KeyHash {
  static constexpr bool kKnown = requires(const K& key) {
    { key.key_hash() } -> std::same_as<std::uint64_t>;
  } || std::is_integral_v<K> || std::is_enum_v<K> || std::is_convertible_v<const K&, std::string_view>;

  std::uint64_t operator()(const K& key) const noexcept {
    if constexpr (std::is_integral_v<K> || std::is_enum_v<K>) {
      return flow::mix(static_cast<std::uint64_t>(key) + 0x9e3779b97f4a7c15U);
    } else if constexpr (std::is_convertible_v<const K&, std::string_view>) {
      return flow::hash_bytes(std::string_view(key));
    } else {
      return flow::mix(key.key_hash());  // which may be as simple as a number
    }
  }
};

template <typename... K>
struct KeyHash<std::tuple<K...>> {
  static constexpr bool kKnown = (KeyHash<K>::kKnown && ...);

  std::uint64_t operator()(const std::tuple<K...>& key) const noexcept {
    std::uint64_t hash = sizeof...(K);
    std::apply([&](const auto&... part) { (..., (hash = flow::mix(hash ^ KeyHash<K>()(part)))); }, key);
    return hash;
  }
};

template <typename A, typename B>
struct KeyHash<std::pair<A, B>> {
  static constexpr bool kKnown = KeyHash<A>::kKnown && KeyHash<B>::kKnown;

  std::uint64_t operator()(const std::pair<A, B>& key) const noexcept {
    return flow::mix(KeyHash<A>()(key.first) ^ std::rotl(KeyHash<B>()(key.second), 32));
  }
};

namespace flow {

/// A record on its way to the replica that has its key's state.
template <typename K, typename V>
struct KeyedRecord {
  std::uint64_t hash = 0;
  K key;
  V value;
};

template <typename T>
inline constexpr bool kIsKeyed = false;
template <typename K, typename V>
inline constexpr bool kIsKeyed<KeyedRecord<K, V>> = true;

/// What a user's function sees of a record.
template <typename T>
auto& payload(T& record) noexcept {
  if constexpr (kIsKeyed<std::remove_const_t<T>>) {
    return record.value;
  } else {
    return record;
  }
}
template <typename T>
struct PayloadOf {
  using type = T;
};
template <typename K, typename V>
struct PayloadOf<KeyedRecord<K, V>> {
  using type = V;
};
template <typename T>
using Payload = typename PayloadOf<T>::type;

}  // namespace flow
}  // namespace ebb

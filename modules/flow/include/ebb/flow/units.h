#pragma once

#include <cstdint>

namespace ebb {
/// Amounts of memory: `using namespace ebb::literals;`, then 64_MiB.
inline namespace literals {

consteval std::uint64_t operator""_KiB(unsigned long long n) { return n << 10U; }
consteval std::uint64_t operator""_MiB(unsigned long long n) { return n << 20U; }
consteval std::uint64_t operator""_GiB(unsigned long long n) { return n << 30U; }

}  // namespace literals
}  // namespace ebb

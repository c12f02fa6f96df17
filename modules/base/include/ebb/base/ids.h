#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace ebb {

/// A job's id: 32 random bits, written as 8 lower-case hex digits; unique over the history of one daemon.
class JobId {
 public:
  constexpr JobId() = default;
  constexpr explicit JobId(std::uint32_t value) noexcept : value_(value) {}

  /// Accepts exactly 8 lower-case hex digits, so that an id is safe in a path or a query once parsed.
  [[nodiscard]] static std::optional<JobId> parse(std::string_view text);
  /// A random one; the caller checks that it is not taken.
  [[nodiscard]] static JobId random();

  [[nodiscard]] constexpr std::uint32_t value() const noexcept { return value_; }
  [[nodiscard]] std::string str() const;
  constexpr auto operator<=>(const JobId&) const = default;

 private:
  std::uint32_t value_ = 0;
};

/// One execution of a job; attempts count from 1. Written "7f3a91c2.1", which names its folder and cgroup.
struct AttemptId {
  JobId job;
  std::uint32_t number = 0;

  [[nodiscard]] static std::optional<AttemptId> parse(std::string_view text);
  [[nodiscard]] std::string str() const;
  constexpr auto operator<=>(const AttemptId&) const = default;
};

/// Fills `size` bytes from the kernel's generator; aborts where there is none.
void random_bytes(void* data, std::size_t size);
/// `bytes` random bytes as lower-case hex.
[[nodiscard]] std::string random_hex(std::size_t bytes);

}  // namespace ebb

template <>
struct std::hash<ebb::JobId> {
  std::size_t operator()(ebb::JobId id) const noexcept { return id.value(); }
};
template <>
struct std::hash<ebb::AttemptId> {
  std::size_t operator()(const ebb::AttemptId& id) const noexcept {
    return (std::size_t{id.job.value()} << 32) ^ id.number;
  }
};

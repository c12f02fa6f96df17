#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "ebb/base/result.h"
#include "ebb/devices/gpu.h"

/// What the daemon and `ebb-nvml` say to each other over the helper's stdin and stdout. Version 1; both are
/// always of the same build, so another version is a broken installation and ends the talk.
///
///   request:  <id> list\n   |   <id> usage <uuid>\n
///   answer:   ebb-nvml 1 <id> ok\n  then records, one a line, fields parted by tabs, then  end\n
///         or  ebb-nvml 1 <id> error <code> <text>\n
///   records:  driver version · gpu id uuid name pci memory_mib numa minor refused · mig id … parent ·
///             near position position closeness · memory used_mib total_mib includes_reserved ·
///             process pid mib|-
namespace ebb::devices::nvml {

inline constexpr std::size_t kMaxRequest = 256;
inline constexpr std::size_t kMaxAnswer = 1 << 20;  ///< bytes; a longer one is refused
inline constexpr int kMaxGpus = 512;                ///< MIG instances counted

struct Request {
  std::uint64_t id = 0;
  std::string uuid;  ///< empty: list
};
[[nodiscard]] std::string write_request(const Request& request);
/// One line, without its newline. Refuses a UUID with anything but letters, digits, '-' and '/'.
[[nodiscard]] Result<Request> parse_request(std::string_view line);

using Payload = std::variant<NvmlList, GpuUsage>;
[[nodiscard]] std::string write_answer(std::uint64_t id, const Payload& payload);
[[nodiscard]] std::string write_error(std::uint64_t id, const Error& error);

struct Answer {
  std::uint64_t id = 0;
  Result<Payload> payload;  ///< the helper's own error stands here
};
/// A whole answer, its last newline included. Fails (Errc::corrupt) on anything that write_answer() and
/// write_error() do not write.
[[nodiscard]] Result<Answer> parse_answer(std::string_view text);
/// Whether `text` ends with the end of an answer.
[[nodiscard]] bool is_complete(std::string_view text);

}  // namespace ebb::devices::nvml

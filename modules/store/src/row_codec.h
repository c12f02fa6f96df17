// How the parts of rows that no query looks into are written: as small JSON texts, with defaults left out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/store/rows.h"

namespace ebb::store {

/// Name and group have columns of their own and are not in the text.
[[nodiscard]] std::string write_spec(const model::JobSpec& spec);
[[nodiscard]] Result<model::JobSpec> read_spec(std::string_view text);

/// Without workdir and environment, which stand elsewhere.
[[nodiscard]] std::string write_surroundings(const Surroundings& surroundings);
[[nodiscard]] Result<Surroundings> read_surroundings(std::string_view text);

/// "K=V" strings, each ended by a NUL.
[[nodiscard]] std::string write_environment(const std::vector<std::string>& environment);
[[nodiscard]] std::vector<std::string> read_environment(std::string_view body);

/// "0 1 2"
[[nodiscard]] std::string write_numbers(const std::vector<int>& numbers);
[[nodiscard]] std::vector<int> read_numbers(std::string_view text);

[[nodiscard]] std::string write_reason(const model::StopReason& reason);
[[nodiscard]] Result<model::StopReason> read_reason(std::string_view text);

/// States are stored as these numbers, whatever order the program lists them in.
[[nodiscard]] int stored_state(model::JobState state);
/// Past the last state: queued, the only one that loses nothing.
[[nodiscard]] model::JobState read_state(int stored);
inline constexpr int kFirstEnded = 4;  // completed; below it a job is live

}  // namespace ebb::store

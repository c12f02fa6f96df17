#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "ebb/base/result.h"
#include "ebb/model/job.h"

namespace ebb::daemon {

/// The value of a placeholder by its exact name ("port", "port:1", "config.a.b"); nothing: not one of ours,
/// and the braces stay as they are.
using PlaceholderValues = std::function<std::optional<std::string>(std::string_view name)>;

/// Replaces every `{name}` that has a value, once: what a value contains is never looked at again. All other
/// bytes, other braces included, pass unchanged.
[[nodiscard]] std::string replace_placeholders(std::string_view text, const PlaceholderValues& values);

/// Calls `visit` with each `{name}` in the text that could be a placeholder by its form.
void each_placeholder(std::string_view text, const std::function<void(std::string_view name)>& visit);

/// Refuses the known names that this job lacks, in its command and the values of its environment: a port
/// without ports, a sidecar that the client has not filled in.
[[nodiscard]] Result<void> check_placeholders(const model::JobSpec& spec);

}  // namespace ebb::daemon

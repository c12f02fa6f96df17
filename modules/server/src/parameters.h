// Values out of paths, queries and headers.
#pragma once

#include <optional>
#include <string_view>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/base/result.h"
#include "message.h"

namespace ebb::server {

/// {id}: exactly 8 lower hex digits, so that nothing else ever reaches a path or a query.
[[nodiscard]] Result<JobId> job_id(const Request& request);
/// A duration as on the command line; absent: `otherwise`.
[[nodiscard]] Result<Duration> duration_parameter(const Request& request, std::string_view name,
                                                  Duration otherwise);
[[nodiscard]] Result<std::int64_t> integer_parameter(const Request& request, std::string_view name,
                                                     std::int64_t otherwise, std::int64_t min,
                                                     std::int64_t max);
/// "1", "true" or empty ("?follow"): true; "0", "false": false.
[[nodiscard]] Result<bool> flag_parameter(const Request& request, std::string_view name);
[[nodiscard]] std::optional<std::string> text_parameter(const Request& request, std::string_view name);
[[nodiscard]] Error bad_parameter(std::string_view name, const std::string& message);

}  // namespace ebb::server

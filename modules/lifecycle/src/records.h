#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "ebb/lifecycle/scope.h"

namespace ebb::lifecycle {

/// The record of a thing whose release threw.
[[nodiscard]] model::ReleaseRecord failure_record(model::ReleaseRecord what, std::string_view prefix,
                                                  const std::exception_ptr& error);
[[nodiscard]] model::ReleaseRecord failure_record(const Release& release, std::string_view prefix,
                                                  const std::exception_ptr& error);
/// `released` without a word on how that was verified is not believed.
void demand_verification(model::ReleaseRecord& record);
/// Sets took_ms where the release left it open.
void fill_in_time(model::ReleaseRecord& record, Duration took);

}  // namespace ebb::lifecycle

#pragma once

#include <cstdint>
#include <string>

#include "ebb/engine/actions.h"
#include "ebb/engine/events.h"

namespace ebb::simulation {

/// One line of the story: what the engine was told, and what it wants.
[[nodiscard]] std::string text_of(const engine::Event& event);
[[nodiscard]] std::string text_of(const engine::Act& act);
[[nodiscard]] std::string text_of(const engine::Record& record);
/// The same as a number, for the hash: which one, and of whom.
[[nodiscard]] std::uint64_t mark_of(const engine::Event& event);
[[nodiscard]] std::uint64_t mark_of(const engine::Act& act);
[[nodiscard]] std::uint64_t mark_of(const engine::Record& record);

}  // namespace ebb::simulation

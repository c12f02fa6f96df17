#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "ebb/base/unique_fd.h"

namespace ebb::process {

// The file `leader` in an attempt's folder: the number of its leader, which a keeper notes where the attempt
// shares the machine's IPC. What the leader made there is known by that number, to whoever finds neither the
// keeper nor anybody who had heard from it.

/// Without a note, what the attempt leaves may not be known for its own; so a failure is not told.
void note_leader(int attempt_folder, pid_t leader) noexcept;
/// Where it is to be written: by the leader itself before it executes its program, since a keeper may be
/// killed when the program runs already. Allocates nothing.
[[nodiscard]] UniqueFd open_leader_note(int attempt_folder) noexcept;
void write_leader_note(int note, pid_t leader) noexcept;
[[nodiscard]] std::optional<pid_t> noted_leader(const std::string& attempt_dir);

}  // namespace ebb::process

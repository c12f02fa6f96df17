#pragma once

#include <cstddef>
#include <string>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"

namespace ebb::process {

// The lock of an attempt's folder: flock(2) on the folder itself, taken before its keeper is started and held
// by the keeper alone (and by the message that a nursery has not read yet) until it exits. So whether a
// keeper lives, or may still come to life, can be told before it has made its socket, and after its starter's
// death.

/// Errc::conflict where a keeper has it. The descriptor is open for reading.
[[nodiscard]] Result<UniqueFd> lock_attempt_dir(const std::string& attempt_dir);

/// Whether a keeper lives for this folder, or is about to; false where the folder is not there. Once it is
/// false, no keeper will come unless somebody starts one. It asks by taking the lock for a moment: whoever
/// starts a keeper meanwhile, or asks too, may find a conflict.
[[nodiscard]] bool keeper_lives(const std::string& attempt_dir);

/// SIGKILL to whoever holds the folder's lock, known by the lock and never by a stored pid; how many there
/// were. For a keeper that cannot be reached otherwise.
std::size_t kill_keeper(const std::string& attempt_dir);

}  // namespace ebb::process

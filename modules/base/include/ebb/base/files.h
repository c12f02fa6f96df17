#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"

namespace ebb {

/// open(2) with O_CLOEXEC and a retry on EINTR; the error names the path.
[[nodiscard]] Result<UniqueFd> open_file(const std::filesystem::path& path, int flags, mode_t mode = 0);
/// The whole file; Errc::too_large past `limit` bytes. Also for /proc, where sizes are unknown.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path, std::size_t limit = 64 << 20);
/// Writes all of `data`, with retries on EINTR and short writes.
[[nodiscard]] Result<void> write_all(int fd, std::string_view data);
/// Replaces the file by a rename, so that a reader sees the old one or the new one, never half. Survives a
/// crash of this process; a power cut only with `durable` (fsync of file and folder).
[[nodiscard]] Result<void> replace_file(const std::filesystem::path& path, std::string_view data, mode_t mode,
                                        bool durable = false);
/// Whether `path` (no link followed) still names the file that is open: a lock on one that was removed
/// meanwhile excludes nobody.
[[nodiscard]] bool same_file(int fd, const std::filesystem::path& path) noexcept;
/// Makes a folder and its missing parents with `mode` (parents 0755); an existing one is left as it is.
[[nodiscard]] Result<void> make_directories(const std::filesystem::path& path, mode_t mode);

}  // namespace ebb

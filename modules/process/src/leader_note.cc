#include "ebb/process/leader_note.h"

#include <fcntl.h>

#include <charconv>

#include "ebb/base/files.h"
#include "ebb/base/unique_fd.h"

namespace ebb::process {

void note_leader(int attempt_folder, pid_t leader) noexcept {
  const UniqueFd file(::openat(attempt_folder, "leader", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file) static_cast<void>(write_all(file.get(), std::to_string(leader)).ok());
}

std::optional<pid_t> noted_leader(const std::string& attempt_dir) {
  const auto text = read_file(attempt_dir + "/leader", 32);
  pid_t leader = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), leader).ec != std::errc())
    return {};
  return leader;
}

}  // namespace ebb::process

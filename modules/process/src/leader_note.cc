#include "ebb/process/leader_note.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "ebb/base/files.h"

namespace ebb::process {

UniqueFd open_leader_note(int attempt_folder) noexcept {
  return UniqueFd(::openat(attempt_folder, "leader", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

void write_leader_note(int note, pid_t leader) noexcept {
  std::array<char, 16> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), leader).ptr;
  [[maybe_unused]] const ssize_t put =
      ::write(note, text.data(), static_cast<std::size_t>(end - text.data()));
}

void note_leader(int attempt_folder, pid_t leader) noexcept {
  const UniqueFd note = open_leader_note(attempt_folder);
  if (note) write_leader_note(note.get(), leader);
}

std::optional<pid_t> noted_leader(const std::string& attempt_dir) {
  const auto text = read_file(attempt_dir + "/leader", 32);
  pid_t leader = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), leader).ec != std::errc())
    return {};
  return leader;
}

}  // namespace ebb::process

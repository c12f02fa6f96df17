#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ebb::faults {

/// A system call as a tracee makes it: number and arguments from its entry, the result at its exit.
struct Call {
  long number = -1;
  std::uint64_t arguments[6] = {};
  std::optional<std::int64_t> result;  ///< empty at the entry
  std::string path;                    ///< of the file that the first argument names or is; read at the entry
};

/// One moment that is waited for. Written `GENERATION:CALL[:enter|:exit][:KEY=VALUE]…`; CALL may be `born`
/// (the first stop of a new process) or `exec` (a program was executed). KEY: `path` (part of the file's
/// name), `data` (part of what is written or was read), `first` (value of its first byte), `argN` (a number),
/// `nth`.
struct Moment {
  int generation = 0;
  std::string name;
  long number = -1;
  bool at_exit = false;
  std::string path;
  std::string data;
  std::optional<int> first_byte;
  std::map<int, std::uint64_t> arguments;
  int times = 1;

  /// Exits with a message where the text is not one.
  static Moment parse(const std::string& text);
  [[nodiscard]] bool is_event() const { return number == -1; }
  [[nodiscard]] bool matches(pid_t thread, int generation, const Call& call) const;
};

/// What the first argument of `call` names: a descriptor's file or a path; "" where it is neither.
[[nodiscard]] std::string path_of(pid_t thread, const Call& call);

/// The process that `thread` belongs to, 0 where it is gone.
[[nodiscard]] pid_t process_of(pid_t thread);
/// Of /proc/PID/task: all threads; and the children of all of them.
[[nodiscard]] std::vector<pid_t> threads_of(pid_t process);
[[nodiscard]] std::vector<pid_t> children_of(pid_t process);

}  // namespace ebb::faults

#include "ebb/base/programs.h"

#include <unistd.h>

namespace ebb {

Result<std::filesystem::path> find_program(std::string_view name) {
  std::error_code failure;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (failure) return errno_error(failure.value(), "cannot read /proc/self/exe");
  const std::filesystem::path beside = self.parent_path() / name;
  const std::filesystem::path above = self.parent_path().parent_path();
  const std::filesystem::path installed = above / "libexec" / "ebb" / name;
  for (const auto& path : {beside, installed, above.parent_path() / "bin" / name}) {
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return Error{.code = Errc::not_found,
               .message = std::string(name) + " is neither at " + beside.string() + " nor at " +
                          installed.string() + "; build or install Ebb as a whole",
               .pointer = {},
               .type = {}};
}

}  // namespace ebb

#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "ebb/base/result.h"

namespace ebb::daemon {

/// An entry of the system's user database.
struct Account {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::string home;
  std::string shell;
};

/// Errc::not_found where there is no such account.
[[nodiscard]] Result<Account> account_of(const std::string& name);
/// An account without a name gets its number for a name.
[[nodiscard]] Account account_of(uid_t uid);
/// PATH, HOME, USER, LOGNAME and SHELL: what a job gets that inherits no environment.
[[nodiscard]] std::vector<std::string> minimal_environment(const Account& account);

}  // namespace ebb::daemon

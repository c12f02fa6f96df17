#include "accounts.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace ebb::daemon {
namespace {

Account from_entry(const passwd& entry) {
  Account account{.name = entry.pw_name,
                  .uid = entry.pw_uid,
                  .gid = entry.pw_gid,
                  .groups = {},
                  .home = entry.pw_dir,
                  .shell = entry.pw_shell};
  int count = 64;
  for (;;) {
    account.groups.resize(static_cast<std::size_t>(count));
    const int before = count;
    if (::getgrouplist(entry.pw_name, entry.pw_gid, account.groups.data(), &count) >= 0) break;
    if (count <= before) count = 2 * before;
  }
  account.groups.resize(static_cast<std::size_t>(count));
  return account;
}

}  // namespace

Result<Account> account_of(const std::string& name) {
  passwd entry{};
  passwd* found = nullptr;
  std::string buffer(16 << 10, '\0');
  if (const int failure = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
      failure != 0) {
    return errno_error(failure, "cannot look up the account " + name);
  }
  if (found == nullptr) {
    return Error{.code = Errc::not_found,
                 .message = "this machine has no account '" + name + "'",
                 .pointer = {},
                 .type = "no-such-account"};
  }
  return from_entry(entry);
}

Account account_of(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::string buffer(16 << 10, '\0');
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return from_entry(entry);
  }
  const std::string number = std::to_string(uid);
  return {.name = number, .uid = uid, .gid = uid, .groups = {uid}, .home = "/", .shell = "/bin/sh"};
}

std::vector<std::string> minimal_environment(const Account& account) {
  return {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + account.home, "USER=" + account.name,
          "LOGNAME=" + account.name, "SHELL=" + account.shell};
}

}  // namespace ebb::daemon

#include "shared_memory.h"

#include <pwd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "ebb/model/api.h"

namespace ebb::cli {
namespace {

std::optional<uid_t> uid_of(const std::string& account) {
  if (const passwd* entry = ::getpwnam(account.c_str())) return entry->pw_uid;
  uid_t uid = 0;  // of a user without an account the daemon has the number
  const char* const end = account.data() + account.size();
  const auto read = std::from_chars(account.data(), end, uid);
  return read.ec == std::errc() && read.ptr == end ? std::optional(uid) : std::nullopt;
}

// Of those that come by key; only an admin may ask.
std::map<std::string, std::string> accounts(client::Client& client, const daemon::Config& config) {
  std::map<std::string, std::string> found;
  const auto users = client.get_as<model::UserList>("/v1/users");
  if (!users) return found;
  for (const model::User& user : users->items) {
    const std::string account = user.account.value_or(config.jobs.account);
    if (!account.empty()) found[user.name] = account;
  }
  return found;
}

}  // namespace

std::vector<process::IpcClaim> sharing_attempts(client::Client& client, const daemon::Config& config,
                                                const process::Census& census) {
  std::vector<process::IpcClaim> claims;
  if (std::all_of(census.ipc.begin(), census.ipc.end(), [](const auto& object) { return object.users > 0; }))
    return claims;
  const auto jobs = client.get_as<model::JobList>("/v1/jobs?state=completed,failed,cancelled&limit=1000");
  if (!jobs) return claims;
  const auto by_key = accounts(client, config);
  for (const model::Job& job : jobs->items) {
    const bool private_ipc = job.tier && job.tier->find("pidns") != std::string::npos;
    const bool shared = job.spec.share_ipc.value_or(false) || !private_ipc;
    if (!shared || !job.started_at || !job.ended_at) continue;
    const auto account = by_key.find(job.user);
    const auto uid = uid_of(account != by_key.end() ? account->second : job.user);
    if (!uid) continue;
    process::IpcClaim claim;
    claim.attempt = {.job = job.id, .number = static_cast<std::uint32_t>(job.attempt)};
    claim.uid = *uid;
    claim.started = *job.started_at;
    claim.ended = *job.ended_at;
    claim.alone = true;  // whoever else it may be: somebody is to look
    claims.push_back(std::move(claim));
  }
  return claims;
}

}  // namespace ebb::cli

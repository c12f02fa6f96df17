#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "ebb/base/ids.h"
#include "ebb/client/client.h"

namespace ebb::client {
namespace {

constexpr std::size_t kShortestPrefix = 4;
constexpr int kPage = 1000;
constexpr int kMostPages = 1000;  // a million jobs

Error not_found(std::string message) {
  return {.code = Errc::not_found, .message = std::move(message), .pointer = {}, .type = "no-such-job"};
}

// Calls `visit` with each job, the newest first, until it returns false.
Result<void> for_each_job(Client& client, const std::string& filter, int pages,
                          const std::function<bool(const model::Job&)>& visit) {
  std::string cursor;
  for (int page = 0; page < pages; ++page) {
    auto list = client.get_as<model::JobList>("/v1/jobs?limit=" + std::to_string(kPage) + filter +
                                              (cursor.empty() ? "" : "&cursor=" + percent_encoded(cursor)));
    if (!list) return list.error();
    for (const model::Job& job : list->items) {
      if (!visit(job)) return {};
    }
    if (!list->next_cursor) return {};
    cursor = *list->next_cursor;
  }
  return {};
}

// Over a socket the daemon knows the caller by the account's name. Over TCP only the daemon knows whose key
// it is; but only one's own jobs show their command.
Result<model::Job> newest_of_caller(Client& client) {
  std::string filter;
  if (client.endpoint().kind == Endpoint::Kind::socket) {
    if (const passwd* account = ::getpwuid(::geteuid()))
      filter = "&user=" + percent_encoded(account->pw_name);
  }
  std::optional<model::Job> found;
  auto listed = for_each_job(client, filter, kMostPages, [&](const model::Job& job) {
    if (!job.spec.command) return true;
    found = job;
    return false;
  });
  if (!listed) return listed.error();
  if (!found) return not_found("you have no job yet");
  return std::move(*found);
}

Result<std::string> job_with_prefix(Client& client, std::string_view prefix) {
  std::vector<std::string> found;
  auto listed = for_each_job(client, "", kMostPages, [&](const model::Job& job) {
    std::string id = job.id.str();
    if (id.starts_with(prefix)) found.push_back(std::move(id));
    return true;
  });
  if (!listed) return listed.error();
  if (found.size() == 1) return found.front();
  if (found.empty())
    return not_found("no job's id begins with " + std::string(prefix) + "; 'ebb ps -a' lists all");
  constexpr std::size_t kShown = 5;
  std::string message = std::string(prefix) + " fits " + std::to_string(found.size()) + " jobs:";
  for (std::size_t i = 0; i < std::min(found.size(), kShown); ++i) message += ' ' + found[i];
  if (found.size() > kShown) message += " …";
  return not_found(message + "; give more digits");
}

}  // namespace

std::vector<std::string> near_misses(std::string_view id, const std::vector<std::string>& ids) {
  std::vector<std::string> near;
  for (const std::string& other : ids) {
    if (other.size() != id.size()) continue;
    std::vector<std::size_t> differing;
    for (std::size_t i = 0; i < id.size(); ++i) {
      if (id[i] != other[i]) differing.push_back(i);
    }
    const bool swapped = differing.size() == 2 && differing[1] == differing[0] + 1 &&
                         id[differing[0]] == other[differing[1]] && id[differing[1]] == other[differing[0]];
    if (differing.size() == 1 || swapped) near.push_back(other);
  }
  return near;
}

Result<std::string> resolve_job(Client& client, std::string_view word) {
  if (word == "last") {
    const auto job = newest_of_caller(client);
    if (!job) return job.error();
    return job->id.str();
  }
  const bool hex =
      std::ranges::all_of(word, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (hex && word.size() == 8) return std::string(word);
  if (hex && word.size() >= kShortestPrefix && word.size() < 8) return job_with_prefix(client, word);
  return Error{.code = Errc::not_found,
               .message = "'" + std::string(word) +
                          "' is no job's id: an id is 8 digits of 0-9 a-f, a unique prefix of at least 4 of "
                          "them, or 'last'; 'ebb ps -a' lists all",
               .pointer = {},
               .type = "no-such-job"};
}

Result<std::string> own_user(Client& client) {
  if (client.endpoint().kind == Endpoint::Kind::socket) {
    if (const passwd* account = ::getpwuid(::geteuid())) return std::string(account->pw_name);
  }
  const auto job = newest_of_caller(client);
  if (!job) return job.error();
  return job->user;
}

Error with_near_misses(Client& client, Error error, std::string_view id) {
  if (error.type != "no-such-job") return error;
  std::vector<std::string> ids;
  constexpr int kRecentPages = 3;  // a slip of the finger is about a job that one sees on the screen
  if (!for_each_job(client, "", kRecentPages, [&](const model::Job& job) {
        ids.push_back(job.id.str());
        return true;
      })) {
    return error;
  }
  const auto near = near_misses(id, ids);
  error.message = "no job " + std::string(id);
  if (!near.empty()) error.message += "; did you mean " + near.front() + "?";
  error.message += near.empty() ? "; 'ebb ps -a' lists all" : " 'ebb ps -a' lists all";
  return error;
}

}  // namespace ebb::client

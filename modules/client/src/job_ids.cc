#include <algorithm>

#include "ebb/client/client.h"

namespace ebb::client {
namespace {

constexpr std::size_t kShortestPrefix = 4;

Error not_found(std::string message) {
  return {.code = Errc::not_found, .message = std::move(message), .pointer = {}, .type = "no-such-job"};
}

Result<model::JobList> list_jobs(Client& client, const std::string& query) {
  return client.get_as<model::JobList>("/v1/jobs?" + query);
}

Result<std::string> newest_of_caller(Client& client) {
  auto list = list_jobs(client, "mine=1&limit=1");
  if (!list) return list.error();
  if (list->items.empty()) return not_found("you have no job yet");
  return list->items.front().id.str();
}

Result<std::string> job_with_prefix(Client& client, const std::string& prefix) {
  constexpr std::size_t kShown = 5;
  auto list = list_jobs(client, "id=" + prefix + "&limit=" + std::to_string(kShown + 1));
  if (!list) return list.error();
  const std::vector<model::Job>& found = list->items;
  if (found.size() == 1) return found.front().id.str();
  if (found.empty()) return not_found("no job's id begins with " + prefix + "; 'ebb ps -a' lists all");
  std::string message = prefix + " fits several jobs:";
  for (std::size_t i = 0; i < std::min(found.size(), kShown); ++i) message += ' ' + found[i].id.str();
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
  if (word == "last") return newest_of_caller(client);
  const bool hex =
      std::ranges::all_of(word, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (hex && word.size() == 8) return std::string(word);
  if (hex && word.size() >= kShortestPrefix && word.size() < 8)
    return job_with_prefix(client, std::string(word));
  return Error{.code = Errc::not_found,
               .message = "'" + std::string(word) +
                          "' is no job's id: an id is 8 digits of 0-9 a-f, a unique prefix of at least 4 of "
                          "them, or 'last'; 'ebb ps -a' lists all",
               .pointer = {},
               .type = "no-such-job"};
}

Error with_near_misses(Client& client, Error error, std::string_view id) {
  if (error.type != "no-such-job") return error;
  // A slip of the finger is about a job that one sees on the screen.
  const auto recent = list_jobs(client, "limit=1000");
  if (!recent) return error;
  std::vector<std::string> ids;
  for (const model::Job& job : recent->items) ids.push_back(job.id.str());
  const auto near = near_misses(id, ids);
  error.message = "no job " + std::string(id);
  if (!near.empty()) error.message += "; did you mean " + near.front() + "?";
  error.message += near.empty() ? "; 'ebb ps -a' lists all" : " 'ebb ps -a' lists all";
  return error;
}

}  // namespace ebb::client

#include "routes.h"

#include "ebb/base/text.h"
#include "handlers.h"

namespace ebb::server {
namespace {

std::vector<Route> make_routes() {
  using enum Access;
  return {
      {"POST", "/v1/jobs", caller, post_job, "Submit a job", {}, "JobRequest", "Job", 201},
      {"GET",
       "/v1/jobs",
       caller,
       get_jobs,
       "Everybody's jobs, newest first",
       {"state", "user", "mine", "group", "name", "since", "id", "limit", "cursor"},
       "",
       "JobList"},
      {"GET", "/v1/jobs/{id}", caller, get_job, "One job", {}, "", "Job"},
      {"DELETE",
       "/v1/jobs/{id}",
       caller,
       delete_job,
       "End a job: 202 and the job while it is releasing, 200 and its report once released",
       {"grace", "wait", "detail"},
       "",
       "Report"},
      {"GET",
       "/v1/jobs/{id}/report",
       caller,
       get_report,
       "How it ended, and what was released",
       {},
       "",
       "Report"},
      {"GET", "/v1/jobs/{id}/logs", caller, get_logs, "Its output", {"stream", "offset", "tail", "follow"}},
      {"GET", "/v1/jobs/{id}/why", caller, get_why, "What it waits for", {}, "", "Why"},
      {"GET",
       "/v1/jobs/{id}/owner",
       caller,
       get_owner,
       "Be the owner that the job lives with (event stream)",
       {"acks"}},
      {"POST", "/v1/jobs/{id}/owner", caller, post_owner, "Stop or resume the owner's clock", {}, "", "Job"},
      {"GET", "/v1/events", caller, get_events,
       "The journal from now on, or after Last-Event-ID (event stream)"},
      {"GET", "/v1/devices", caller, get_devices, "GPUs and ports", {}, "", "Devices"},
      {"POST",
       "/v1/devices/{id}/release",
       caller,
       release_device,
       "Give a quarantined device back after a fresh check",
       {},
       "",
       "Devices"},
      {"GET", "/v1/users", caller, get_users, "All users (admins)", {}, "", "UserList"},
      {"POST",
       "/v1/users",
       caller,
       post_user,
       "Make a user; shows its key (admins)",
       {},
       "UserRequest",
       "UserKey",
       201},
      {"POST",
       "/v1/users/import",
       caller,
       import_user,
       "Take over a user of another system with its key (admins)",
       {},
       "",
       "User",
       201},
      {"POST",
       "/v1/users/{name}/rotate",
       caller,
       rotate_user,
       "A new key in place of the old one",
       {},
       "",
       "UserKey"},
      {"DELETE", "/v1/users/{name}", caller, delete_user, "Revoke a user's key (admins)", {}, "", "User"},
      {"POST", "/v1/drain", caller, post_drain, "Take and start no new jobs (admins)"},
      {"POST", "/v1/resume", caller, post_resume, "Take and start jobs again (admins)"},
      {"GET", "/healthz", open, get_healthz, "The server runs"},
      {"GET", "/readyz", open, get_readyz, "Submissions are accepted"},
      {"GET", "/metrics", open, get_metrics, "Prometheus metrics"},
      {"GET", "/openapi.json", open, get_openapi, "This description"},
      {"GET", "/", compat_open, compat_root, "What this service is"},
      {"POST",
       "/register",
       compat_open,
       compat_register,
       "Make a key for oneself, where registration is open",
       {"username"}},
      {"POST", "/submit_job", compat, compat_submit_job, "Start a training job by template"},
      {"POST", "/submit_inference_job", compat, compat_submit_inference,
       "Start an inference job by template"},
      {"GET", "/job_status/{id}", compat, compat_status, "One job, in the original's form"},
      {"GET", "/list_jobs", compat, compat_list, "One's own jobs, in the original's form"},
      {"DELETE", "/cancel_job/{id}", compat, compat_cancel, "Cancel; answers when released"},
      {"POST", "/complete_job/{id}", compat, compat_complete, "End a job as completed"},
      {"GET", "/admin/users", compat, compat_users, "All users, in the original's form (admins)"},
  };
}

struct Pattern {
  const Route* route = nullptr;
  std::vector<std::string_view> segments;
};

const std::vector<Pattern>& patterns() {
  static const std::vector<Pattern> all = [] {
    std::vector<Pattern> made;
    for (const Route& route : routes()) {
      Pattern pattern{.route = &route, .segments = {}};
      if (route.pattern != "/") pattern.segments = split(route.pattern.substr(1), '/');
      made.push_back(std::move(pattern));
    }
    return made;
  }();
  return all;
}

bool variable(std::string_view segment) { return segment.starts_with('{'); }

bool fits(const Pattern& pattern, const std::vector<std::string>& segments) {
  if (pattern.segments.size() != segments.size()) return false;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (variable(pattern.segments[i]) ? segments[i].empty() : pattern.segments[i] != segments[i])
      return false;
  }
  return true;
}

}  // namespace

std::span<const Route> routes() {
  static const std::vector<Route> all = make_routes();
  return all;
}

Match match(Request& request) {
  Match result;
  const std::string_view method = request.head() ? std::string_view("GET") : std::string_view(request.method);
  for (const Pattern& pattern : patterns()) {
    if (!fits(pattern, request.target.segments)) continue;
    if (pattern.route->method != method) {
      result.allowed.push_back(pattern.route->method);
      continue;
    }
    for (std::size_t i = 0; i < pattern.segments.size(); ++i) {
      const std::string_view segment = pattern.segments[i];
      if (variable(segment)) {
        request.path[std::string(segment.substr(1, segment.size() - 2))] = request.target.segments[i];
      }
    }
    result.route = pattern.route;
    result.allowed.clear();
    return result;
  }
  return result;
}

std::string allow_header(const std::vector<std::string_view>& methods) {
  std::string text;
  for (const std::string_view method : methods) {
    if (!text.empty()) text += ", ";
    text += method;
    if (method == "GET") text += ", HEAD";
  }
  return text;
}

}  // namespace ebb::server

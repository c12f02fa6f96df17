#include <boost/json.hpp>
#include <ctime>

#include "compat.h"
#include "core.h"
#include "ebb/base/text.h"
#include "ebb/process/log_reader.h"
#include "handlers.h"
#include "parameters.h"
#include "state_watch.h"

namespace ebb::server {
namespace compat {
namespace {

namespace json = boost::json;

constexpr std::size_t kStderrTail = 2048;
constexpr std::size_t kTailLines = 200;

// The end of what the attempt wrote to stderr; empty where there is nothing to read.
std::string stderr_tail(const std::filesystem::path& folder) {
  auto reader = process::LogReader::open(folder);
  if (!reader) return {};
  auto at = reader->tail(kTailLines, process::LogFilter::err);
  std::string text;
  while (at) {
    auto batch = reader->read(*at, process::LogFilter::err);
    if (!batch) break;
    for (const auto& piece : batch->pieces) text += piece.bytes;
    if (text.size() > kStderrTail) text.erase(0, text.size() - kStderrTail);
    if (batch->state != process::LogBatch::State::more) break;
    *at = batch->next;
  }
  return text;
}

// The original's page puts this text into HTML.
std::string harmless(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

json::value or_null(const std::optional<WallTime>& time) {
  return time ? json::value(local_time(*time)) : json::value();
}

}  // namespace

std::string_view status_name(model::JobState state) {
  switch (state) {
    case model::JobState::queued:
      return "QUEUED";
    case model::JobState::starting:
      return "STARTING";
    case model::JobState::running:
    case model::JobState::releasing:  // until everything is given back it counts as running
      return "RUNNING";
    case model::JobState::completed:
      return "COMPLETED";
    case model::JobState::failed:
      return "FAILED";
    default:
      return "CANCELLED";
  }
}

std::string local_time(WallTime time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const std::time_t whole = seconds.time_since_epoch().count();
  std::tm parts{};
  localtime_r(&whole, &parts);
  char text[64];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char micros[16];
  std::snprintf(micros, sizeof micros, ".%06d", static_cast<int>((time - seconds).count()));
  return std::string(text, size) + micros;
}

std::optional<std::string> error_message(Core& core, const Request& request, const model::Job& job) {
  if (job.state != model::JobState::failed) return std::nullopt;
  std::string text = job.reason && job.reason->detail ? *job.reason->detail : std::string("the job failed");
  if (const auto folder = core.daemon().log_folder(request.caller, job.id)) {
    const std::string tail = stderr_tail(*folder);
    if (!tail.empty()) text += "\n" + tail;
  }
  return harmless(text);
}

json::object job_json(Core& core, const Request& request, const model::Job& job) {
  json::object out;
  out["job_id"] = job.id.str();
  out["status"] = status_name(job.state);
  out["gpu_ids"] = job.gpu_ids.empty() ? json::value() : json::value_from(job.gpu_ids);
  out["port"] = job.ports.empty() ? json::value() : json::value(job.ports.front());
  out["server_url"] = job.server_url ? json::value(*job.server_url) : json::value();
  out["created_at"] = local_time(job.submitted_at);
  out["started_at"] = or_null(job.started_at);
  out["completed_at"] = or_null(job.ended_at);
  const auto message = error_message(core, request, job);
  out["error_message"] = message ? json::value(*message) : json::value();
  return out;
}

bool may_act(Core& core, const Request& request, const model::Job& job) {
  return !core.config().compat.auth || request.caller.admin || job.user == request.caller.user;
}

}  // namespace compat

namespace {

namespace json = boost::json;

Response outcome(const model::Job& job, std::string message) {
  return compat::json_response(json::object{
      {"job_id", job.id.str()}, {"status", compat::status_name(job.state)}, {"message", std::move(message)}});
}

Result<model::Job> no_job() {
  return Error{.code = Errc::not_found, .message = "Job not found", .pointer = {}, .type = "no-such-job"};
}

// Unknown ids are answered with 200, as the original does.
Response not_found(const Request& request) {
  return compat::json_response(
      json::object{{"job_id", request.path.at("id")}, {"status", "NOT_FOUND"}, {"message", "Job not found"}});
}

Task<Response> end_job(Core& core, Request& request, bool complete) {
  const auto id = JobId::parse(request.path.at("id"));
  auto job = id ? core.daemon().job(request.caller, *id) : no_job();
  if (!job) co_return not_found(request);
  if (!compat::may_act(core, request, *job)) {
    co_return plain_error(
        403, complete ? "Not authorized to complete this job" : "Not authorized to cancel this job");
  }
  if (model::is_terminal(job->state)) {
    co_return outcome(*job, "Job already in terminal state: " + std::string(compat::status_name(job->state)));
  }
  // The peer's close must be seen meanwhile: what it owns ends with it.
  Wakeup wakeup(core.io());
  request.connection->watch(&wakeup);
  daemon::CancelRequest cancel;
  cancel.by = job->user == request.caller.user ? "owner" : "admin " + request.caller.user;
  cancel.detail = complete ? "complete_job" : "cancel_job";
  cancel.complete = complete;
  auto cancelled = co_await core.daemon().cancel(request.caller, *id, cancel);
  if (!cancelled) co_return compat::error_response(cancelled.error(), {});
  *job = std::move(cancelled->job);
  {
    const StateWatch watch(core.io(), core.daemon(), request.caller, *id, job->state, wakeup);
    while (!model::is_terminal(job->state) && !request.connection->gone() && !core.closing()) {
      co_await wakeup.wait(std::chrono::hours(1));
      auto now = core.daemon().job(request.caller, *id);
      if (!now) co_return not_found(request);
      *job = std::move(*now);
    }
  }
  request.connection->watch(nullptr);
  const bool completed = job->state == model::JobState::completed;
  if (completed && complete) co_return outcome(*job, "Job completed successfully");
  if (job->state == model::JobState::cancelled) co_return outcome(*job, "Job cancelled successfully");
  // It had come to its own end before we got there.
  co_return outcome(*job, "Job already in terminal state: " + std::string(compat::status_name(job->state)));
}

}  // namespace

Task<Response> compat_cancel(Core& core, Request& request) { return end_job(core, request, false); }
Task<Response> compat_complete(Core& core, Request& request) { return end_job(core, request, true); }

Task<Response> compat_status(Core& core, Request& request) {
  const auto id = JobId::parse(request.path.at("id"));
  auto job = id ? core.daemon().job(request.caller, *id) : no_job();
  if (!job) co_return plain_error(404, "Job not found");
  if (!compat::may_act(core, request, *job)) co_return plain_error(403, "Not authorized to view this job");
  core.owners().touched(request.caller, *id, request.connection->number());
  co_return compat::json_response(compat::job_json(core, request, *job));
}

// Sent page by page: the original has no paging, and a user may have a great many jobs.
Task<int> compat_list(Core& core, Request& request) {
  constexpr Duration kStall = std::chrono::seconds(60);
  constexpr int kPage = 200;
  Connection& connection = *request.connection;
  daemon::JobFilter filter;
  filter.oldest_first = true;
  filter.limit = kPage;
  if (core.config().compat.auth && !request.caller.admin) filter.user = request.caller.user;
  auto page = core.daemon().jobs(request.caller, filter);
  if (!page) {
    Response refusal = compat::error_response(page.error(), {});
    const int status = refusal.status;
    co_await connection.send(request, std::move(refusal));
    co_return status;
  }
  Response head{.body = {}};
  const bool begun = co_await connection.begin(request, std::move(head));
  if (!begun) co_return 200;
  std::string text = "{\"jobs\":[";
  bool first = true;
  while (true) {
    for (const model::Job& job : page->items) {
      if (!first) text += ',';
      first = false;
      text += json::serialize(compat::job_json(core, request, job));
    }
    if (!page->next_cursor) break;
    const bool sent = co_await connection.write(request, text, kStall);
    if (!sent) co_return 200;
    text.clear();
    filter.cursor = page->next_cursor;
    page = core.daemon().jobs(request.caller, filter);
    if (!page) {
      connection.close();
      co_return 200;
    }
  }
  text += "]}";
  const bool sent = co_await connection.write(request, text, kStall);
  if (sent) co_await connection.finish(request);
  co_return 200;
}

}  // namespace ebb::server

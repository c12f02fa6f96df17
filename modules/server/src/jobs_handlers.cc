#include <sodium.h>

#include <array>

#include "core.h"
#include "ebb/base/text.h"
#include "ebb/model/json.h"
#include "handlers.h"
#include "parameters.h"

namespace ebb::server {
namespace {

constexpr std::size_t kLongestIdempotencyKey = 255;
constexpr std::size_t kLongestDetail = 200;
constexpr Duration kLongestWait = std::chrono::seconds(60);

template <typename T>
Response ok(const T& value, int status = 200) {
  return Response{.status = status, .body = model::json_text(value)};
}

template <typename T>
Response answer(const Result<T>& result) {
  return result ? ok(*result) : problem(result.error());
}

std::string hash_of(std::string_view text) {
  std::array<unsigned char, crypto_hash_sha256_BYTES> digest{};
  crypto_hash_sha256(digest.data(), reinterpret_cast<const unsigned char*>(text.data()), text.size());
  std::string hex;
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const unsigned char byte : digest) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

Result<std::optional<std::string>> idempotency_key(const Request& request) {
  const auto key = request.header("idempotency-key");
  if (!key) return std::optional<std::string>();
  const bool visible = std::all_of(key->begin(), key->end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (key->empty() || key->size() > kLongestIdempotencyKey || !visible) {
    return Error{.code = Errc::invalid,
                 .message = "Idempotency-Key must have 1 to 255 visible ASCII characters",
                 .pointer = {},
                 .type = {}};
  }
  return std::optional<std::string>(*key);
}

Result<std::vector<model::JobState>> states(const Request& request) {
  std::vector<model::JobState> all;
  for (const auto& [name, value] : request.target.query) {
    if (name != "state") continue;
    for (const std::string_view part : split(value, ',')) {
      auto state = model::enum_from<model::JobState>(part);
      if (!state) {
        return bad_parameter("state", "queued, starting, running, releasing, completed, failed or cancelled");
      }
      all.push_back(*state);
    }
  }
  return all;
}

std::optional<Error> wrong_prefix(const Request& request, std::string_view prefix) {
  constexpr std::size_t kShortest = 4, kLongest = 8;
  const bool digits = prefix.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (!digits || prefix.size() < kShortest || prefix.size() > kLongest) {
    return bad_parameter("id", "4 to 8 digits of 0-9 a-f are needed, with which the id begins");
  }
  for (const auto& [name, value] : request.target.query) {
    if (name != "id" && name != "limit") return bad_parameter(name, "id goes with limit alone");
  }
  return std::nullopt;
}

Result<daemon::JobFilter> filter_of(const Request& request) {
  constexpr std::int64_t kMostItems = 1000;
  daemon::JobFilter filter;
  auto wanted = states(request);
  if (!wanted) return wanted.error();
  filter.states = std::move(*wanted);
  filter.user = text_parameter(request, "user");
  auto mine = flag_parameter(request, "mine");
  if (!mine) return mine.error();
  if (*mine && filter.user) return bad_parameter("mine", "user and mine exclude each other");
  if (*mine) filter.user = request.caller.user;
  filter.group = text_parameter(request, "group");
  filter.name = text_parameter(request, "name");
  filter.cursor = text_parameter(request, "cursor");
  if (const auto since = request.query("since")) {
    filter.since = parse_time(*since);
    if (!filter.since) return bad_parameter("since", "an RFC 3339 time is needed, as 2026-11-23T22:59:38Z");
  }
  auto limit = integer_parameter(request, "limit", filter.limit, 1, kMostItems);
  if (!limit) return limit.error();
  filter.limit = static_cast<int>(*limit);
  return filter;
}

}  // namespace

Task<Response> post_job(Core& core, Request& request) {
  auto key = idempotency_key(request);
  if (!key) co_return problem(key.error());
  auto body = model::from_json_text<model::JobRequest>(request.body, {.bytes = core.max_body()});
  if (!body) co_return problem(body.error());
  daemon::Submission submission;
  submission.request = std::move(*body);
  submission.idempotency_key = std::move(*key);
  if (submission.idempotency_key) submission.body_hash = hash_of(request.body);
  auto submitted = co_await core.daemon().submit(request.caller, std::move(submission));
  if (!submitted) co_return problem(submitted.error());
  Response response = ok(submitted->job, 201);
  response.headers.emplace_back("Location", "/v1/jobs/" + submitted->job.id.str());
  if (submitted->replayed) response.headers.emplace_back("Idempotent-Replayed", "true");
  co_return response;
}

Task<Response> get_jobs(Core& core, Request& request) {
  auto filter = filter_of(request);
  if (!filter) co_return problem(filter.error());
  if (const auto prefix = request.query("id")) {
    if (const auto wrong = wrong_prefix(request, *prefix)) co_return problem(*wrong);
    co_return answer(core.daemon().with_prefix(request.caller, *prefix, filter->limit));
  }
  co_return answer(core.daemon().jobs(request.caller, *filter));
}

Task<Response> get_job(Core& core, Request& request) {
  auto id = job_id(request);
  if (!id) co_return problem(id.error());
  co_return answer(core.daemon().job(request.caller, *id));
}

Task<Response> delete_job(Core& core, Request& request) {
  auto id = job_id(request);
  if (!id) co_return problem(id.error());
  daemon::CancelRequest cancel;
  auto wait = duration_parameter(request, "wait", Duration(0));
  if (!wait) co_return problem(wait.error());
  if (*wait > kLongestWait) co_return problem(bad_parameter("wait", "at most 60s"));
  cancel.wait = *wait;
  if (request.query("grace")) {
    auto grace = duration_parameter(request, "grace", Duration(0));
    if (!grace) co_return problem(grace.error());
    cancel.grace = *grace;
  }
  cancel.detail = printable(text_parameter(request, "detail").value_or("")).substr(0, kLongestDetail);
  auto job = core.daemon().job(request.caller, *id);
  if (!job) co_return problem(job.error());
  cancel.by = job->user == request.caller.user ? "owner" : "admin " + request.caller.user;
  auto cancelled = co_await core.daemon().cancel(request.caller, *id, std::move(cancel));
  if (!cancelled) co_return problem(cancelled.error());
  if (cancelled->report) co_return ok(*cancelled->report);
  co_return ok(cancelled->job, 202);
}

Task<Response> get_report(Core& core, Request& request) {
  auto id = job_id(request);
  if (!id) co_return problem(id.error());
  co_return answer(core.daemon().report(request.caller, *id));
}

Task<Response> get_why(Core& core, Request& request) {
  auto id = job_id(request);
  if (!id) co_return problem(id.error());
  co_return answer(core.daemon().why(request.caller, *id));
}

}  // namespace ebb::server

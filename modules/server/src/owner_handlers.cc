#include <algorithm>
#include <boost/json.hpp>

#include "core.h"
#include "ebb/base/units.h"
#include "ebb/model/json.h"
#include "handlers.h"
#include "parameters.h"
#include "state_watch.h"

namespace ebb::server {
namespace {

using std::chrono::milliseconds;

// A queue moves thousands of times a second; a person wants to see it once.
constexpr Duration kPositionEvery = std::chrono::seconds(1);

std::string event_text(std::string_view name, const std::string& data) {
  return "event: " + std::string(name) + "\ndata: " + data + "\n\n";
}

// One owner's stream. Two clocks: pings every quarter of the lease, and the time since the last proof of
// life.
class OwnerStream {
 public:
  OwnerStream(Core& core, Request& request, JobId id, Duration lease, bool acks)
      : core_(core),
        request_(request),
        connection_(*request.connection),
        id_(id),
        lease_(lease),
        acks_(acks) {}

  Task<void> run(model::Job job, std::unique_ptr<daemon::OwnerHold> hold) {
    Wakeup wakeup(core_.io());
    connection_.watch(&wakeup, acks_);
    connection_.limit_silence(lease_);
    hold_ = std::move(hold);
    if (hold_) hold_->renew();
    alive_ = BootClock::now();
    next_ping_ = alive_ + lease_ / 4;
    const StateWatch watch(core_.io(), core_.daemon(), request_.caller, id_, job.state, wakeup);
    bool good = co_await send_job(job);
    while (good && !model::is_terminal(job.state)) {
      co_await wakeup.wait(next_step(job) - BootClock::now());
      if (connection_.gone() || core_.closing()) break;
      take_life_signs();
      auto now = core_.daemon().job(request_.caller, id_);
      if (!now) break;
      const bool news = now->state != job.state || (moved(*now) && BootClock::now() >= next_position_);
      job = std::move(*now);
      if (news) good = co_await send_job(job);
      if (good && BootClock::now() >= next_ping_ && !model::is_terminal(job.state)) good = co_await ping();
    }
    connection_.watch(nullptr);
    if (!good || !model::is_terminal(job.state)) {
      hold_.reset();  // the stream breaks off: the lease begins to run
      connection_.close();
      co_return;
    }
    auto report = core_.daemon().report(request_.caller, id_);
    if (report) {
      const std::string text = event_text("report", model::json_text(*report));
      const bool sent = co_await connection_.write(request_, text, lease_);
      if (!sent) co_return;
    }
    co_await connection_.finish(request_);
  }

 private:
  [[nodiscard]] bool moved(const model::Job& job) const { return job.position != position_; }

  // While queued the position is looked at once a second: nothing tells of a change, since one submission
  // changes the positions of thousands of jobs.
  [[nodiscard]] BootTime next_step(const model::Job& job) const {
    BootTime next = next_ping_;
    if (hold_) next = std::min(next, alive_ + lease_ / 2 + milliseconds(1));
    if (job.state == model::JobState::queued) {
      next = std::min(next, std::max(next_position_, BootClock::now() + milliseconds(1)));
    }
    return next;
  }

  void take_life_signs() {
    const BootTime now = BootClock::now();
    const bool sign = acks_ ? connection_.take_acks() > 0 : now >= next_ping_ && connection_.drained();
    if (sign) {
      alive_ = now;
      if (!hold_) {
        if (auto again = core_.daemon().hold(request_.caller, id_)) hold_ = std::move(*again);
      }
      if (hold_) hold_->renew();
    } else if (hold_ && now - alive_ > lease_ / 2) {
      hold_.reset();
    }
  }

  Task<bool> send_job(const model::Job& job) {
    position_ = job.position;
    next_position_ = BootClock::now() + kPositionEvery;
    const std::string text = event_text("job", model::json_text(job));
    co_return co_await connection_.write(request_, text, lease_);
  }

  Task<bool> ping() {
    next_ping_ = BootClock::now() + lease_ / 4;
    const std::string text = event_text("ping", "{}");
    co_return co_await connection_.write(request_, text, lease_);
  }

  Core& core_;
  Request& request_;
  Connection& connection_;
  JobId id_;
  Duration lease_;
  bool acks_;
  std::unique_ptr<daemon::OwnerHold> hold_;
  BootTime alive_{};
  BootTime next_ping_{};
  BootTime next_position_{};
  std::optional<std::int64_t> position_;
};

struct Opening {
  model::Job job;
  std::unique_ptr<daemon::OwnerHold> hold;  ///< none: the job has ended
};

Result<Opening> open_stream(Core& core, const Request& request, JobId id) {
  auto job = core.daemon().job(request.caller, id);
  if (!job) return job.error();
  Opening opening{.job = std::move(*job), .hold = nullptr};
  if (model::is_terminal(opening.job.state)) return opening;
  auto hold = core.daemon().hold(request.caller, id);
  if (hold) {
    opening.hold = std::move(*hold);
    return opening;
  }
  // It may have ended just now, and its end may still be on the way to the disk: then there is nothing to
  // hold any longer, but the stream waits for that end and tells it. Anything else is the caller's to know.
  if (hold.error().type == "ended") return opening;
  return hold.error();
}

}  // namespace

Task<int> get_owner(Core& core, Request& request) {
  Connection& connection = *request.connection;
  auto id = job_id(request);
  auto acks = flag_parameter(request, "acks");
  Result<Opening> opening = !id     ? Result<Opening>(id.error())
                            : !acks ? Result<Opening>(acks.error())
                                    : open_stream(core, request, *id);
  if (!opening) {
    Response refusal = problem(opening.error());
    const int status = refusal.status;
    co_await connection.send(request, std::move(refusal));
    co_return status;
  }
  const Duration lease = from_seconds(opening->job.owner ? opening->job.owner->lease_s : 15.0);
  Response head{.content_type = "text/event-stream", .body = {}};
  const bool begun = co_await connection.begin(request, std::move(head));
  if (!begun) co_return 200;
  OwnerStream stream(core, request, *id, std::max(lease, Duration(std::chrono::seconds(1))), *acks);
  co_await stream.run(std::move(opening->job), std::move(opening->hold));
  co_return 200;
}

Task<Response> post_owner(Core& core, Request& request) {
  auto id = job_id(request);
  if (!id) co_return problem(id.error());
  auto body = model::parse_json(request.body, {.bytes = core.max_body()});
  if (!body) co_return problem(body.error());
  const auto* object = body->if_object();
  const auto* suspended = object != nullptr ? object->if_contains("suspended") : nullptr;
  if (suspended == nullptr || !suspended->is_bool() || object->size() != 1) {
    co_return problem(Error{.code = Errc::invalid,
                            .message = "the body must be {\"suspended\":true} or {\"suspended\":false}",
                            .pointer = "/suspended",
                            .type = {}});
  }
  auto done = core.daemon().suspend_owner(request.caller, *id, suspended->get_bool());
  if (!done) co_return problem(done.error());
  auto job = core.daemon().job(request.caller, *id);
  if (!job) co_return problem(job.error());
  co_return Response{.body = model::json_text(*job)};
}

}  // namespace ebb::server

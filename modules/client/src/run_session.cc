#include "ebb/client/run_session.h"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <exception>
#include <utility>

#include "ebb/base/ids.h"
#include "ebb/base/text.h"
#include "ebb/base/units.h"
#include "ebb/client/client.h"
#include "ebb/client/command_line.h"
#include "ebb/lifecycle/signals.h"
#include "log_copy.h"
#include "owner_stream.h"
#include "run_words.h"
#include "sidecar_set.h"
#include "signal_watch.h"

namespace ebb::client {
namespace asio = boost::asio;

namespace {

constexpr int kServerLost = 125;
constexpr Duration kServerFound = std::chrono::seconds(5);
constexpr Duration kSubmitDeadline = std::chrono::seconds(30);

// One `ebb run`, from its first side process to its last line. live() is its state machine:
//   preparing    side processes start and become ready
//   submitting   the request is under way
//   following    the job exists; its owner's stream and its log are read (or the server is sought)
//   cancelling   a signal came, or nobody reads our output: the job was asked to end
//   ending       the job is released, or given up: the last output, then the side processes
// The parts (SidecarSet, OwnerStream, LogCopy, SignalWatch) each run beside it and ring when they changed.
class RunSession {
 public:
  RunSession(asio::io_context& io, RunOptions options)
      : options_(std::move(options)),
        context_(io),
        out_(io, STDOUT_FILENO,
             [this](int error) {
               write_error_ = error;
               signals_.pretend(SIGPIPE);
             }),
        err_(io, STDERR_FILENO, nullptr),
        signals_(context_),
        sidecars_(context_) {
    context_.endpoints = options_.candidates;
    context_.key = options_.key;
    context_.say = [this](std::string_view text) {
      if (!options_.quiet) err_.write("ebb: " + printable(text) + '\n');
    };
  }

  Task<void> live(RunEnd& end) {
    if (auto watching = signals_.start(); !watching) {
      complain(watching.error());
      end.status = 1;
      co_return;
    }
    signals_.on_stop = [this] { return suspend_owner(true); };
    signals_.on_continue = [this] { return suspend_owner(false); };
    end = co_await run();
    // Nobody may keep us from stopping the side processes, so this comes before the last of the output.
    co_await sidecars_.stop();
    co_await flush(out_);
    co_await flush(err_);
    if (signals_.received()) end = {.status = 128 + signals_.received(), .signal = signals_.received()};
    context_.io.stop();
  }

 private:
  Task<RunEnd> run() {
    if (auto prepared = co_await prepare(); !prepared) co_return refused(prepared.error());
    if (signals_.received()) {
      context_.say(lifecycle::signal_name(signals_.received()) + ": there is no job yet");
      co_return RunEnd{};
    }
    auto submitted = co_await submit();
    if (!submitted) co_return refused(submitted.error());
    co_return co_await follow(std::move(*submitted));
  }

  RunEnd refused(const Error& error) {
    complain(error);
    return {.status = submission_exit_status(error), .signal = 0};
  }

  // -q silences what goes well, not this.
  void complain(const Error& error) { err_.write("ebb: " + printable(error.message) + '\n'); }

  Task<Result<void>> prepare() {
    if (!options_.sidecars.empty()) {
      // They may take minutes to come up: that there is nobody to give the job to is said before.
      const auto connection = co_await context_.connect(kServerFound);
      if (!connection) co_return connection.error();
      context_.endpoints = {connection->endpoint()};
    }
    if (auto started = sidecars_.start(options_.sidecars, options_.expand, options_.keeper); !started) {
      co_return started.error();
    }
    while (!signals_.received() && !sidecars_.up()) {
      if (const auto failure = sidecars_.failure()) co_return *failure;
      co_await context_.changed.wait();
    }
    if (!options_.expand) co_return Result<void>();
    co_return put_sidecar_urls(options_.request, sidecars_.urls());
  }

  struct Submitted {
    model::Job job;
    Connection connection;
  };

  // Interrupted meanwhile, it still waits for the answer for a while: only then can the job be cancelled.
  Task<Result<Submitted>> submit() {
    submitting_ = true;
    asio::co_spawn(context_.io, post(), [this](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
      context_.changed.ring();
    });
    std::optional<BootTime> limit;
    while (!answer_) {
      if (signals_.received() && !limit) {
        limit = BootClock::now() + kCancelLimit;
        context_.say(lifecycle::signal_name(signals_.received()) +
                     ": waiting for the server to say whether there is a job (Ctrl+C again: leave now)");
      }
      if (limit && BootClock::now() >= *limit) {
        co_return Error{
            .code = Errc::timeout,
            .message = "the server does not answer; the job, if there is one, ends with this process",
            .pointer = {},
            .type = {}};
      }
      co_await context_.changed.wait(limit.value_or(BootClock::now() + kSubmitDeadline));
    }
    co_return std::move(*answer_);
  }

  Task<void> post() {
    const Request request{.method = "POST",
                          .target = "/v1/jobs",
                          .body = model::json_text(options_.request),
                          .headers = {{"Idempotency-Key", random_hex(16)}}};
    // A connection that breaks before the answer leaves open whether there is a job: the same key asks again,
    // and the server is sought as that of a job would be.
    std::optional<BootTime> sought_until;
    Backoff backoff;
    for (;;) {
      auto connection = co_await context_.connect(kServerFound);
      if (!connection && (!sought_until || BootClock::now() >= *sought_until)) {
        answer_.emplace(connection.error());
        co_return;
      }
      if (!connection) {
        co_await rest(context_.io, backoff.next());
        continue;
      }
      context_.endpoints = {connection->endpoint()};
      const auto response = co_await connection->exchange(request, kSubmitDeadline);
      if (!response && response.error().code == Errc::unavailable) {
        if (!sought_until) sought_until = BootClock::now() + kServerSought;
        if (BootClock::now() < *sought_until) {
          co_await rest(context_.io, backoff.next());
          continue;
        }
      }
      answer_.emplace(read_submission(response, std::move(*connection)));
      if (*answer_) id_ = (*answer_)->job.id.str();
      co_return;
    }
  }

  static Result<Submitted> read_submission(const Result<Response>& response, Connection connection) {
    if (!response) return response.error();
    if (!response->ok()) return in_option_words(error_of(*response));
    auto job = Client::parse_answer<model::Job>(response->body);
    if (!job) return job.error();
    return Submitted{.job = std::move(*job), .connection = std::move(connection)};
  }

  Task<RunEnd> follow(Submitted submitted) {
    if (const std::string warning = memory_warning(submitted.job); !warning.empty()) context_.say(warning);
    const bool local = context_.endpoints.front().kind == Endpoint::Kind::socket;
    const double lease = submitted.job.owner ? submitted.job.owner->lease_s : 15;
    // Pings come each quarter of the lease.
    const Duration silence = std::max(from_seconds(lease / 2), Duration(std::chrono::seconds(2)));
    OwnerStream& owner = owner_.emplace(context_, id_, silence, local ? kServerSought : from_seconds(lease));
    LogCopy& log = log_.emplace(context_, id_, out_, err_);
    owner.on_back = [&log] { log.connect_again(); };
    owner.on_job = [this](const model::Job& job) {
      progress_.show(job, BootClock::now(), context_.say);
      const bool place_said =
          job.state > model::JobState::starting || (job.state == model::JobState::starting && job.spec.ready);
      // Asked for as soon as there is one, so that its end is here when the job's is.
      if (job.state >= model::JobState::starting) read_log();
      if (place_said) log_->show();
      context_.changed.ring();
    };
    spawn(owner.follow(std::move(submitted.connection)));

    std::optional<BootTime> leave;  // interrupted: when to go without an answer
    while (!owner.report() && !owner.error()) {
      sidecars_.say_ended();
      if (!cancelling_) progress_.say_place(BootClock::now(), context_.say);
      if (signals_.received() && !cancelling_) begin_cancel();
      const bool unheard = cancelling_ && (!cancel_answered_ || owner.lost_since());
      if (!unheard) leave.reset();
      if (unheard && !leave) leave = BootClock::now() + kCancelLimit;
      if (leave && BootClock::now() >= *leave) {
        context_.say("the server does not answer; it, or the job's keeper, ends " + id_ +
                     " when it sees that this process has gone");
        co_return RunEnd{};
      }
      if (!cancelling_ && owner.lost_since() && BootClock::now() >= *owner.lost_since() + owner.sought()) {
        complain({.code = Errc::unavailable,
                  .message = "the server did not come back; the job has ended, or ends, without it",
                  .pointer = {},
                  .type = {}});
        co_return RunEnd{.status = kServerLost, .signal = 0};
      }
      BootTime wake = leave.value_or(BootClock::now() + std::chrono::hours(1));
      if (const auto due = progress_.due(); due && !cancelling_) wake = std::min(wake, *due);
      if (owner.lost_since()) wake = std::min(wake, *owner.lost_since() + owner.sought());
      co_await context_.changed.wait(wake);
    }
    if (!owner.report()) {
      complain(*owner.error());
      co_return RunEnd{.status = kServerLost, .signal = 0};
    }
    co_await finish_output(*owner.report(), log);
    co_return tell_end(*owner.report());
  }

  // Where the job runs is said before its first line is shown.
  void read_log() {
    if (!std::exchange(reads_log_, true)) spawn(log_->copy());
  }

  Task<void> finish_output(const model::Report& report, LogCopy& log) {
    log.job_is_over();
    if (report.attempt == 0) co_return;  // it never ran, so it has no output
    log.show();
    read_log();
    // Without an interruption as long as the log takes; interrupted, the end may be cut.
    std::optional<BootTime> limit;
    while (!log.done()) {
      if (signals_.received() && !limit) limit = BootClock::now() + std::chrono::seconds(2);
      if (limit && BootClock::now() >= *limit) co_return;
      co_await context_.changed.wait(limit.value_or(BootClock::now() + std::chrono::hours(1)));
    }
    if (log.error()) complain(*log.error());
  }

  RunEnd tell_end(const model::Report& report) {
    if (const std::string why = end_words(report); !why.empty() && !cancelling_) context_.say(why);
    context_.say(model::one_line(report));
    return {.status = model::exit_status(report.reason.kind, report.exit, report.reason.detail), .signal = 0};
  }

  void begin_cancel() {
    cancelling_ = true;
    const std::string name = lifecycle::signal_name(signals_.received());
    if (!signals_.pretended()) {
      context_.say(name + ": cancelling " + id_ + " (Ctrl+C again: leave now, the daemon goes on releasing)");
    } else if (write_error_ == EPIPE) {
      context_.say("nobody reads the output any more: cancelling " + id_);
    } else {
      complain(errno_error(write_error_, "cannot write the output"));
      context_.say("cancelling " + id_);
    }
    spawn(cancel(name));
  }

  Task<void> cancel(std::string detail) {
    Backoff backoff;
    while (!cancel_answered_) {
      auto connection = co_await context_.connect(kCancelLimit);
      if (connection) {
        Request request{.method = "DELETE", .target = "/v1/jobs/" + id_ + "?detail=" + detail};
        const auto response = co_await connection->exchange(std::move(request), kCancelLimit);
        // A refusal is an answer too: the owner's stream then tells what became of the job.
        cancel_answered_ = bool(response);
      }
      if (!cancel_answered_) co_await rest(context_.io, backoff.next());
    }
    context_.changed.ring();
  }

  // Whether it is known if there is a job, and the daemon knows whose. A stop that is told before would be
  // undone by the owner's stream.
  [[nodiscard]] bool settled() const {
    if (!submitting_) return true;
    if (!answer_) return false;
    return id_.empty() || (owner_ && owner_->settled());
  }

  Task<void> suspend_owner(bool suspended) {
    constexpr auto kDeadline = std::chrono::seconds(2);
    if (suspended && submitting_ && !answer_) {
      context_.say(
          "SIGTSTP: waiting for the server to say whether there is a job, to tell it (Ctrl+Z again: stop "
          "now)");
    }
    while (suspended && !settled() && !signals_.received() && signals_.stopping()) {
      co_await context_.changed.wait();
    }
    if (id_.empty()) co_return;
    auto connection = co_await context_.connect(kDeadline);
    if (!connection) co_return;  // then the lease runs out, as it would after SIGSTOP
    Request request{.method = "POST",
                    .target = "/v1/jobs/" + id_ + "/owner",
                    .body = suspended ? R"({"suspended":true})" : R"({"suspended":false})"};
    (void)co_await connection->exchange(std::move(request), kDeadline);
  }

  // Without an interruption for as long as the reader takes; interrupted, the end may be cut.
  Task<void> flush(Output& output) {
    bool& drained = drained_.emplace_back(false);
    spawn(drain(output, drained));
    std::optional<BootTime> limit;
    while (!drained) {
      if (signals_.received() && !limit) limit = BootClock::now() + std::chrono::seconds(2);
      if (limit && BootClock::now() >= *limit) co_return;
      co_await context_.changed.wait(limit.value_or(BootClock::now() + std::chrono::hours(1)));
    }
  }

  Task<void> drain(Output& output, bool& drained) {
    co_await output.drain(0);
    drained = true;
    context_.changed.ring();
  }

  void spawn(Task<void> task) {
    asio::co_spawn(context_.io, std::move(task), [](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
    });
  }

  RunOptions options_;
  RunContext context_;
  Output out_;
  Output err_;
  SignalWatch signals_;
  SidecarSet sidecars_;
  Progress progress_;
  // Members, not locals of live(): their coroutines go on while the side processes are stopped.
  std::optional<Result<Submitted>> answer_;
  std::optional<OwnerStream> owner_;
  std::optional<LogCopy> log_;
  std::deque<bool> drained_;
  std::string id_;
  int write_error_ = 0;
  bool reads_log_ = false;
  bool submitting_ = false;  // or the answer has come
  bool cancelling_ = false;
  bool cancel_answered_ = false;
};

}  // namespace

RunEnd run_job(RunOptions options) {
  RunEnd end{.status = kServerLost, .signal = 0};
  asio::io_context io(1);
  try {
    // Destroyed before the loop: coroutines that still wait hold nothing of it that their own end touches.
    RunSession session(io, std::move(options));
    asio::co_spawn(io, session.live(end), [](const std::exception_ptr& failure) {
      if (failure) std::rethrow_exception(failure);
    });
    io.run();
  } catch (const std::exception& error) {
    // Side processes end with the session's connections, the job by the daemon's owner rule.
    std::fprintf(stderr, "ebb: a defect of ebb run: %s\n", error.what());
  }
  return end;
}

}  // namespace ebb::client

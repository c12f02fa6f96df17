#include "play.h"

#include <signal.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>

#include "ebb/process/proc.h"
#include "server_option.h"
#include "stage.h"

namespace ebb::cli {
namespace {

using namespace std::chrono_literals;
using model::StopKind;

constexpr Duration kEndLimit = 30s;

enum class Who { client, daemon, keeper, init, leader };
enum class Then {
  ends,       ///< the job ends by it
  restart,    ///< the daemon is started again, and finishes the end
  goes_on,    ///< likewise, and the job has gone on; then Ctrl+C ends it
  interrupt,  ///< Ctrl+C follows at once
};

struct Case {
  const char* what;
  std::vector<Who> who;
  int signal;
  Then then;
  StopKind reason;  ///< that the report must give
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"Ctrl+C", {Who::client}, SIGINT, Then::ends, StopKind::cancelled},
      {"client killed", {Who::client}, SIGKILL, Then::ends, StopKind::owner_lost},
      {"job's first process killed", {Who::leader}, SIGKILL, Then::ends, StopKind::failed},
      {"namespace's init killed", {Who::init}, SIGKILL, Then::ends, StopKind::failed},
      {"keeper killed", {Who::keeper}, SIGKILL, Then::ends, StopKind::keeper_lost},
      {"keeper stopped, then Ctrl+C", {Who::keeper}, SIGSTOP, Then::interrupt, StopKind::keeper_lost},
      {"daemon killed, then Ctrl+C", {Who::daemon}, SIGKILL, Then::goes_on, StopKind::cancelled},
      {"daemon, client killed", {Who::daemon, Who::client}, SIGKILL, Then::restart, StopKind::owner_lost},
      {"daemon, keeper killed", {Who::daemon, Who::keeper}, SIGKILL, Then::restart, StopKind::keeper_lost},
      {"all of these killed",
       {Who::daemon, Who::client, Who::keeper, Who::leader},
       SIGKILL,
       Then::restart,
       StopKind::keeper_lost},
      {"daemon told to end", {Who::daemon}, SIGTERM, Then::restart, StopKind::daemon_stopped},
  };
  return all;
}

struct Outcome {
  model::Report report;
  double gone_ms = 0;      ///< until the last of its processes had exited
  double released_ms = 0;  ///< until its report
  double next_ms = 0;      ///< until the job that waited for it had run
  std::vector<std::string> wrong;
};

double ms_since(BootTime start) { return static_cast<double>((BootClock::now() - start).count()) / 1000; }

void strike(const Case& what, Stage& stage, const Stage::Job& job) {
  for (const Who who : what.who) {
    if (who == Who::client) job.client.signal(what.signal);
    if (who == Who::daemon) stage.daemon().signal(what.signal);
    if (who == Who::keeper) ::kill(job.keeper, what.signal);
    if (who == Who::leader) ::kill(job.leader, what.signal);
    if (who == Who::init) ::kill(job.init, what.signal);
  }
}

// Nothing where there is nothing to strike: a job without a PID namespace has no init.
Result<std::optional<Outcome>> play(const Case& what, Stage& stage) {
  auto started = stage.start_job();
  if (!started) return started.error();
  Stage::Job& job = *started;
  const bool has_victim = job.init != 0 || std::ranges::find(what.who, Who::init) == what.who.end();
  Outcome outcome;
  const auto wrong = [&](std::string text) { outcome.wrong.push_back(std::move(text)); };

  BootTime start = BootClock::now();
  WallTime wall = system_clock().wall();
  if (has_victim) strike(what, stage, job);
  if (what.then == Then::restart || what.then == Then::goes_on) {
    if (!stage.daemon().wait(kEndLimit)) wrong("the daemon did not end");
    if (auto again = stage.start_daemon(); !again) return again.error();
  }
  if (what.then == Then::goes_on && !std::ranges::all_of(job.processes, [](const UniqueFd& one) {
        return process::pidfd_alive(one.get());
      })) {
    wrong("the job ended with the daemon");
  }
  if (what.then == Then::goes_on || what.then == Then::interrupt || !has_victim) {
    start = BootClock::now();
    wall = system_clock().wall();
    job.client.signal(SIGINT);
  }

  if (!wait_for_all(job.processes, start + kEndLimit)) wrong("processes of the job live");
  outcome.gone_ms = ms_since(start);
  const auto next = stage.wait_for_next(job, kEndLimit);
  if (!next) return next.error();
  outcome.next_ms = ms_since(start);
  if (!*next) wrong("the job that waited was not started");
  if (!job.client.wait(kEndLimit)) wrong("the client did not end");
  if (!has_victim) return std::optional<Outcome>();

  auto report = stage.report(job);
  if (!report) return report.error();
  outcome.report = std::move(*report);
  outcome.released_ms = static_cast<double>((outcome.report.released_at - wall).count()) / 1000;
  if (outcome.report.reason.kind != what.reason)
    wrong("the report should say " + std::string(model::name_of(what.reason)));
  if (!outcome.report.complete) wrong("not everything was released: " + model::one_line(outcome.report));
  const auto left = stage.leftovers(job);
  if (!left) return left.error();
  outcome.wrong.insert(outcome.wrong.end(), left->begin(), left->end());
  return std::optional(std::move(outcome));
}

// ---- what is printed

std::string padded(std::string text, std::size_t width, bool left = true) {
  const std::string blanks(text.size() < width ? width - text.size() : 0, ' ');
  return left ? text + blanks : blanks + text;
}

std::string row(const std::string& what, const std::string& reason, const std::string& gone,
                const std::string& released, const std::string& next, const std::string& left) {
  return padded(what, 29) + padded(reason, 16) + padded(gone, 10, false) + padded(released, 12, false) +
         padded(next, 11, false) + "   " + left + "\n";
}

std::string ms(double value) { return std::to_string(std::lround(value)) + " ms"; }

int say_outcome(const Case& what, const Outcome& outcome, bool json) {
  const std::string reason(model::name_of(outcome.report.reason.kind));
  if (json) {
    return print_json(boost::json::serialize(
        boost::json::object{{"killed", what.what},
                            {"reason", reason},
                            {"complete", outcome.report.complete},
                            {"gone_ms", outcome.gone_ms},
                            {"released_ms", outcome.released_ms},
                            {"next_ms", outcome.next_ms},
                            {"left", boost::json::array(outcome.wrong.begin(), outcome.wrong.end())}}));
  }
  std::string text = row(what.what, reason, ms(outcome.gone_ms), ms(outcome.released_ms), ms(outcome.next_ms),
                         outcome.wrong.empty() ? "nothing" : std::to_string(outcome.wrong.size()));
  for (const std::string& one : outcome.wrong) text += "    " + one + '\n';
  return print(text);
}

}  // namespace

int play_all(const std::filesystem::path& folder, bool json) {
  Stage stage(folder);
  if (auto started = stage.start_daemon(); !started) return fail(started.error());
  if (!json) {
    (void)print(
        "A daemon of its own with two declared GPUs. Each line: a job of three processes has both and a "
        "port; "
        "one\nignores SIGTERM and listens on the port, one left its session. Its grace period is 200 "
        "ms.\n\n" +
        row("what happens", "ended as", "all gone", "released", "next ran", "left"));
  }
  std::size_t wrong = 0, count = 0;
  double worst = 0;
  for (const Case& what : cases()) {
    const auto outcome = play(what, stage);
    if (!outcome) return fail(outcome.error());
    if (!*outcome) continue;
    if (const int status = say_outcome(what, **outcome, json); status != kDone) return status;
    ++count;
    wrong += (*outcome)->wrong.size();
    worst = std::max(worst, (*outcome)->released_ms);
  }
  stage.daemon().signal(SIGTERM);
  if (!stage.daemon().wait(kEndLimit)) return say("the daemon does not end"), kRefused;
  const auto left = stage.leftovers_without_daemon();
  if (!left) return fail(left.error());
  wrong += left->size();
  const std::string result =
      std::to_string(count) +
      " ends: " + (wrong == 0 ? "nothing was left" : std::to_string(wrong) + " things were wrong") +
      "; the slowest release took " + ms(worst);
  if (json) {
    print_json(boost::json::serialize(
        boost::json::object{{"id", "prove"}, {"ends", count}, {"wrong", wrong}, {"worst_ms", worst}}));
  } else {
    (void)print('\n' + result +
                ".\nA keeper that does not answer is given 5 s. 'tests/faults/run' of the sources kills "
                "more, at more moments.\n");
  }
  return wrong == 0 ? kDone : kRefused;
}

}  // namespace ebb::cli

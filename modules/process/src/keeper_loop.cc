#include "keeper_loop.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "ebb/base/files.h"
#include "ebb/process/leader_note.h"

namespace ebb::process {
namespace {

// What the rest of a tree gets when its leader ended by itself, from TERM to kill.
constexpr Duration kOrphanGrace = std::chrono::seconds(2);
// How long a daemon may read nothing at least: as long as it waits for a keeper's answer.
constexpr Duration kLeastSilence = std::chrono::seconds(5);
constexpr int kSilentLooks = 4;

}  // namespace

Result<void> Keeper::start() {
  if (auto listening = endpoint_.listen(folder_.get()); !listening) return listening;
  auto ends = output_.open(spec_);
  if (!ends) return std::move(ends).error();
  UniqueFd note;
  if (spec_.share_ipc && tree_.uses_children()) note = open_leader_note(folder_.get());
  return tree_.start(std::move(ends->out), std::move(ends->err), std::move(note));
}

int Keeper::run() {
  record_.label = spec_.label;
  record_.boot_id = boot_id();
  record_.tier = tier_text(spec_.tiers);
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGTERM);
  if (tree_.uses_children()) sigaddset(&watched, SIGCHLD);
  signals_.reset(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));

  if (auto started = start(); !started) start_failed({.exit_code = 125, .message = started.error().message});
  while (!acknowledged_) wait_for_events();
  return 0;
}

std::optional<BootTime> Keeper::next_deadline() const {
  std::optional<BootTime> next;
  const auto consider = [&](std::optional<BootTime> time) {
    if (time && (!next || *time < *next)) next = time;
  };
  if (const auto* starting = std::get_if<Starting>(&state_)) consider(starting->kill_at);
  if (const auto* running = std::get_if<Running>(&state_)) consider(running->time_limit);
  if (const auto* terminating = std::get_if<Terminating>(&state_)) consider(terminating->kill_at);
  if (const auto* killing = std::get_if<Killing>(&state_)) consider(killing->give_up_at);
  if (alone_since_ && spec_.daemon_gone && !ending()) consider(*alone_since_ + *spec_.daemon_gone);
  consider(next_look_);
  return next;
}

void Keeper::poll_once(std::optional<BootTime> deadline) {
  polls_.clear();
  polls_.push_back({.fd = signals_.get(), .events = POLLIN, .revents = 0});
  if (owner_ && !owner_gone_) polls_.push_back({.fd = owner_.get(), .events = POLLIN, .revents = 0});
  const bool watches_owner = polls_.size() == 2;
  endpoint_.add_polls(polls_);
  output_.add_polls(polls_);
  tree_.add_polls(polls_);
  int timeout = -1;
  if (deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - BootClock::now()).count();
    timeout = static_cast<int>(std::clamp<long long>(left, 0, 3'600'000));
  }
  ::poll(polls_.data(), polls_.size(), timeout);
  signals_ready_ = polls_[0].revents != 0;
  if (watches_owner && polls_[1].revents != 0) owner_gone_ = true;
}

void Keeper::wait_for_events() {
  poll_once(next_deadline());
  if (signals_ready_) take_signals();
  const Ready ready(polls_);
  output_.read(ready);
  take_commands(ready);
  take_news(ready);
  watch_daemon();
  advance();
}

void Keeper::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) > 0) {
    if (info.ssi_signo == SIGTERM) request_end(EndCause::keeper_ended, spec_.grace, {});
  }
}

void Keeper::answer(std::size_t from, const Hello& hello) {
  Welcome welcome;
  welcome.label = spec_.label;
  welcome.keeper_pid = ::getpid();
  welcome.leader_pid = record_.leader_exited ? 0 : leader_;
  welcome.init_pid = tree_.init_pid();
  welcome.cgroup = spec_.tiers.cgroup ? spec_.cgroup : "";
  welcome.tier = record_.tier;
  welcome.started = record_.started;
  welcome.phase = in<Starting>()               ? KeeperPhase::starting
                  : in<Running>()              ? KeeperPhase::running
                  : in<AtEnd>() || in<Stuck>() ? KeeperPhase::ended
                                               : KeeperPhase::ending;
  endpoint_.reply(from, welcome);
  // One of another version gets no more than that: it cannot read what would follow.
  if (hello.version == kKeeperProtocolVersion && welcome.phase == KeeperPhase::ended) {
    endpoint_.reply(from, Ended{record_});
  }
}

void Keeper::take(const Stop& stop) { request_end(EndCause::stop, stop.grace, stop.reason); }
void Keeper::take(const Kill& kill) { request_end(EndCause::stop, Duration{}, kill.reason); }

void Keeper::disown() {
  owner_.reset();
  owner_gone_ = false;
  spec_.daemon_gone.reset();
}

void Keeper::take_commands(const Ready& ready) {
  for (const Endpoint::Request& request : endpoint_.receive(ready)) {
    if (const auto* hello = std::get_if<Hello>(&request.command)) answer(request.from, *hello);
    if (const auto* stop = std::get_if<Stop>(&request.command)) take(*stop);
    if (const auto* kill = std::get_if<Kill>(&request.command)) take(*kill);
    if (std::holds_alternative<Disown>(request.command)) disown();
    if (std::holds_alternative<FetchLocks>(request.command)) {
      endpoint_.reply(request.from, Locks{.count = locks_.size()}, &locks_);
    }
    if (std::holds_alternative<Ack>(request.command) && in<AtEnd>()) acknowledged_ = true;
  }
}

// Stopped or stuck, a daemon keeps its connections; what is sent to it then stays unread. Looks are counted
// and not the time between them, in which this process may have been stopped itself, and the machine asleep.
void Keeper::listen_for_daemon() {
  // Who waits for no acknowledgement has a client in the daemon's place, and that may be stopped by Ctrl+Z.
  if (ending() || !spec_.daemon_gone || !spec_.wait_for_ack) {
    next_look_.reset();
    return;
  }
  const BootTime now = BootClock::now();
  if (next_look_ && now < *next_look_) return;
  const bool silent = next_look_ && !endpoint_.daemon_reads();
  silent_looks_ = silent ? silent_looks_ + 1 : 0;
  next_look_ = now + std::max(*spec_.daemon_gone, kLeastSilence) / kSilentLooks;
  if (silent_looks_ >= kSilentLooks) request_end(EndCause::daemon_gone, spec_.grace, {});
}

void Keeper::watch_daemon() {
  if (endpoint_.daemon_present()) {
    alone_since_.reset();
    listen_for_daemon();
    return;
  }
  next_look_.reset();
  if (in<AtEnd>() && !spec_.wait_for_ack) acknowledged_ = true;
  if (!alone_since_) alone_since_ = BootClock::now();
  if (ending()) return;
  if (owner_gone_) {
    request_end(EndCause::owner_gone, spec_.grace, {});
  } else if (spec_.daemon_gone && BootClock::now() >= *alone_since_ + *spec_.daemon_gone) {
    request_end(EndCause::daemon_gone, spec_.grace, {});
  }
}

void Keeper::take_news(const Ready& ready) {
  Tree::News news = tree_.update(ready);
  if (news.started) {
    leader_ = *news.started;
    record_.started = moment_now();
    if (spec_.share_ipc && !tree_.uses_children()) note_leader(folder_.get(), leader_);
    leader_started();
    endpoint_.broadcast(Started{.leader_pid = leader_, .init_pid = tree_.init_pid(), .at = *record_.started});
  }
  if (news.start_failure) start_failed(std::move(*news.start_failure));
  if (news.counted) count(*news.counted);
  if (news.leader_status) leader_exited(*news.leader_status);
}

void Keeper::leader_started() {
  const auto* starting = std::get_if<Starting>(&state_);
  if (starting == nullptr) return;
  if (starting->kill_at) {
    terminate(*starting->kill_at);
    return;
  }
  Running running;
  if (spec_.time_limit) running.time_limit = record_.started->boot + *spec_.time_limit;
  state_ = running;
}

void Keeper::terminate(BootTime kill_at) {
  state_ = Terminating{kill_at};
  record_.action = "TERM";
  count(tree_.terminate().value_or(0));
}

void Keeper::start_failed(StartFailure failure) {
  if (in<AtEnd>()) return;
  // A stop that came first stays the cause: the start failed because of it, or would not have mattered.
  if (!record_.stop_requested) {
    record_.cause = EndCause::start_failure;
    record_.start_failure = std::move(failure);
  }
  kill_now();
}

void Keeper::leader_exited(int status) {
  if (record_.leader_exited) return;
  record_.wait_status = status;
  record_.leader_exited = moment_now();
  if (ending()) return;
  if (!record_.stop_requested) record_.cause = EndCause::leader_exit;
  state_ = Terminating{record_.leader_exited->boot + std::min(kOrphanGrace, spec_.grace)};
  count(1);
  // The usual end: nothing else was there, and the init has left already or is about to.
  const bool alone = tree_.init_pid() != 0 && record_.processes == 1;
  if (alone || tree_.empty()) return;
  endpoint_.broadcast(LeaderExited{.wait_status = status, .at = *record_.leader_exited});
  record_.action = "TERM";
  count(1 + tree_.terminate().value_or(0));
}

void Keeper::request_end(EndCause cause, Duration grace, std::string reason) {
  if (in<AtEnd>() || in<Stuck>()) return;
  const BootTime kill_at = BootClock::now() + grace;
  if (!record_.stop_requested) {
    record_.stop_requested = moment_now();
    record_.stop_reason = std::move(reason);
    if (!ending()) record_.cause = cause;
  }
  if (auto* terminating = std::get_if<Terminating>(&state_)) {
    terminating->kill_at = std::min(terminating->kill_at, kill_at);
    return;
  }
  if (in<Killing>()) return;
  if (grace == Duration{}) {
    kill_now();
  } else if (auto* starting = std::get_if<Starting>(&state_)) {
    // It may have executed, and only the news be on its way; until then nobody could pass a signal on.
    starting->kill_at = std::min(starting->kill_at.value_or(kill_at), kill_at);
  } else {
    terminate(kill_at);
  }
}

void Keeper::kill_now() {
  // Counted by looking, where nobody told: the news of the start may still be on its way.
  if (record_.processes == 0 && !record_.start_failure) {
    count(std::max<std::size_t>(leader_ != 0 ? 1 : 0, tree_.survivors().size()));
  }
  if (record_.processes > 0)
    record_.action += (record_.action.empty() ? "" : ", then ") + tree_.kill_action();
  state_ = Killing{BootClock::now() + spec_.kill_timeout};
  tree_.kill();
}

void Keeper::advance() {
  const BootTime now = BootClock::now();
  if (const auto* starting = std::get_if<Starting>(&state_)) {
    if (starting->kill_at && now >= *starting->kill_at) kill_now();
  } else if (const auto* running = std::get_if<Running>(&state_)) {
    if (running->time_limit && now >= *running->time_limit)
      request_end(EndCause::time_limit, spec_.grace, {});
  }
  if (!ending()) return;
  if (in<AtEnd>()) return;
  if (tree_.empty()) {
    finish();
    return;
  }
  if (const auto* terminating = std::get_if<Terminating>(&state_)) {
    if (now >= terminating->kill_at) kill_now();
  } else if (const auto* killing = std::get_if<Killing>(&state_)) {
    if (now >= killing->give_up_at) {
      declare_survivors();
    } else if (tree_.sweeps_again(signals_ready_)) {
      tree_.kill();
    }
  } else if (in<Stuck>() && tree_.sweeps_again(signals_ready_)) {
    tree_.kill();
  }
}

void Keeper::declare_survivors() {
  record_.survivors = tree_.survivors();
  record_.complete = false;
  record_.oom = tree_.oom();
  record_.log_bytes = output_.bytes();
  record_.log_dropped = output_.dropped();
  state_ = Stuck{};
  static_cast<void>(write_record());
  endpoint_.broadcast(Ended{record_});
}

void Keeper::finish() {
  output_.finish();
  record_.ended = moment_now();
  record_.complete = true;
  record_.survivors.clear();
  record_.oom = tree_.oom();
  record_.verified_by = tree_.verified_by();
  if (record_.action.empty()) record_.action = "none needed";
  record_.log_bytes = output_.bytes();
  record_.log_dropped = output_.dropped();
  static_cast<void>(write_record());  // on a full disk the daemon still gets it from here
  state_ = AtEnd{};
  endpoint_.broadcast(Ended{record_});
  // After the news, which somebody waits for; the daemon removes the groups above.
  tree_.remove_groups();
  // One more look at once, for the side process whose client is gone already.
  watch_daemon();
}

// By rename, without fsync: it must survive this process, not the machine, whose end ends the tree too.
bool Keeper::write_record() noexcept {
  if (!folder_) return false;
  const std::string data = encode(record_);
  UniqueFd file(::openat(folder_.get(), "end.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  return file && write_all(file.get(), data).ok() &&
         ::renameat(folder_.get(), "end.new", folder_.get(), "end") == 0;
}

}  // namespace ebb::process

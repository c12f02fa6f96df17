#include "sidecar_set.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cerrno>
#include <filesystem>
#include <span>

#include "ebb/base/listeners.h"
#include "ebb/base/units.h"
#include "ebb/process/proc.h"
#include "ebb/process/socket_owner.h"

namespace ebb::client {
namespace asio = boost::asio;

namespace {

constexpr Duration kReadyTimeout = std::chrono::seconds(60);
constexpr Duration kGrace = std::chrono::seconds(2);
constexpr Duration kStopLimit = std::chrono::seconds(8);  // the grace period, the kill's time and a little
constexpr std::size_t kShownLines = 10;

Error failed(std::string message) {
  return {.code = Errc::unavailable, .message = std::move(message), .pointer = {}, .type = {}};
}

std::string with_output(std::string text, const Sidecar& sidecar) {
  const std::string output = sidecar.last_output(kShownLines);
  if (!output.empty()) text += "; the end of its output:\n" + output;
  return text;
}

bool descends_from_us(pid_t pid) {
  constexpr int kDeepest = 64;
  for (int i = 0; i < kDeepest && pid > 1; ++i) {
    if (pid == ::getpid()) return true;
    const auto stat = process::read_proc_stat(pid);
    if (!stat) return false;
    pid = stat->ppid;
  }
  return false;
}

// The process that listens on the port and is none of ours; empty where there is none, or nobody may say.
std::string foreign_listener(int port) {
  const auto number = static_cast<std::uint16_t>(port);
  const auto listeners = tcp_listeners(number, number);
  if (!listeners) return {};
  for (const Listener& listener : *listeners) {
    const auto holder = process::find_holder(listener);
    if (holder.pid != 0 && !descends_from_us(holder.pid)) return process::describe(holder);
  }
  return {};
}

}  // namespace

Result<void> SidecarSet::start(const std::vector<SidecarSpec>& specs, bool expand,
                               const std::string& keeper) {
  if (specs.empty()) return {};
  // What is left where a keeper is killed comes to us, to be ended, and is no zombie afterwards.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::signal(SIGCHLD, SIG_IGN);
  auto folder = SidecarFolder::make();
  if (!folder) return folder.error();
  folder_.emplace(std::move(*folder));
  std::vector<HeldPort> ports;
  for (const SidecarSpec& spec : specs) {
    auto port = HeldPort::pick();
    if (!port) return port.error();
    urls_[spec.name] = "http://127.0.0.1:" + std::to_string(port->number());
    ports.push_back(std::move(*port));
  }
  std::error_code ignored;
  const std::string workdir = std::filesystem::current_path(ignored).string();
  std::vector<std::string> commands;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (!expand) {
      commands.push_back(specs[i].command);
      continue;
    }
    auto command = expand_sidecar_command(specs[i].command, specs[i].name, ports[i].number(), workdir, urls_);
    if (!command) return command.error();
    commands.push_back(std::move(*command));
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    auto member = std::make_unique<Member>();
    member->spec = specs[i];
    member->port = ports[i].number();
    member->started = BootClock::now();
    const std::string own = folder_->path() + "/" + specs[i].name;
    if (::mkdir(own.c_str(), 0700) != 0) return errno_error(errno, "cannot make " + own);
    ports[i].release();
    auto process = Sidecar::start(context_.io,
                                  {.name = specs[i].name,
                                   .command = commands[i],
                                   .folder = own,
                                   .keeper = keeper,
                                   .lock = folder_->lock()},
                                  [this] { context_.changed.ring(); });
    if (!process) return process.error();
    member->process = std::move(*process);
    members_.push_back(std::move(member));
    if (specs[i].ready_path) asio::co_spawn(context_.io, probe(*members_.back()), asio::detached);
  }
  return {};
}

Task<void> SidecarSet::probe(Member& member) {
  constexpr Duration kLongestPause = std::chrono::milliseconds(200);
  Duration pause = std::chrono::milliseconds(10);
  const BootTime deadline = member.started + kReadyTimeout;
  while (!member.process->end() && !member.failure) {
    if (member.process->running() && co_await answers(member)) {
      const std::string stranger = foreign_listener(member.port);
      if (stranger.empty()) {
        member.answers = true;
        break;
      }
      member.failure =
          failed("side process " + member.spec.name + ": its port " + std::to_string(member.port) +
                 " was taken meanwhile by " + stranger + "; try again");
    } else if (BootClock::now() >= deadline) {
      member.failure = failed(with_output("side process " + member.spec.name + " did not answer " +
                                              *member.spec.ready_path + " with 200 within " +
                                              format_duration(kReadyTimeout),
                                          *member.process));
    } else {
      co_await rest(context_.io, pause);
      pause = std::min(pause * 2, kLongestPause);
    }
  }
  context_.changed.ring();
}

Task<bool> SidecarSet::answers(const Member& member) {
  constexpr auto kDeadline = std::chrono::seconds(2);
  Endpoint endpoint;
  endpoint.kind = Endpoint::Kind::tcp;
  endpoint.host = "127.0.0.1";
  endpoint.port = std::to_string(member.port);
  auto connection =
      co_await Connection::connect(context_.io, std::span(&endpoint, 1), std::string(), kDeadline);
  if (!connection) co_return false;
  Request request{.target = *member.spec.ready_path, .accept = "*/*"};
  request.headers.emplace_back("Connection", "close");
  const auto response = co_await connection->open(std::move(request), kDeadline);
  co_return response.ok() && response->status == 200;
}

bool SidecarSet::up() {
  bool all = true;
  for (const auto& member : members_) {
    const bool is_up = member->spec.ready_path ? member->answers : member->process->running();
    all = all && is_up;
    if (!is_up || member->said_up) continue;
    member->said_up = true;
    context_.say(member->spec.name + " is up at " + urls_[member->spec.name] + " (" + [&] {
      const double seconds = to_seconds(BootClock::now() - member->started);
      std::string text = std::to_string(seconds);
      return text.substr(0, text.find('.') + 2);
    }() + " s)");
  }
  return all;
}

std::optional<Error> SidecarSet::failure() {
  for (const auto& member : members_) {
    if (member->failure) return member->failure;
    if (member->process->end()) {
      member->said_ended = true;
      return failed(with_output(
          "side process " + member->spec.name + " ended before the job: " + member->process->end_text(),
          *member->process));
    }
  }
  return std::nullopt;
}

void SidecarSet::say_ended() {
  for (const auto& member : members_) {
    if (!member->process->end() || member->said_ended) continue;
    member->said_ended = true;
    context_.say(with_output(member->spec.name + " ended by itself (" + member->process->end_text() + ")",
                             *member->process));
  }
}

Task<void> SidecarSet::stop() {
  const BootTime begun = BootClock::now();
  for (const auto& member : members_) {
    if (!member->process->end()) member->process->stop(kGrace);
  }
  while (true) {
    bool all = true;
    for (const auto& member : members_) {
      if (!member->process->end()) {
        all = false;
      } else if (!member->said_ended) {
        member->said_ended = true;
        context_.say(
            member->spec.name + " stopped (" + member->process->end_text() + ", " +
            format_duration(std::chrono::round<std::chrono::milliseconds>(BootClock::now() - begun)) + ")");
      }
    }
    if (all) break;
    if (BootClock::now() >= begun + kStopLimit) {
      context_.say("side processes are left behind to their keepers, which go on ending them");
      break;
    }
    co_await context_.changed.wait(begun + kStopLimit);
  }
}

}  // namespace ebb::client

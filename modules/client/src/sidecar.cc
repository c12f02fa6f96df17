#include "ebb/client/sidecar.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>
#include <span>
#include <utility>
#include <variant>

#include "ebb/base/files.h"
#include "ebb/lifecycle/signals.h"
#include "ebb/process/log_reader.h"
#include "ebb/process/orphans.h"
#include "ebb/process/proc.h"
#include "ebb/process/spawn.h"

namespace ebb::client {
namespace asio = boost::asio;

namespace {

// How long a keeper that has nothing left to do may take to exit.
constexpr int kKeeperExitMs = 1000;
constexpr Duration kOrphansLimit = std::chrono::seconds(1);

constexpr std::uint64_t kLogLimit = 64 << 20;

// By which all that a side process starts is known.
std::string mark_of(const Sidecar::Launch& launch) { return "EBB_SIDECAR=" + launch.folder; }

mode_t current_umask() {
  if (const auto status = process::read_proc_status(::getpid()); status && status->umask)
    return *status->umask;
  return 022;
}

process::LaunchSpec launch_spec(const Sidecar::Launch& launch) {
  process::LaunchSpec spec;
  spec.label = launch.name;
  spec.argv = {"/bin/bash", "-c", launch.command};
  for (char** variable = environ; *variable != nullptr; ++variable) spec.env.emplace_back(*variable);
  std::erase_if(spec.env, [](const std::string& word) { return word.starts_with("EBB_SIDECAR="); });
  spec.env.push_back(mark_of(launch));
  std::error_code error;
  spec.workdir = std::filesystem::current_path(error).string();
  spec.umask = current_umask();
  spec.oom_score_adj = 0;
  spec.attempt_dir = launch.folder;
  spec.log_dir = launch.folder + "/log";
  spec.log_limit_bytes = kLogLimit;
  // A side process shares the user's session in all but its end: no namespaces, no cgroup of its own.
  spec.tiers.subreaper = true;
  spec.grace = std::chrono::seconds(2);
  spec.kill_timeout = std::chrono::seconds(5);
  spec.daemon_gone = Duration(0);  // ends at once when this process has gone
  spec.wait_for_ack = false;
  return spec;
}

}  // namespace

class Sidecar::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& io, const Launch& launch, process::StartedKeeper keeper,
       std::function<void()> on_change)
      : name(launch.name),
        log_dir(launch.folder + "/log"),
        mark_(mark_of(launch)),
        keeper_(std::move(keeper)),
        readable_(io, keeper_.link.fd()),
        changed_(std::move(on_change)) {}

  ~Impl() {
    readable_.release();  // the link owns the descriptor
    if (!end || !*end || !(*end)->complete) return;
    // Its tree is gone, so the keeper goes when the connection does: reaped, it leaves no zombie behind.
    {
      const process::KeeperLink closed = std::move(keeper_.link);
    }
    if (keeper_exits()) (void)process::reap_keeper(keeper_);
  }

  void listen() {
    readable_.async_wait(asio::posix::descriptor_base::wait_read,
                         [weak = weak_from_this()](boost::system::error_code error) {
                           const auto self = weak.lock();
                           if (self && !error) self->receive();
                         });
  }

  void stop(Duration grace) {
    if (end) return;
    // A keeper that cannot be told is dead or stopped; its connection's end, when we go, is the other way.
    (void)keeper_.link.send(process::Stop{.reason = "ebb run ends", .grace = grace});
  }

  void drop() { changed_ = nullptr; }

  std::string name;
  std::string log_dir;
  bool running = false;
  std::optional<Result<process::EndRecord>> end;

 private:
  void receive() {
    auto received = keeper_.link.receive();
    if (!received) return finish(received.error());
    for (process::KeeperEvent& event : received->events) {
      if (std::holds_alternative<process::Started>(event)) {
        running = true;
      } else if (auto* ended = std::get_if<process::Ended>(&event)) {
        return finish(std::move(ended->record));
      }
    }
    if (received->closed) {
      // The leader has died with it; the rest has come to us, where we are a subreaper.
      if (keeper_exits())
        (void)process::Orphans({.environment = {mark_}}).end(BootClock::now() + kOrphansLimit);
      return finish(Error{.code = Errc::internal, .message = "its keeper died", .pointer = {}, .type = {}});
    }
    if (changed_) changed_();
    listen();
  }

  void finish(Result<process::EndRecord> record) {
    running = false;
    end.emplace(std::move(record));
    if (changed_) changed_();
  }

  [[nodiscard]] bool keeper_exits() const {
    pollfd exited{.fd = keeper_.pidfd.get(), .events = POLLIN, .revents = 0};
    return ::poll(&exited, 1, kKeeperExitMs) == 1;
  }

  std::string mark_;
  process::StartedKeeper keeper_;
  asio::posix::stream_descriptor readable_;
  std::function<void()> changed_;
};

Sidecar::Sidecar(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Sidecar::~Sidecar() { impl_->drop(); }

Result<std::unique_ptr<Sidecar>> Sidecar::start(asio::io_context& io, const Launch& launch,
                                                std::function<void()> changed) {
  auto keeper = process::start_keeper(launch_spec(launch),
                                      {.program = launch.keeper, .locks = std::span(&launch.lock, 1)});
  if (!keeper) return keeper.error();
  auto impl = std::make_shared<Impl>(io, launch, std::move(*keeper), std::move(changed));
  impl->listen();
  return std::unique_ptr<Sidecar>(new Sidecar(std::move(impl)));
}

const std::string& Sidecar::name() const noexcept { return impl_->name; }
bool Sidecar::running() const noexcept { return impl_->running; }
const std::optional<Result<process::EndRecord>>& Sidecar::end() const noexcept { return impl_->end; }
void Sidecar::stop(Duration grace) { impl_->stop(grace); }

std::string Sidecar::end_text() const {
  if (!impl_->end) return {};
  if (!*impl_->end) return impl_->end->error().message;
  const process::EndRecord& record = **impl_->end;
  if (record.start_failure) return "could not be started: " + record.start_failure->message;
  if (!record.wait_status) return "ended";
  const int status = *record.wait_status;
  if (WIFSIGNALED(status)) return lifecycle::signal_name(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

std::string Sidecar::last_output(std::size_t lines) const {
  constexpr std::uint64_t kEnd = 64 << 10;
  auto reader = process::LogReader::open(impl_->log_dir);
  if (!reader) return {};
  std::string text;
  std::uint64_t offset = 0;
  while (true) {
    const auto batch = reader->read(offset, process::LogFilter::both);
    if (!batch) break;
    for (const process::LogPiece& piece : batch->pieces) text += piece.bytes;
    if (text.size() > kEnd) text.erase(0, text.size() - kEnd);
    if (batch->state != process::LogBatch::State::more || batch->next == offset) break;
    offset = batch->next;
  }
  while (text.ends_with('\n')) text.pop_back();
  std::size_t begin = text.size();
  for (std::size_t i = 0; i < lines && begin != 0; ++i) {
    const auto before = begin == text.size() ? text.rfind('\n') : text.rfind('\n', begin - 2);
    begin = before == std::string::npos ? 0 : before + 1;
  }
  return text.substr(begin);
}

}  // namespace ebb::client

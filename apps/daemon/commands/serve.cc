#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdlib>
#include <filesystem>

#include "commands.h"
#include "config_option.h"
#include "ebb/base/units.h"
#include "ebb/daemon/daemon.h"
#include "ebb/lifecycle/signals.h"
#include "ebb/model/json.h"
#include "ebb/server/server.h"

namespace ebb::cli {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
template <typename T>
using Task = asio::awaitable<T>;

struct Options {
  std::string config, state, socket, listen, gpus, ports, on_stop;
};

// The command line's words go through the same checks as the file's: they are laid over it as TOML.
Result<daemon::Config> overlay(daemon::Config config, const Options& options) {
  const auto absolute = [](const std::string& path) { return fs::absolute(path).lexically_normal(); };
  if (!options.state.empty()) daemon::set_state_dir(config, absolute(options.state));
  if (!options.socket.empty()) config.server.socket = absolute(options.socket);
  const auto lay = [&](const std::string& value, const std::string& section, const std::string& key,
                       const std::string& option) -> Result<void> {
    if (value.empty()) return {};
    std::string quoted;
    for (const char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
    auto laid = daemon::parse_config("[" + section + "]\n" + key + " = \"" + quoted + "\"\n", option, config);
    if (laid) {
      config = std::move(*laid);
      return {};
    }
    // "--listen:2: server.listen: '…' is no address" → "--listen: '…' is no address"
    Error error = laid.error();
    const std::string where = section + "." + key + ": ";
    const std::size_t at = error.message.find(where);
    if (at != std::string::npos) error.message = option + ": " + error.message.substr(at + where.size());
    return error;
  };
  for (const auto& [value, section, key, option] :
       {std::tuple(options.listen, "server", "listen", "--listen"),
        std::tuple(options.gpus, "gpus", "use", "--gpus"),
        std::tuple(options.ports, "ports", "range", "--ports"),
        std::tuple(options.on_stop, "jobs", "on_stop", "--on-stop")}) {
    if (auto laid = lay(value, section, key, option); !laid) return laid.error();
  }
  return config;
}

// Tells systemd, or whoever set NOTIFY_SOCKET; sd_notify(3) describes the datagram.
void notify(const std::string& text) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (*path != '/' && *path != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string_view name(path);
  if (name.size() >= sizeof address.sun_path) return;
  name.copy(static_cast<char*>(address.sun_path), name.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  (void)::sendto(fd.get(), text.data(), text.size(), MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address), size);
}

// Whether somebody serves at the socket, so that "already running" is said rather than "address in use".
bool answers(const fs::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof address.sun_path) return false;
  socket.native().copy(static_cast<char*>(address.sun_path), socket.native().size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// One run of the daemon, from its start to the last report.
class Serve {
 public:
  Serve(daemon::Config config, lifecycle::SignalSource signals)
      : config_(std::move(config)), signals_(std::move(signals)) {}

  int run() {
    auto tcp = server::listen_tcp(config_);
    if (!tcp && !answers(config_.server.socket)) return fail_start(tcp.error());
    asio::co_spawn(io_, start(std::move(tcp)), rethrow);
    io_.run();
    return status_;
  }

 private:
  static void rethrow(const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  }
  static int fail_start(const Error& error) {
    say(error.message);
    return error.code == Errc::invalid ? kUsage : kRefused;
  }

  Task<void> start(Result<UniqueFd> tcp) {
    auto started = co_await daemon::Daemon::start(io_, config_);
    if (!started) {
      status_ = fail_start(started.error());
      io_.stop();
      co_return;
    }
    daemon_ = std::move(*started);
    daemon_->on_fatal([this](Error error) {
      spdlog::critical("{}; jobs stay with their keepers", error.message);
      // Nothing may be written any longer, and what memory says may not be what the disk says: the next
      // daemon recovers.
      std::_Exit(kRefused);
    });
    auto listener = tcp ? server::listen_unix(config_) : Result<UniqueFd>(tcp.error());
    auto serving = listener ? server::Server::start(io_, *daemon_, std::move(*listener), std::move(*tcp))
                            : Result<std::unique_ptr<server::Server>>(listener.error());
    if (!serving) {
      status_ = fail_start(serving.error());
      (void)co_await daemon_->shutdown(true);
      io_.stop();
      co_return;
    }
    server_ = std::move(*serving);
    watch_signals();
    announce();
  }

  void announce() {
    for (const std::string& sentence : daemon_->recovered()) say(sentence);
    std::string where;
    for (const std::string& address : server_->addresses()) where += (where.empty() ? "" : " and ") + address;
    say("serves on " + where);
    if (!config_.compat.auth)
      say("authentication is off ([compat] auth): anybody on this machine can run jobs");
    notify("READY=1\nSTATUS=serves on " + where + "\n");
  }

  void watch_signals() {
    descriptor_.emplace(io_, ::dup(signals_.fd()));
    wait_for_signal();
  }
  void wait_for_signal() {
    descriptor_->async_wait(asio::posix::stream_descriptor::wait_read,
                            [this](const boost::system::error_code& failure) {
                              if (failure) return;
                              while (const auto signal = signals_.read()) take(signal->number);
                              wait_for_signal();
                            });
  }
  void take(int signal) {
    if (std::exchange(stopping_, true)) {
      say(lifecycle::signal_name(signal) + " again: every grace period ends now");
      daemon_->shutdown_now();
      return;
    }
    const bool keep = config_.jobs.keep_on_stop;
    notify("STOPPING=1\n");
    say(lifecycle::signal_name(signal) +
        (keep ? ": stopping; jobs go on under their keepers" : ": ending all jobs (again: without grace)"));
    asio::co_spawn(io_, stop(keep), rethrow);
  }

  Task<void> stop(bool keep) {
    const BootTime begin = BootClock::now();
    const auto reports = co_await daemon_->shutdown(keep);
    std::size_t incomplete = 0;
    for (const model::Report& report : reports) {
      say(report.job.str() + ": " + model::one_line(report));
      if (!report.complete) ++incomplete;
    }
    const auto counters = daemon_->counters();
    const std::int64_t left = keep ? counters.unwritten : counters.active + counters.unwritten;
    if (left > 0) {
      const bool one = left == 1;
      say(std::to_string(left) + (one ? " job has" : " jobs have") +
          " not ended, since that could not be written down: " + daemon_->disk_error() + "; " +
          (one ? "it stays with its keeper" : "they stay with their keepers") + " for the next daemon");
      status_ = kRefused;
    } else if (!daemon_->disk_error().empty()) {
      say("what happened last could not be written down: " + daemon_->disk_error() +
          "; the next daemon finds out");
      status_ = kRefused;
    } else if (!keep) {
      say(std::to_string(reports.size()) + (reports.size() == 1 ? " job" : " jobs") + " ended in " +
          format_duration(BootClock::now() - begin) +
          (incomplete == 0 ? std::string("; nothing is left behind")
                           : "; " + std::to_string(incomplete) + " not fully released, see 'ebb audit'"));
    }
    // Streams have just been told of the ends of their jobs.
    const bool finished = co_await server_->finish(std::chrono::milliseconds(300));
    descriptor_->close();
    if (!finished || daemon_->disk_hangs()) {
      // A request still waits for something, and its coroutine refers to what would be destroyed now; or the
      // thread that writes waits for the disk. Leave as a crash would: all that matters is on disk, or cannot
      // be.
      std::_Exit(status_);
    }
    server_.reset();
    io_.stop();
  }

  daemon::Config config_;
  lifecycle::SignalSource signals_;
  asio::io_context io_{1};
  std::unique_ptr<daemon::Daemon> daemon_;
  std::unique_ptr<server::Server> server_;
  std::optional<asio::posix::stream_descriptor> descriptor_;
  bool stopping_ = false;
  int status_ = kDone;
};

}  // namespace

int serve_main(Words words) {
  Options options;
  Parser parser("serve", "The daemon, in the foreground; SIGINT or SIGTERM ends it and all its jobs",
                "ebb serve --gpus 0,1,2,3 --listen 127.0.0.1:8765");
  parser.add_option("--config", options.config,
                    "Configuration (default: /etc/ebb/ebb.toml, ~/.config/ebb/ebb.toml)");
  parser.add_option("--state", options.state, "Directory of the database, logs and reports");
  parser.add_option("--socket", options.socket, "Unix socket");
  parser.add_option("--listen", options.listen, "TCP address and port, or none");
  parser.add_option("--gpus", options.gpus, "auto, none, 0,1,2,3 or declared:4");
  parser.add_option("--ports", options.ports, "Ports for jobs, FROM-TO");
  parser.add_option("--on-stop", options.on_stop, "end (all jobs) or keep (leave them to their keepers)");
  if (const auto status = parser.read(std::move(words))) return *status;

  auto config = read_config(options.config);
  if (!config) return fail_config(config.error());
  config = overlay(std::move(*config), options);
  if (!config) return fail_config(config.error());
  if (auto checked = daemon::check_config(*config); !checked) return fail_config(checked.error());

  // Before the first thread, so that all inherit the mask.
  auto signals = lifecycle::SignalSource::make({SIGINT, SIGTERM});
  if (!signals) return fail(signals.error());
  spdlog::set_default_logger(spdlog::stderr_logger_mt("ebb"));
  return Serve(std::move(*config), std::move(*signals)).run();
}

}  // namespace ebb::cli

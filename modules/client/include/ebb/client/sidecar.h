#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/process/end_record.h"

namespace ebb::client {

/// --sidecar NAME=CMD and --sidecar-ready NAME=PATH.
struct SidecarSpec {
  std::string name;
  std::string command;                    ///< for /bin/bash -c, placeholders not replaced yet
  std::optional<std::string> ready_path;  ///< it is up when GET of this on its port answers 200
};
/// Reads the options' values. Names are letters, digits, '-' and '_', each used once.
[[nodiscard]] Result<std::vector<SidecarSpec>> parse_sidecars(const std::vector<std::string>& commands,
                                                              const std::vector<std::string>& ready_paths);

/// A TCP port of 127.0.0.1 that was free when it was picked; held, bound and not listening, until it is
/// handed over. Between release() and the side process's own bind another process may take it: readiness
/// notices.
class HeldPort {
 public:
  [[nodiscard]] static Result<HeldPort> pick();
  [[nodiscard]] int number() const noexcept { return number_; }
  void release() noexcept { socket_.reset(); }

 private:
  HeldPort(UniqueFd socket, int number) noexcept : socket_(std::move(socket)), number_(number) {}
  UniqueFd socket_;
  int number_ = 0;
};

/// A folder for the side processes of one `ebb run`: keepers' sockets, end records and logs. Removed when
/// destroyed. Making one removes those that earlier runs of this user left when they were killed.
class SidecarFolder {
 public:
  [[nodiscard]] static Result<SidecarFolder> make();
  SidecarFolder(SidecarFolder&& other) noexcept;
  SidecarFolder& operator=(SidecarFolder&&) = delete;
  ~SidecarFolder();
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] int lock() const noexcept { return lock_.get(); }

 private:
  SidecarFolder(std::string path, UniqueFd lock) noexcept : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  UniqueFd lock_;
};

/// One side process under its own keeper, which ends it when told, and by itself when this process goes,
/// whatever way. Its output is drained for ever into a log of limited size. The thread of the io_context.
///
/// A keeper that is killed cannot end it: then this process does, if it is a subreaper, and must reap what it
/// killed.
///
/// States: starting → running → ended; starting → ended when it cannot be started. Destroyed before its end:
/// the keeper sees the connection close, and ends it.
class Sidecar {
 public:
  struct Launch {
    std::string name;
    std::string command;  ///< for /bin/bash -c, ready to run
    std::string folder;   ///< of its own, exists
    std::string keeper;   ///< path of ebb-keeper
    int lock = -1;        ///< SidecarFolder::lock(), which the keeper holds too for as long as it lives
  };
  /// `changed` is called whenever the state has changed, from the io_context, never inside a call.
  [[nodiscard]] static Result<std::unique_ptr<Sidecar>> start(boost::asio::io_context& io,
                                                              const Launch& launch,
                                                              std::function<void()> changed);
  ~Sidecar();
  Sidecar(const Sidecar&) = delete;
  Sidecar& operator=(const Sidecar&) = delete;

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] bool running() const noexcept;
  /// How it ended; nothing while it lives. Errc::internal: its keeper died.
  [[nodiscard]] const std::optional<Result<process::EndRecord>>& end() const noexcept;
  /// TERM to all of it, `grace`, kill. `changed` tells when it has ended.
  void stop(Duration grace);
  /// "exit code 3", "SIGTERM", "could not be started: …"; empty while it lives.
  [[nodiscard]] std::string end_text() const;
  /// Up to `lines` of the end of its output.
  [[nodiscard]] std::string last_output(std::size_t lines) const;

 private:
  class Impl;
  explicit Sidecar(std::shared_ptr<Impl> impl) noexcept;
  std::shared_ptr<Impl> impl_;
};

}  // namespace ebb::client

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <filesystem>
#include <map>
#include <optional>

#include "ebb/base/result.h"
#include "ebb/process/log_reader.h"
#include "wakeup.h"

namespace ebb::server {

/// Wakes the followers of logs, all through one inotify instance. One thread.
class LogWatches {
 public:
  explicit LogWatches(boost::asio::io_context& io) : io_(io) {}

  /// While it lives, its Wakeup is notified whenever the log changes.
  class Follow {
   public:
    Follow() = default;
    Follow(Follow&& other) noexcept;
    Follow& operator=(Follow&& other) noexcept;
    ~Follow();

   private:
    friend class LogWatches;
    LogWatches* owner_ = nullptr;
    int watch_ = -1;
    Wakeup* wakeup_ = nullptr;
  };
  /// A log that has not begun is followed through the folder above, whatever else changes there.
  [[nodiscard]] Result<Follow> follow(const std::filesystem::path& folder, Wakeup& wakeup);

 private:
  [[nodiscard]] Result<int> watch(const std::filesystem::path& folder);
  void wait();
  void dispatch();
  void remove(int watch, Wakeup* wakeup) noexcept;

  boost::asio::io_context& io_;
  std::optional<process::LogWatch> watch_;
  std::optional<boost::asio::posix::stream_descriptor> descriptor_;
  std::multimap<int, Wakeup*> followers_;
};

}  // namespace ebb::server

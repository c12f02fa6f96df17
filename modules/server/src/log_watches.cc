#include "log_watches.h"

#include <fcntl.h>

namespace ebb::server {

LogWatches::Follow::Follow(Follow&& other) noexcept { *this = std::move(other); }

LogWatches::Follow& LogWatches::Follow::operator=(Follow&& other) noexcept {
  if (this != &other) {
    if (owner_ != nullptr) owner_->remove(watch_, wakeup_);
    owner_ = std::exchange(other.owner_, nullptr);
    watch_ = other.watch_;
    wakeup_ = other.wakeup_;
  }
  return *this;
}

LogWatches::Follow::~Follow() {
  if (owner_ != nullptr) owner_->remove(watch_, wakeup_);
}

Result<LogWatches::Follow> LogWatches::follow(const std::filesystem::path& folder, Wakeup& wakeup) {
  if (!watch_) {
    auto made = process::LogWatch::create();
    if (!made) return made.error();
    // The descriptor below owns a duplicate, so that each of the two may close its own.
    const int copy = ::fcntl(made->fd(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return errno_error(errno, "cannot follow logs");
    watch_.emplace(std::move(*made));
    descriptor_.emplace(io_, copy);
    wait();
  }
  auto number = watch(folder);
  if (!number) return number.error();
  followers_.emplace(*number, &wakeup);
  Follow follow;
  follow.owner_ = this;
  follow.watch_ = *number;
  follow.wakeup_ = &wakeup;
  return follow;
}

Result<int> LogWatches::watch(const std::filesystem::path& folder) {
  auto own = watch_->add(folder);
  if (own || own.error().code != Errc::not_found) return own;
  auto above = watch_->add(folder.parent_path());
  auto begun = watch_->add(folder);  // between the two it may have
  if (!begun) return above;
  if (above && !followers_.contains(*above)) watch_->remove(*above);
  return begun;
}

void LogWatches::wait() {
  descriptor_->async_wait(boost::asio::posix::stream_descriptor::wait_read,
                          [this](const boost::system::error_code& failure) {
                            if (failure) return;
                            dispatch();
                            wait();
                          });
}

void LogWatches::dispatch() {
  const auto changes = watch_->changed();
  if (changes.all) {
    for (const auto& [watch, wakeup] : followers_) wakeup->notify();
    return;
  }
  for (const int watch : changes.watches) {
    const auto [first, last] = followers_.equal_range(watch);
    for (auto at = first; at != last; ++at) at->second->notify();
  }
}

void LogWatches::remove(int watch, Wakeup* wakeup) noexcept {
  const auto [first, last] = followers_.equal_range(watch);
  for (auto at = first; at != last; ++at) {
    if (at->second == wakeup) {
      followers_.erase(at);
      break;
    }
  }
  if (!followers_.contains(watch)) watch_->remove(watch);
}

}  // namespace ebb::server

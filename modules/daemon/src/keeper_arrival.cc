#include "keeper_arrival.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;

}  // namespace

class KeeperArrival::Wait : public std::enable_shared_from_this<Wait> {
 public:
  Wait(asio::io_context& io, std::string folder, Done done)
      : folder_(std::move(folder)), done_(std::move(done)), limit_(io), changes_(io) {}

  void begin(Duration limit) {
    limit_.expires_after(limit);
    limit_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
      if (!failure) self->finish(std::nullopt);
    });
    const int notify = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (notify >= 0) {
      changes_.assign(notify);
      // The socket gets its name by a rename, when it can be connected to.
      if (::inotify_add_watch(notify, folder_.c_str(), IN_MOVED_TO) >= 0) wait();
    }
    // It may have come just before the watch.
    asio::post(limit_.get_executor(), [self = shared_from_this()] { self->look(); });
  }

  void stop() {
    done_ = nullptr;
    limit_.cancel();
    boost::system::error_code ignored;
    changes_.close(ignored);
  }

 private:
  void wait() {
    changes_.async_wait(asio::posix::stream_descriptor::wait_read,
                        [self = shared_from_this()](boost::system::error_code failure) {
                          if (failure || !self->done_) return;
                          std::array<char, 4096> events;
                          while (::read(self->changes_.native_handle(), events.data(), events.size()) > 0) {
                          }
                          self->wait();
                          self->look();
                        });
  }

  void look() {
    if (!done_) return;
    if (auto link = process::KeeperLink::connect(folder_)) finish(std::move(*link));
  }

  void finish(std::optional<process::KeeperLink> link) {
    if (!done_) return;
    const Done done = std::exchange(done_, nullptr);
    stop();
    done(std::move(link));
  }

  std::string folder_;
  Done done_;
  asio::steady_timer limit_;
  asio::posix::stream_descriptor changes_;
};

KeeperArrival::KeeperArrival(asio::io_context& io, std::string attempt_dir, Duration limit, Done done)
    : wait_(std::make_shared<Wait>(io, std::move(attempt_dir), std::move(done))) {
  wait_->begin(limit);
}
KeeperArrival::~KeeperArrival() { wait_->stop(); }

}  // namespace ebb::daemon

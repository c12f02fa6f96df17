#include "lost_tree.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <optional>

#include "ebb/process/cgroup.h"
#include "ebb/process/orphans.h"
#include "exit_watch.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// Processes that are found only by looking come and go between two looks.
constexpr Duration kLookAgain = 5ms;
constexpr Duration kLookForSurvivors = 1s;

void kill_by_pidfd(int pidfd) { (void)::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0); }

}  // namespace

class LostTree::Hunt : public std::enable_shared_from_this<Hunt> {
 public:
  Hunt(Context& context, Tree tree, Done done)
      : io_(context.io),
        tree_(std::move(tree)),
        orphans_(process::attempt_marks(tree_.attempt), tree_.leader),
        in_namespace_(context.containment.pidns.available),
        done_(std::move(done)),
        limit_(context.io),
        pause_(context.io),
        event_(context.io) {}

  void begin(Duration limit) {
    limit_.expires_after(limit);
    limit_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
      if (!failure) self->give_up();
    });
    if (!tree_.cgroup.empty()) {
      (void)process::kill_cgroup(tree_.cgroup);
      auto events = process::CgroupEvents::open(tree_.cgroup);
      if (events) {
        events_ = std::move(*events);
        event_.assign(::fcntl(events_->fd(), F_DUPFD_CLOEXEC, 0));
      }
      return look_at_cgroup();
    }
    if (tree_.init) {
      kill_by_pidfd(tree_.init.get());
      exit_.emplace(io_, std::move(tree_.init), [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->finish("the namespace's init is gone");
      });
      return;
    }
    look_for_orphans();
  }

  void stop() {
    done_ = nullptr;
    limit_.cancel();
    pause_.cancel();
    boost::system::error_code ignored;
    event_.close(ignored);
    exit_.reset();
  }

 private:
  void look_at_cgroup() {
    if (!events_ || !events_->populated()) {
      asio::post(event_.get_executor(), [self = shared_from_this()] {
        // A root job may have left its group.
        if (self->in_namespace_) return self->finish("cgroup.events populated=0");
        self->found_ = "cgroup.events populated=0, no process has its marker";
        self->look_for_orphans();
      });
      return;
    }
    event_.async_wait(asio::posix::stream_descriptor::wait_error,
                      [self = shared_from_this()](boost::system::error_code failure) {
                        if (!failure) self->look_at_cgroup();
                      });
  }

  void look_for_orphans() {
    if (!done_) return;
    if (orphans_.sweep()) {
      asio::post(event_.get_executor(), [self = shared_from_this()] { self->finish(self->found_); });
      return;
    }
    pause_.expires_after(gave_up_ ? kLookForSurvivors : kLookAgain);
    pause_.async_wait([self = shared_from_this()](boost::system::error_code failure) {
      if (!failure) self->look_for_orphans();
    });
  }

  void give_up() {
    if (!done_) return;
    gave_up_ = true;
    const Done done = done_;  // it may destroy the hunt's owner
    done(false, "still there after the kill");
  }

  void finish(std::string how) {
    if (!done_) return;
    const Done done = std::exchange(done_, nullptr);
    stop();
    done(true, std::move(how));
  }

  asio::io_context& io_;
  Tree tree_;
  process::Orphans orphans_;
  bool in_namespace_;
  std::string found_ = "no process has its marker";
  Done done_;
  asio::steady_timer limit_;
  asio::steady_timer pause_;
  asio::posix::stream_descriptor event_;
  std::optional<process::CgroupEvents> events_;
  std::optional<ExitWatch> exit_;
  bool gave_up_ = false;
};

LostTree::LostTree(Context& context, Tree tree, Duration limit, Done done)
    : hunt_(std::make_shared<Hunt>(context, std::move(tree), std::move(done))) {
  hunt_->begin(limit);
}
LostTree::~LostTree() { hunt_->stop(); }

}  // namespace ebb::daemon

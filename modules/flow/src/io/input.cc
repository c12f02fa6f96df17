#include "io/input.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "ebb/flow/runtime/worker.h"

namespace ebb::flow {
namespace {

constexpr std::size_t kBlock = std::size_t{256} << 10;

bool is_regular(int fd) {
  struct stat info{};
  return ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

IoError io_error(int errno_value, std::string_view what) {
  return IoError("ebb: " + errno_error(errno_value, what).message);
}

void fail_run(Context& context) noexcept {
  context.worker().run().fail(context.name(), std::current_exception());
}

Input::Input(UniqueFd fd, std::string name, std::stop_token stop)
    : fd_(std::move(fd)), name_(std::move(name)), wake_(std::move(stop)), waits_(!is_regular(fd_.get())) {}

std::unique_ptr<Input> Input::open(const std::string& path, std::stop_token stop) {
  // A pipe without a writer must not hold up the opening. The standard input is not opened anew: it may be a
  // socket, or a file that others have read from.
  const bool standard = path == "/dev/stdin";
  UniqueFd fd;
  do {
    fd.reset(standard ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                      : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  } while (!fd && errno == EINTR);
  if (!fd) throw io_error(errno, "cannot open " + path);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) throw io_error(errno, "cannot open " + path);
  if (S_ISDIR(info.st_mode)) throw io_error(EISDIR, "cannot read " + path);
  return std::make_unique<Input>(std::move(fd), path, std::move(stop));
}

std::size_t Input::read(std::span<char> to) {
  for (;;) {
    if (waits_ && wake_.wait(fd_.get(), POLLIN) == Wake::Why::stopped) {
      stopped_ = true;
      return 0;
    }
    const ssize_t got = ::read(fd_.get(), to.data(), to.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR && errno != EAGAIN) throw io_error(errno, "cannot read " + name_);
  }
}

bool Window::fill(Input& input) {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // At least as much again, so that what is long is not looked through again for each block.
  const std::size_t room = std::max(kBlock, 2 * end_);
  if (buffer_.size() < room) buffer_.resize(room);
  const std::size_t got = input.read(std::span(buffer_).subspan(end_));
  end_ += got;
  return got > 0;
}

bool LineReader::at_hand() {
  if (at_) return true;
  if (skipping_) return false;
  const std::size_t found = window_.data_behind(searched_).find('\n');
  if (found == std::string_view::npos) {
    searched_ = window_.data().size();
    return false;
  }
  at_ = searched_ + found;
  return true;
}

std::optional<std::string_view> LineReader::next(Input& input) {
  const auto take = [&](std::size_t length, std::size_t with_end) {
    std::string_view line = window_.data().substr(0, length);
    window_.skip(with_end);  // what it names stays where it is until something is read
    searched_ = 0;
    at_.reset();
    ++number_;
    if (with_end > length && line.ends_with('\r')) line.remove_suffix(1);
    if (line.size() > longest_) refuse(input);
    return line;
  };
  for (;;) {
    if (skipping_) {
      const std::size_t end = window_.data().find('\n');
      skipping_ = end == std::string_view::npos;
      window_.skip(skipping_ ? window_.data().size() : end + 1);
    }
    if (at_hand()) return take(*at_, *at_ + 1);
    // An end of line may still follow.
    if (window_.data().size() > longest_ + 1) {
      ++number_;
      window_.clear();
      searched_ = 0;
      skipping_ = true;
      refuse(input);
    }
    if (!window_.fill(input)) {
      const std::size_t rest = window_.data().size();
      if (rest == 0 || skipping_ || input.stopped()) return std::nullopt;
      return take(rest, rest);
    }
  }
}

void LineReader::refuse(const Input& input) const {
  throw std::length_error("ebb: " + input.name() + ", line " + std::to_string(number_) + ": longer than " +
                          std::to_string(longest_) + " bytes; max_line allows more");
}

void LineReader::restart() {
  window_.clear();
  searched_ = 0;
  at_.reset();
  number_ = 0;
  skipping_ = false;
}

}  // namespace ebb::flow

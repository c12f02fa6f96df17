#include "output.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace ebb::process {
namespace {

constexpr std::size_t kChunk = 64 << 10;  // a pipe's usual size
constexpr std::size_t kMostAtOnce = 4 * kChunk;
constexpr std::size_t kMostAtEnd = 1 << 20;  // what a pipe can hold at most (fs.pipe-max-size for users)

Result<void> make_pipe(UniqueFd& reader, UniqueFd& writer) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "cannot make a pipe for the output");
  reader.reset(ends[0]);
  writer.reset(ends[1]);
  // Only this end: the job's own must block as any pipe does.
  if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return errno_error(errno, "cannot set up a pipe");
  return {};
}

}  // namespace

Result<Output::WriteEnds> Output::open(const LaunchSpec& spec) {
  WriteEnds ends;
  if (auto made = make_pipe(out_, ends.out); !made) return std::move(made).error();
  if (auto made = make_pipe(err_, ends.err); !made) return std::move(made).error();
  log_dir_ = spec.log_dir;
  log_limit_ = spec.log_limit_bytes;
  return ends;
}

void Output::add_polls(std::vector<pollfd>& entries) const {
  for (const UniqueFd* pipe : {&out_, &err_}) {
    if (*pipe) entries.push_back({.fd = pipe->get(), .events = POLLIN, .revents = 0});
  }
}

void Output::drain(UniqueFd& pipe, LogStream stream, std::size_t most) noexcept {
  static std::array<char, kChunk> buffer;  // not on the stack: its pages stay in use anyway
  for (std::size_t taken = 0; pipe && taken < most;) {
    const ssize_t got = ::read(pipe.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      pipe.reset();
      return;
    }
    const auto size = static_cast<std::size_t>(got);
    keep(stream, {buffer.data(), size});
    taken += size;
  }
}

void Output::keep(LogStream stream, std::string_view bytes) noexcept {
  if (log_dir_.empty()) return;
  const WallTime now = system_clock().wall();
  if (!log_) {
    // On a disk that takes nothing it is tried again with the next bytes; those until then are a gap.
    auto log = LogWriter::create(log_dir_, log_limit_, now, lost_);
    if (!log) {
      lost_ += bytes.size();
      return;
    }
    log_.emplace(std::move(*log));
  }
  log_->append(stream, bytes, now);
}

void Output::read(const Ready& ready) noexcept {
  if (out_ && ready(out_.get())) drain(out_, LogStream::out, kMostAtOnce);
  if (err_ && ready(err_.get())) drain(err_, LogStream::err, kMostAtOnce);
}

void Output::finish() noexcept {
  drain(out_, LogStream::out, kMostAtEnd);
  drain(err_, LogStream::err, kMostAtEnd);
  out_.reset();
  err_.reset();
  if (log_) log_->close(system_clock().wall());
}

}  // namespace ebb::process

#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/base/unique_fd.h"
#include "ebb/flow/context.h"
#include "io/wake.h"

/// What the sources of files and sockets share: reading under a stop token, a window over what was read, and
/// which errors a policy may deal with.
namespace ebb::flow {

/// The operating system refused something. That is no record which could be left out: it fails the pipeline.
class IoError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// "ebb: WHAT: the text of this errno".
[[nodiscard]] IoError io_error(int errno_value, std::string_view what);
/// Fails the run with what is being handled, where the function of this context is.
void fail_run(Context& context) noexcept;

/// A descriptor that is read to its end, or until a stop is requested. One thread.
class Input {
 public:
  Input(UniqueFd fd, std::string name, std::stop_token stop);
  /// A file, a pipe or a terminal; /dev/stdin goes on where the descriptor 0 stands. Throws IoError.
  [[nodiscard]] static std::unique_ptr<Input> open(const std::string& path, std::stop_token stop);

  /// Waits for some bytes; 0 at the end, or when a stop is requested. Throws IoError.
  [[nodiscard]] std::size_t read(std::span<char> to);
  /// A read has ended because a stop was requested: what came last may be half.
  [[nodiscard]] bool stopped() const noexcept { return stopped_; }
  /// For messages.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  UniqueFd fd_;
  std::string name_;
  Wake wake_;
  bool stopped_ = false;
  bool waits_;  // its reads may wait: it is no regular file
};

/// What was read of an input and not yet used, as one piece.
class Window {
 public:
  [[nodiscard]] std::string_view data() const noexcept { return {buffer_.data() + begin_, end_ - begin_}; }
  [[nodiscard]] std::string_view data_behind(std::size_t used) const noexcept { return data().substr(used); }
  void skip(std::size_t bytes) noexcept { begin_ += bytes; }
  /// Reads once, and makes room for it: what stands there is moved, so data() is another. False at the end.
  bool fill(Input& input);
  void clear() noexcept { begin_ = end_ = 0; }

 private:
  std::string buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

/// Cuts an input into lines.
class LineReader {
 public:
  explicit LineReader(std::size_t longest) : longest_(longest) {}

  /// A line can be had without reading.
  [[nodiscard]] bool at_hand();
  /// The next line without its end, until the next call; nothing at the end. A line that is too long is left
  /// out and thrown as std::length_error.
  [[nodiscard]] std::optional<std::string_view> next(Input& input);
  /// Of the line that next() gave last; the first is 1.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  void restart();

 private:
  [[noreturn]] void refuse(const Input& input) const;

  std::size_t longest_;
  Window window_;
  std::size_t searched_ = 0;       // so far there is no line end in the window
  std::optional<std::size_t> at_;  // the line end that was found
  std::uint64_t number_ = 0;
  bool skipping_ = false;  // the rest of a line that was too long
};

/// Gathers records until `more` says that the next would have to be waited for. What `one` throws comes out
/// when the records before it are gone. `one` puts the next record into a slot and gives false at the end.
template <typename T>
class Gatherer {
 public:
  template <typename One, typename More>
  std::span<T> gather(Context& context, std::size_t limit, One&& one, More&& more) {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    const std::size_t most = std::min(std::max<std::size_t>(limit, 1), kMost);
    std::size_t count = 0;
    try {
      do {
        if (records_.size() == count) records_.emplace_back();
        if (!one(records_[count])) break;
        ++count;
      } while (count < most && more());
    } catch (const IoError&) {
      fail_run(context);
      count = 0;
    } catch (...) {
      if (count == 0) throw;
      error_ = std::current_exception();
    }
    return {records_.data(), count};
  }

 private:
  static constexpr std::size_t kMost = 1024;
  std::vector<T> records_;
  std::exception_ptr error_;
};

}  // namespace ebb::flow

#pragma once

#include <optional>
#include <string>
#include <utility>

#include "output.h"
#include "run_context.h"

namespace ebb::client {

/// Copies a job's output to our own stdout and stderr, from its first byte to its end, over as many
/// connections as that takes, without a gap or a byte twice.
class LogCopy {
 public:
  LogCopy(RunContext& context, std::string id, Output& out, Output& err)
      : context_(context), id_(std::move(id)), out_(out), err_(err) {}

  /// To be run once; returns at the log's end, or on an error(). What it reads it keeps until show().
  Task<void> copy();
  void show() {
    if (!std::exchange(shown_, true)) context_.changed.ring();
  }
  /// The job is over: from now on a few failures in a row end it.
  void job_is_over() noexcept { job_over_ = true; }

  /// Goes on over a new connection: the old one may be cut without a word, and would be waited for.
  void connect_again() noexcept {
    if (connection_) connection_->close();
  }

  [[nodiscard]] bool done() const noexcept { return done_; }
  /// Why the rest of the output could not be had.
  [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }

 private:
  Task<void> read(Connection& connection);

  RunContext& context_;
  std::string id_;
  Output& out_;
  Output& err_;
  std::optional<Connection> connection_;  ///< while it is read
  std::uint64_t next_ = 0;
  bool shown_ = false;
  bool job_over_ = false;
  bool ended_ = false;
  bool done_ = false;
  std::optional<Error> error_;
};

}  // namespace ebb::client

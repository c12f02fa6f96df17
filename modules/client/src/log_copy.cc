#include "log_copy.h"

#include "ebb/model/log_frame.h"

namespace ebb::client {
namespace {

// Read ahead of a slow reader of ours, and no further: then the daemon waits too.
constexpr std::size_t kReadAhead = 256 << 10;
constexpr int kTriesAfterEnd = 4;

}  // namespace

Task<void> LogCopy::copy() {
  Backoff backoff;
  int tries_after_end = 0;
  while (!ended_ && !error_) {
    auto connection = co_await context_.connect(std::chrono::seconds(5));
    const std::uint64_t before = next_;
    if (connection) {
      connection_.emplace(std::move(*connection));
      co_await read(*connection_);
      connection_.reset();
    }
    if (ended_ || error_) break;
    if (next_ != before) backoff.reset();
    if (job_over_ && ++tries_after_end == kTriesAfterEnd) {
      error_ =
          Error{.code = Errc::unavailable,
                .message = "the end of the output is missing: the server is gone; 'ebb logs " + id_ + "'",
                .pointer = {},
                .type = {}};
      break;
    }
    co_await rest(context_.io, backoff.next());
  }
  done_ = true;
  context_.changed.ring();
}

Task<void> LogCopy::read(Connection& connection) {
  constexpr auto kOpening = std::chrono::seconds(10);
  Request request{.target = "/v1/jobs/" + id_ + "/logs?stream=both&follow=1&offset=" + std::to_string(next_),
                  .accept = std::string(model::kLogFramesType)};
  const auto opened = co_await connection.open(std::move(request), kOpening);
  if (!opened) co_return;
  if (!opened->ok()) {
    if (opened->status != 503) error_ = error_of(*opened);
    co_return;
  }
  model::LogFrameParser parser;
  while (true) {
    // A job may be silent for as long as it likes; that the server lives, the owner's stream shows.
    const auto bytes = co_await connection.read_some(std::chrono::hours(24 * 365));
    if (!bytes || bytes->empty()) co_return;
    parser.feed(*bytes);
    while (true) {
      const auto frame = parser.next();
      if (!frame) {
        error_ = frame.error();
        co_return;
      }
      if (!*frame) break;
      using Kind = model::LogFrame::Kind;
      while (!shown_ && (*frame)->kind != Kind::end) co_await context_.changed.wait();
      switch ((*frame)->kind) {
        case Kind::end:
          ended_ = true;
          co_return;
        case Kind::gap:
          context_.say((*frame)->data + " bytes of output are missing here");
          continue;
        case Kind::out:
        case Kind::err:
          break;
      }
      Output& to = (*frame)->kind == Kind::out ? out_ : err_;
      to.write((*frame)->data);
      next_ = (*frame)->offset + (*frame)->data.size();
      co_await to.drain(kReadAhead);
    }
  }
}

}  // namespace ebb::client

#include "core.h"
#include "ebb/model/json.h"
#include "ebb/model/log_frame.h"
#include "ebb/process/log_reader.h"
#include "handlers.h"
#include "parameters.h"
#include "state_watch.h"

namespace ebb::server {
namespace {

using model::LogFrame;
using process::LogBatch;
using process::LogFilter;
using process::LogPiece;

// A reader behind a pager that is not scrolled keeps nobody else waiting; but for ever is too long over TCP.
constexpr Duration kSocketStall = std::chrono::hours(24);
constexpr Duration kTcpStall = std::chrono::minutes(10);
constexpr Duration kLong = std::chrono::hours(1);
constexpr std::int64_t kMostLines = 1'000'000;

struct Options {
  JobId id;
  LogFilter filter = LogFilter::both;
  std::optional<std::uint64_t> offset;
  std::optional<std::size_t> tail;
  bool follow = false;
  bool frames = false;
};

Result<Options> options_of(const Request& request) {
  Options options;
  auto id = job_id(request);
  if (!id) return id.error();
  options.id = *id;
  const std::string_view stream = request.query("stream").value_or("both");
  if (stream == "stdout") {
    options.filter = LogFilter::out;
  } else if (stream == "stderr") {
    options.filter = LogFilter::err;
  } else if (stream != "both") {
    return bad_parameter("stream", "both, stdout or stderr");
  }
  if (request.query("offset")) {
    auto offset = integer_parameter(request, "offset", 0, 0, INT64_MAX);
    if (!offset) return offset.error();
    options.offset = static_cast<std::uint64_t>(*offset);
  }
  if (request.query("tail")) {
    auto lines = integer_parameter(request, "tail", 0, 0, kMostLines);
    if (!lines) return lines.error();
    if (options.offset) return bad_parameter("tail", "offset and tail exclude each other");
    options.tail = static_cast<std::size_t>(*lines);
  }
  auto follow = flag_parameter(request, "follow");
  if (!follow) return follow.error();
  options.follow = *follow;
  options.frames = request.accepts(model::kLogFramesType);
  return options;
}

std::string text_of(const LogBatch& batch, bool frames) {
  std::string text;
  for (const LogPiece& piece : batch.pieces) {
    if (!frames) {
      text += piece.bytes;
      continue;
    }
    LogFrame frame{.kind = LogFrame::Kind::gap, .offset = piece.offset, .data = {}};
    if (piece.kind != LogPiece::Kind::bytes) {
      frame.data = std::to_string(piece.length);
    } else {
      frame.kind = piece.stream == process::LogStream::out ? LogFrame::Kind::out : LogFrame::Kind::err;
      frame.data = piece.bytes;
    }
    text += model::encode(frame);
  }
  return text;
}

// One reader of one job's log. Waits on three things with one Wakeup: the log, the job's state, the peer.
class LogStream {
 public:
  LogStream(Core& core, Request& request, Options options)
      : core_(core),
        request_(request),
        connection_(*request.connection),
        options_(options),
        wakeup_(core.io()),
        stall_(connection_.remote().over_socket ? kSocketStall : kTcpStall) {}

  Task<int> run() {
    auto job = core_.daemon().job(request_.caller, options_.id);
    if (!job) co_return co_await refuse(job.error());
    connection_.watch(&wakeup_);
    std::optional<StateWatch> watch;
    if (options_.follow) {
      watch.emplace(core_.io(), core_.daemon(), request_.caller, options_.id, job->state, wakeup_);
    }
    auto opened = co_await open();
    if (!opened) co_return co_await refuse(opened.error());
    Response beginning = head();
    const bool begun = co_await connection_.begin(request_, std::move(beginning));
    if (!begun) co_return 200;
    bool whole = !reader_;  // it ended without having had a log
    if (reader_) {
      auto read = co_await copy();
      if (!read) {
        connection_.close();  // mid-answer there is no other way to say it
        co_return 200;
      }
      whole = *read;
    }
    connection_.watch(nullptr);
    if (connection_.gone()) co_return 200;
    if (options_.frames && whole) {
      const LogFrame end{.kind = LogFrame::Kind::end, .offset = at_, .data = {}};
      const std::string bytes = model::encode(end);
      const bool sent = co_await connection_.write(request_, bytes, stall_);
      if (!sent) co_return 200;
    }
    co_await connection_.finish(request_);
    co_return 200;
  }

 private:
  [[nodiscard]] bool job_over() const {
    const auto job = core_.daemon().job(request_.caller, options_.id);
    return !job || model::is_terminal(job->state);
  }
  [[nodiscard]] bool stopped() const { return connection_.gone() || core_.closing(); }

  Response head() const {
    Response response{.content_type = options_.frames ? std::string(model::kLogFramesType)
                                                      : std::string("text/plain; charset=utf-8"),
                      .body = {}};
    response.headers.emplace_back("Ebb-Log-Offset", std::to_string(at_));
    if (!folder_.empty()) response.headers.emplace_back("Ebb-Log-Path", folder_.native());
    return response;
  }

  Task<int> refuse(Error error) {
    connection_.watch(nullptr);
    Response refusal = problem(error);
    const int status = refusal.status;
    co_await connection_.send(request_, std::move(refusal));
    co_return status;
  }

  // Opens the log; with follow waits for the job to have one. No reader: there is none, and none will come.
  Task<Result<void>> open() {
    while (!stopped()) {
      const bool over = job_over();  // before the look: a log that came meanwhile is then not missed
      auto folder = core_.daemon().log_folder(request_.caller, options_.id);
      if (!folder && folder.error().type != "no-log") co_return folder.error();
      if (folder) {
        folder_ = *folder;
        if (options_.follow) {  // before the look: what changes meanwhile is then not missed
          auto follow = core_.logs().follow(folder_, wakeup_);
          if (!follow) co_return follow.error();
          follow_ = std::move(*follow);
        }
        auto reader = process::LogReader::open(folder_);
        if (reader) {
          reader_.emplace(std::move(*reader));
          co_return start();
        }
        if (reader.error().code != Errc::not_found) co_return reader.error();
      }
      if (over || !options_.follow) break;
      co_await wakeup_.wait(kLong);
    }
    at_ = options_.offset.value_or(0);
    co_return Result<void>();
  }

  // Where to begin.
  Result<void> start() {
    auto first = options_.tail ? reader_->tail(*options_.tail, options_.filter) : reader_->begin();
    if (!first) return first.error();
    // From the very beginning in frames, which can say how much of it is no longer kept; else where bytes
    // begin.
    at_ = options_.offset.value_or(options_.frames && !options_.tail ? 0 : *first);
    if (!options_.follow) {
      // Read once ahead of the answer's head, so that a bad offset is an error and not a broken stream.
      auto probe = reader_->read(at_, options_.filter, 1);
      if (!probe) return probe.error();
    }
    if (!options_.follow) return {};
    auto follow = core_.logs().follow(folder_, wakeup_);
    if (!follow) return follow.error();
    follow_ = std::move(*follow);
    return {};
  }

  // Copies until the log's end (true), what there is now (false), or the peer's end.
  Task<Result<bool>> copy() {
    while (!stopped()) {
      const bool over = job_over();
      auto batch = reader_->read(at_, options_.filter);
      if (!batch) co_return batch.error();
      at_ = batch->next;
      const std::string text = text_of(*batch, options_.frames);
      const bool sent = co_await connection_.write(request_, text, stall_);
      if (!sent) co_return false;
      if (batch->state == LogBatch::State::ended) co_return true;
      if (batch->state == LogBatch::State::more) continue;
      if (over) co_return true;  // its writer died without closing it
      if (!options_.follow) co_return false;
      co_await wakeup_.wait(kLong);
    }
    co_return false;
  }

  Core& core_;
  Request& request_;
  Connection& connection_;
  Options options_;
  Wakeup wakeup_;
  Duration stall_;
  std::filesystem::path folder_;
  std::optional<process::LogReader> reader_;
  LogWatches::Follow follow_;
  std::uint64_t at_ = 0;
};

}  // namespace

Task<int> get_logs(Core& core, Request& request) {
  auto options = options_of(request);
  if (!options) {
    Response refusal = problem(options.error());
    const int status = refusal.status;
    co_await request.connection->send(request, std::move(refusal));
    co_return status;
  }
  LogStream stream(core, request, *options);
  co_return co_await stream.run();
}

}  // namespace ebb::server

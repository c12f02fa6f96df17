#include "owner_stream.h"

#include "ebb/base/units.h"

namespace ebb::client {

Task<void> OwnerStream::follow(Connection first) {
  std::optional<Connection> connection(std::move(first));
  while (!report_ && !error_) {
    if (connection) co_await open_and_read(*connection);
    if (report_ || error_) break;
    note_lost();
    connection.reset();
    const BootTime limit = *lost_since_ + sought_;
    if (BootClock::now() >= limit) break;
    co_await rest(context_.io, backoff_.next());
    auto again = co_await context_.connect(std::min(Duration(std::chrono::seconds(5)), sought_));
    if (again) connection.emplace(std::move(*again));
  }
  context_.changed.ring();
}

void OwnerStream::note_lost() {
  if (lost_since_) return;
  lost_since_ = BootClock::now();
  context_.say("lost the server at " + context_.endpoints.front().text() + "; looking for it for " +
               format_duration(sought_));
  context_.changed.ring();
}

Task<void> OwnerStream::open_and_read(Connection& connection) {
  constexpr auto kOpening = std::chrono::seconds(10);
  Request request{.target = "/v1/jobs/" + id_ + "/owner?acks=1", .accept = "text/event-stream"};
  const auto opened = co_await connection.open(std::move(request), kOpening);
  if (!opened) co_return;
  if (!opened->ok()) {
    // A daemon that is starting or ending says so, and is worth asking again.
    if (opened->status != 503) error_ = error_of(*opened);
    co_return;
  }
  if (lost_since_) {
    context_.say("the server is back");
    if (on_back) on_back();
  }
  lost_since_.reset();
  opened_ = true;
  backoff_.reset();
  context_.changed.ring();
  SseParser parser;
  while (true) {
    const auto bytes = co_await connection.read_some(silence_);
    if (!bytes || bytes->empty()) co_return;
    parser.feed(*bytes);
    while (true) {
      const auto event = parser.next();
      if (!event) {
        error_ = event.error();
        co_return;
      }
      if (!*event) break;
      if ((*event)->name != "ping") {
        if (!take(**event)) co_return;
        continue;
      }
      const auto alive = co_await connection.send_raw("\r\n");
      if (!alive) co_return;
    }
  }
}

bool OwnerStream::take(const ServerEvent& event) {
  if (event.name == "job") {
    const auto job = Client::parse_answer<model::Job>(event.data);
    if (job && on_job) on_job(*job);
  } else if (event.name == "report") {
    auto report = Client::parse_answer<model::Report>(event.data);
    if (report) {
      report_ = std::move(*report);
    } else {
      error_ = report.error();
    }
    return false;
  }
  return true;
}

}  // namespace ebb::client

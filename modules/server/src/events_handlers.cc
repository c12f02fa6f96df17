#include <charconv>

#include "core.h"
#include "ebb/model/json.h"
#include "handlers.h"
#include "parameters.h"

namespace ebb::server {
namespace {

constexpr Duration kHeartbeat = std::chrono::seconds(15);
constexpr Duration kStall = std::chrono::seconds(60);

std::string text_of(const daemon::Daemon::Events& batch) {
  std::string text;
  if (batch.reset) text += "event: reset\ndata: {}\n\n";
  for (const model::Event& event : batch.events) {
    text += "id: " + std::to_string(event.seq) + "\nevent: " + event.type +
            "\ndata: " + model::json_text(event) + "\n\n";
  }
  return text;
}

}  // namespace

Task<int> get_events(Core& core, Request& request) {
  Connection& connection = *request.connection;
  std::int64_t seq = core.daemon().last_event();
  if (const auto last = request.header("last-event-id")) {
    const auto [end, failure] = std::from_chars(last->data(), last->data() + last->size(), seq);
    if (failure != std::errc() || end != last->data() + last->size() || seq < 0) {
      Response refusal =
          problem(422, "invalid-request", "Last-Event-ID must be the id of an event, a number");
      co_await connection.send(request, std::move(refusal));
      co_return 422;
    }
  }
  Response head{.content_type = "text/event-stream", .body = {}};
  const bool begun = co_await connection.begin(request, std::move(head));
  if (!begun) co_return 200;
  // Says at once that the stream stands: nothing from here on can be missed.
  const std::string opening = ": from " + std::to_string(seq) + "\n\n";
  const bool opened = co_await connection.write(request, opening, kStall);
  if (!opened) co_return 200;
  while (!connection.gone() && !core.closing()) {
    auto batch = co_await core.daemon().events(request.caller, seq, kHeartbeat);
    if (!batch) break;
    std::string text = text_of(*batch);
    if (!batch->events.empty()) seq = batch->events.back().seq;
    if (text.empty()) text = ": \n\n";
    const bool sent = co_await connection.write(request, text, kStall);
    if (!sent) co_return 200;
  }
  co_await connection.finish(request);
  co_return 200;
}

}  // namespace ebb::server

#include "ebb/flow/io/lines.h"

#include <optional>

#include "io/input.h"
#include "io/socket.h"

namespace ebb::flow {

std::string address_of(const std::string& host, int port) {
  return SocketAddress{.host = host, .port = std::to_string(port)}.text();
}

struct LineSource::State {
  std::string path;                      // of a file
  std::optional<SocketAddress> address;  // else
  SocketOptions socket{};
  LineReader reader;
  Context* context = nullptr;
  std::unique_ptr<Input> input{};
  std::unique_ptr<Listener> listener{};
  Gatherer<std::string> gatherer{};

  bool next(std::string& out) {
    for (;;) {
      if (listener && !input) {
        input = listener->accept();
        if (!input) return false;
        reader.restart();
      }
      if (!input) return false;  // it was told to stop before it had one
      std::optional<std::string_view> line;
      try {
        line = reader.next(*input);
      } catch (const IoError& error) {
        if (!listener) throw;
        // One client's trouble: a record that is in error. The next one may come.
        const std::string what = error.what();
        input.reset();
        throw std::runtime_error(what);
      }
      if (line) {
        out.assign(*line);
        return true;
      }
      if (!listener || input->stopped()) return false;
      input.reset();
    }
  }
};

LineSource::LineSource(std::string path, const LinesOptions& options)
    : state_(new State{
          .path = std::move(path), .address = {}, .socket = {}, .reader = LineReader(options.max_line)}) {}
LineSource::LineSource(const std::string& address, const SocketOptions& options)
    : state_(new State{.path = {},
                       .address = SocketAddress::parse(address),
                       .socket = options,
                       .reader = LineReader(options.max_line)}) {}
LineSource::LineSource(LineSource&&) noexcept = default;
LineSource& LineSource::operator=(LineSource&&) noexcept = default;
LineSource::~LineSource() = default;

void LineSource::open(Context& context) {
  State& s = *state_;
  s.context = &context;
  if (!s.address) {
    s.input = Input::open(s.path, context.stop_token());
  } else if (s.socket.listen) {
    s.listener = std::make_unique<Listener>(*s.address, context.stop_token());
  } else {
    s.input = connect_to(*s.address, s.socket.connect_timeout, context.stop_token());
  }
}

std::span<std::string> LineSource::batch(std::size_t limit) {
  State& s = *state_;
  return s.gatherer.gather(
      *s.context, limit, [&](std::string& out) { return s.next(out); }, [&] { return s.reader.at_hand(); });
}

void LineSource::close() {
  state_->input.reset();
  state_->listener.reset();
}

}  // namespace ebb::flow

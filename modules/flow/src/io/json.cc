#include "ebb/flow/io/json.h"

#include <boost/json/value.hpp>
#include <stdexcept>

#include "ebb/model/json.h"
#include "io/input.h"

namespace ebb::flow {

struct JsonSource::State {
  std::string path;
  model::JsonLimits limits;
  LineReader reader;
  Context* context = nullptr;
  std::unique_ptr<Input> input{};
  Gatherer<boost::json::value> gatherer{};

  bool next(boost::json::value& out) {
    for (;;) {
      const auto line = reader.next(*input);
      if (!line) return false;
      if (line->find_first_not_of(" \t\r") == std::string_view::npos) continue;
      auto value = model::parse_json(*line, limits);
      if (!value) {
        const Error& error = value.error();
        throw std::runtime_error("ebb: " + path + ", line " + std::to_string(reader.number()) + ": " +
                                 error.message + (error.pointer.empty() ? "" : ", at " + error.pointer));
      }
      out = std::move(*value);
      return true;
    }
  }
};

JsonSource::JsonSource(std::string path, const JsonOptions& options)
    : state_(new State{.path = std::move(path),
                       .limits = {.bytes = options.max_line, .depth = options.max_depth},
                       .reader = LineReader(options.max_line)}) {}
JsonSource::JsonSource(JsonSource&&) noexcept = default;
JsonSource& JsonSource::operator=(JsonSource&&) noexcept = default;
JsonSource::~JsonSource() = default;

void JsonSource::open(Context& context) {
  state_->context = &context;
  state_->input = Input::open(state_->path, context.stop_token());
}

std::span<boost::json::value> JsonSource::batch(std::size_t limit) {
  State& s = *state_;
  return s.gatherer.gather(
      *s.context, limit, [&](boost::json::value& out) { return s.next(out); },
      [&] { return s.reader.at_hand(); });
}

void JsonSource::close() { state_->input.reset(); }

}  // namespace ebb::flow

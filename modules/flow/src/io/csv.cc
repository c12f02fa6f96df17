#include "ebb/flow/io/csv.h"

#include "io/csv_reader.h"
#include "io/input.h"

namespace ebb::flow {

struct CsvSource::State {
  std::string path;
  CsvReader reader;
  Context* context = nullptr;
  std::unique_ptr<Input> input{};
  Gatherer<CsvRow> gatherer{};
};

CsvSource::CsvSource(std::string path, const CsvOptions& options) {
  check_delimiter(options.delimiter);
  CsvReader reader(path, options);
  state_ = std::make_unique<State>(State{.path = std::move(path), .reader = std::move(reader)});
}
CsvSource::CsvSource(CsvSource&&) noexcept = default;
CsvSource& CsvSource::operator=(CsvSource&&) noexcept = default;
CsvSource::~CsvSource() = default;

void CsvSource::open(Context& context) {
  state_->context = &context;
  state_->input = Input::open(state_->path, context.stop_token());
}

std::span<CsvRow> CsvSource::batch(std::size_t limit) {
  State& s = *state_;
  return s.gatherer.gather(
      *s.context, limit, [&](CsvRow& row) { return s.reader.next(*s.input, row); },
      [&] { return s.reader.at_hand(); });
}

void CsvSource::close() { state_->input.reset(); }

}  // namespace ebb::flow

#include "ebb/lifecycle/blocking.h"

#include <cassert>
#include <exception>

#include "ebb/base/units.h"
#include "records.h"

namespace ebb::lifecycle {

BlockingScope::BlockingScope(BlockingScope&& other) noexcept
    : clock_(other.clock_),
      entries_(std::exchange(other.entries_, {})),
      records_(std::exchange(other.records_, {})),
      released_(std::exchange(other.released_, true)) {}

BlockingScope& BlockingScope::operator=(BlockingScope&& other) noexcept {
  if (this == &other) return *this;
  release();
  clock_ = other.clock_;
  entries_ = std::exchange(other.entries_, {});
  records_ = std::exchange(other.records_, {});
  released_ = std::exchange(other.released_, true);
  return *this;
}

BlockingScope::~BlockingScope() { release(); }

void BlockingScope::add(model::ReleaseRecord what, Duration limit, Function function) {
  assert(!released_ && function);
  entries_.push_back({std::move(what), limit, std::move(function)});
}

const BlockingScope::Records& BlockingScope::release() noexcept {
  if (released_) return records_;
  released_ = true;
  records_.reserve(entries_.size());
  while (!entries_.empty()) {
    const Entry entry = std::move(entries_.back());
    entries_.pop_back();
    const BootTime begun = clock_->boot();
    const BootTime deadline = begun + entry.limit;
    model::ReleaseRecord record;
    try {
      record = entry.function(deadline);
      demand_verification(record);
    } catch (...) {
      record = failure_record(entry.what, "could not be released: ", std::current_exception());
    }
    const Duration took = clock_->boot() - begun;
    if (took > entry.limit && record.outcome == model::Outcome::released) {
      record.outcome = model::Outcome::failed;
      record.error =
          "was released after " + format_duration(took) + "; the limit is " + format_duration(entry.limit);
    }
    fill_in_time(record, took);
    records_.push_back(std::move(record));
  }
  return records_;
}

}  // namespace ebb::lifecycle

#include "records.h"

#include <utility>

#include "ebb/base/units.h"
#include "ebb/lifecycle/blocking.h"

namespace ebb::lifecycle {

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return exception.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

model::ReleaseRecord failure_record(model::ReleaseRecord what, std::string_view prefix,
                                    const std::exception_ptr& error) {
  what.outcome = assumed_outcome(what.kind);
  what.verified_by.reset();
  what.error = std::string(prefix) + text_of(error);
  return what;
}

model::ReleaseRecord failure_record(const Release& release, std::string_view prefix,
                                    const std::exception_ptr& error) {
  model::ReleaseRecord what;
  try {
    what = release.describe();
  } catch (...) {
    what.target = "unknown";
  }
  return failure_record(std::move(what), prefix, error);
}

void demand_verification(model::ReleaseRecord& record) {
  if (record.outcome != model::Outcome::released || record.verified_by) return;
  record.outcome = assumed_outcome(record.kind);
  if (!record.error) record.error = "said to be released, but nothing verified it";
}

void fill_in_time(model::ReleaseRecord& record, Duration took) {
  if (record.took_ms == 0) record.took_ms = to_ms(took);
}

model::Outcome assumed_outcome(model::ReleaseKind kind) {
  switch (kind) {
    case model::ReleaseKind::processes:
    case model::ReleaseKind::gpu:
    case model::ReleaseKind::port:
    case model::ReleaseKind::ray:
      return model::Outcome::quarantined;
    case model::ReleaseKind::ipc:
    case model::ReleaseKind::scratch:
    case model::ReleaseKind::mount:
    case model::ReleaseKind::service:
    case model::ReleaseKind::sidecar:
      return model::Outcome::failed;
  }
  return model::Outcome::quarantined;
}

}  // namespace ebb::lifecycle

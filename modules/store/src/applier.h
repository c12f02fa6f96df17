// Carries out single writes within the transaction that the writer has begun.
#pragma once

#include <array>
#include <map>
#include <string>

#include "ebb/store/rows.h"
#include "sqlite.h"

namespace ebb::store {

/// One thread, the one that owns the connection. After a rollback forget() must be called.
class Applier {
 public:
  [[nodiscard]] static Result<Applier> make(Connection& connection);

  [[nodiscard]] Result<void> apply(const Write& write) {
    return std::visit([this](const auto& one) { return (*this)(one); }, write);
  }
  /// Drops what it remembers of rows that a rollback has taken away.
  void forget();

 private:
  explicit Applier(sqlite3* handle) : handle_(handle) {}

  Result<void> operator()(const write::AddJob& write);
  Result<void> operator()(const write::AddAttempt& write);
  Result<void> operator()(const write::SetRunning& write);
  Result<void> operator()(const write::SetDisowned& write);
  Result<void> operator()(const write::SetTier& write);
  Result<void> operator()(const write::SetStopAsked& write);
  Result<void> operator()(const write::SetEnded& write);
  Result<void> operator()(const write::AddReport& write);
  Result<void> operator()(const write::DropAttempt& write);
  Result<void> operator()(const write::PutQuarantine& write);
  Result<void> operator()(const write::DropQuarantine& write);
  Result<void> operator()(const write::AddEvent& write);
  Result<void> operator()(const write::AddIdempotency& write);
  Result<void> operator()(const write::DropJob& write);
  Result<void> operator()(const write::PutUser& write);
  Result<void> operator()(const write::PutValue& write);

  // The id of the row with these surroundings, made where they are new.
  Result<std::int64_t> surroundings(const Surroundings& from);
  // Whether the last statement changed a row; else an error that `thing` is not there.
  Result<void> changed(std::string_view thing, const std::string& id) const;

  sqlite3* handle_;
  Statement add_job_, find_surroundings_, add_surroundings_, add_attempt_, set_state_, attempt_state_,
      set_running_, set_disowned_, set_tier_, set_stop_, set_ended_, add_report_, end_job_, drop_attempt_,
      requeue_, put_quarantine_, drop_quarantine_, add_event_, prune_events_, add_idempotency_,
      prune_idempotency_, find_ended_, drop_reports_, drop_attempts_, drop_job_, drop_surroundings_, keep_id_,
      put_user_, put_value_;
  std::map<std::array<unsigned char, 32>, std::int64_t> known_;  // surroundings seen lately, by hash
  std::int64_t events_pruned_at_ = 0;
  WallTime idempotency_pruned_at_{};
};

}  // namespace ebb::store

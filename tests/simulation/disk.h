#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ebb/engine/actions.h"
#include "ebb/engine/events.h"
#include "scheduler.h"

namespace ebb::simulation {

struct World;

/// store::write::AddJob, with the key of its request where it has one.
struct AddJob {
  int job = 0;
  engine::JobInfo info;
  bool has_key = false;
};
using Write = std::variant<AddJob, engine::Record>;
using Batch = std::vector<Write>;

/// A row of the database: one job, and its last attempt.
struct Row {
  int job = 0;
  engine::JobInfo info;
  bool has_key = false;
  std::optional<engine::Restored::Attempt> attempt = {};
  std::uint32_t boot = 0;  ///< of the attempt
  std::optional<model::Report> report = {};
};
struct QuarantineRow {
  int gpu = 0;
  std::string why;
  std::optional<AttemptId> attempt;
};

/// The database behind its writer thread, which tells the daemon when a batch is on disk; there is one at a
/// time. What is in rows() is on disk, and nothing else.
class Disk {
 public:
  explicit Disk(World& world) : world_(world) {}

  enum class Outcome { done, failed, fatal };
  /// The daemon hears the outcome, unless it dies before.
  void commit(Batch batch);
  void happen(const Happening& happening);
  /// What is being written is written or not; what waits is lost.
  void daemon_dies();

  [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }
  [[nodiscard]] const std::vector<QuarantineRow>& quarantined() const { return quarantined_; }
  [[nodiscard]] Row* find(JobId job);
  [[nodiscard]] const Row* with_key(int client) const;
  [[nodiscard]] std::int64_t last_seq() const { return last_seq_; }
  /// Of jobs whose end is on disk.
  [[nodiscard]] int ended() const { return ended_; }

 private:
  void apply(const Write& write);
  void apply(const engine::Record& record);

  World& world_;
  std::vector<Row> rows_;  // in order of submission
  std::vector<QuarantineRow> quarantined_;
  std::int64_t last_seq_ = 0;
  int ended_ = 0;
  std::optional<Batch> writing_;
  Outcome outcome_ = Outcome::done;  // on its way to the daemon
  std::uint32_t turn_ = 0;
};

}  // namespace ebb::simulation

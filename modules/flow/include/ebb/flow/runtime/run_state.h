#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

#include "ebb/flow/runtime/history.h"
#include "ebb/flow/runtime/ring.h"

namespace ebb::flow {

/// What one replica of one operator has counted. Its thread writes at the borders of batches, anybody reads.
/// in = processed + filtered + skipped + dead_lettered + failed + late.
struct Counts {
  std::atomic<std::uint64_t> in{0}, processed{0}, filtered{0}, skipped{0}, dead_lettered{0}, failed{0},
      late{0}, emitted{0};
  /// What the operator before it in the same chain emitted and this one never received.
  std::array<std::atomic<std::uint64_t>, kDiscards> discarded{};
  History history;  ///< of `in`

  static void add(std::atomic<std::uint64_t>& count, std::uint64_t by) noexcept {
    count.store(count.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
};

/// How far a run still goes. It only ever grows.
enum class Halt : std::uint8_t {
  none,     ///< records flow
  cancel,   ///< nothing more is processed: asked for
  failure,  ///< likewise: an operator, a service or a limit failed
};

/// How many bytes a run may hold; from SubmitOptions, fixed before the first thread starts.
struct Limits {
  std::uint64_t state = 0;     ///< the keys' states in one replica of an operator
  std::uint64_t feedback = 0;  ///< the records that wait on one feedback edge
};

class Pool;
class Worker;

/// What all threads of one run look at: whether sources shall end, whether everything shall; and the first
/// failure. Any thread.
class RunState {
 public:
  explicit RunState(Limits limits) : limits_(limits) {}
  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }
  /// Where calls run that are not made on the threads of operators. Set before the first of those starts.
  void set_pool(Pool& pool) noexcept { pool_ = &pool; }
  [[nodiscard]] Pool& pool() const noexcept { return *pool_; }
  [[nodiscard]] Halt halt() const noexcept { return halt_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool halted() const noexcept { return halt() != Halt::none; }
  /// Why a record that is dropped now is dropped.
  [[nodiscard]] Discard discard() const noexcept {
    return halt() == Halt::failure ? Discard::failure : Discard::cancel;
  }
  /// Whether operators still get to finish() when their input ends.
  [[nodiscard]] bool finishes() const noexcept { return finishes_.load(std::memory_order_relaxed); }

  /// Sources give no more records; what is in flight flows out.
  void end_sources(bool finish) noexcept;
  void cancel() noexcept;
  /// The first failure is kept; it halts the run.
  void fail(const std::string& where, std::exception_ptr error) noexcept;

  struct Failure {
    std::string where;
    std::exception_ptr error;
  };
  [[nodiscard]] Failure failure() const;

 private:
  friend class Worker;
  void enlist(Worker& worker);
  void withdraw(Worker& worker);
  void halt_with(Halt halt) noexcept;

  const Limits limits_;
  Pool* pool_ = nullptr;
  std::atomic<Halt> halt_{Halt::none};
  std::atomic<bool> finishes_{true};
  mutable std::mutex mutex_;
  bool sources_end_ = false;
  Failure failure_;
  std::vector<Worker*> workers_;
};

}  // namespace ebb::flow

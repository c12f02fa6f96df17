#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ebb/base/clock.h"

namespace ebb::simulation {

/// True time since the simulation began. The clocks that programs see (boot, wall) are made from it.
using Moment = Duration;

/// All that can happen by itself, by who it happens to.
enum class What : std::uint8_t {
  // the daemon's process
  daemon_starts,
  daemon_crashes,
  daemon_turn,     // its loop takes the events that were told
  daemon_tick,     // the engine's timer
  daemon_retry,    // of a commit that the disk refused
  daemon_company,  // what only tells of progress has waited long enough for it
  daemon_answers,  // a submission
  // an attempt in the daemon: `subject` is its place there
  gpu_answer,      // the driver has been asked about one GPU before the lease
  gpu_release,     // the same at the release
  release_done,    // the last files are gone
  gpu_watch,       // a look at a GPU that is quarantined
  device_look,     // a look at a device that is used from outside
  answer_late,     // a keeper has not answered in time
  end_late,        // a keeper has not ended its tree in time
  arrival_late,    // a keeper has not come in time
  hunt_over,       // the daemon's own kill has shown effect
  hunt_late,       // it has not
  places_removed,  // of an attempt that never began
  ready_answer,
  // the disk
  disk_done,
  disk_told,  // the loop hears of a commit
  // a keeper and its tree: `subject` is the keeper
  keeper_listens,
  leader_executes,
  leader_exits,
  tree_obeys,    // TERM shows effect
  tree_unstuck,  // what could not be killed goes at last
  keeper_looks,  // a deadline of its own
  keeper_hears,  // a command from the daemon
  daemon_hears,  // a message from the keeper
  keeper_dies,   // SIGKILL out of the blue
  keeper_stops,  // SIGSTOP
  keeper_continues,
  // clients
  client_sends,
  request_arrives,
  answer_arrives,
  client_acts,  // cancel, connect, vanish …
  // the world
  outsider_comes,
  outsider_goes,
  driver_hangs,
  machine_reboots,
  admin_acts,  // drain, resume, shut down
  clock_jumps,
  faults_stop,
  hanging_is_cancelled,  // by an admin, after that
};

struct Happening {
  Moment at{};
  std::uint64_t order = 0;  ///< of two at one moment, the one that was planned first
  What what{};
  std::uint32_t epoch = 0;  ///< whoever plans it may have gone meanwhile: of which life it is
  std::int32_t subject = 0;
  std::int32_t detail = 0;
};

/// What is going to happen, in order of time.
class Scheduler {
 public:
  [[nodiscard]] Moment now() const { return now_; }
  [[nodiscard]] bool empty() const { return heap_.empty(); }

  void at(Moment when, What what, std::uint32_t epoch = 0, std::int32_t subject = 0,
          std::int32_t detail = 0) {
    heap_.push_back({std::max(when, now_), ++order_, what, epoch, subject, detail});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  void after(Duration wait, What what, std::uint32_t epoch = 0, std::int32_t subject = 0,
             std::int32_t detail = 0) {
    at(now_ + wait, what, epoch, subject, detail);
  }
  /// The next one; it is now.
  [[nodiscard]] Happening next() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Happening happening = heap_.back();
    heap_.pop_back();
    now_ = happening.at;
    return happening;
  }

 private:
  static bool later(const Happening& a, const Happening& b) {
    return a.at != b.at ? a.at > b.at : a.order > b.order;
  }

  std::vector<Happening> heap_;
  std::uint64_t order_ = 0;
  Moment now_{};
};

}  // namespace ebb::simulation

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <sstream>

#include "driver.h"
#include "ebb/model/json.h"

// Every event in every state, as one table: what docs/lifecycle.md says, cell by cell.
//
// A cell is the state that the job has afterwards ("=": the same) and what the engine wants, in order:
//   now      Acquire Abandon Release Watch Unwatch   as  acq abn rel wat unw
//   records  (notes left out)                        as  +job +att +run +stop +end +report +drop +quar -quar
//   -own then     Start Stop Finish Disown                as  START STOP FINISH DISOWN
namespace ebb::engine {
namespace {

using model::JobState;
using test::Driver;

constexpr std::uint32_t kJob = 1;
const AttemptId kAttempt{JobId(kJob), 1};

JobInfo subject() {
  JobInfo info = test::job(kJob);
  info.demand.ports = 1;
  info.owner_lease = 15 * test::second;
  info.waits_for_ready = true;
  info.time = 3'600 * test::second;
  return info;
}

struct State {
  const char* name;
  std::function<void(Driver&)> reach;
};

void submit(Driver& d) {
  d.submit(subject());
  d.apply(OwnerConnected{JobId(kJob)});
}
void acquired(Driver& d) {
  submit(d);
  d.apply(Acquired{kAttempt});
}
void started(Driver& d) {
  acquired(d);
  d.apply(Started{kAttempt, 7, std::nullopt});
}
void running(Driver& d) {
  started(d);
  d.apply(BecameReady{kAttempt});
}

const std::array<State, 9> kStates{{
    {"unknown", [](Driver&) {}},
    {"queued",
     [](Driver& d) {
       d.apply(DeviceChanged{false, 0, model::DeviceState::quarantined, "stuck", {}});
       submit(d);
     }},
    {"acquiring", submit},
    {"starting", acquired},
    {"unready", started},
    {"running", running},
    {"stopping",
     [](Driver& d) {
       running(d);
       d.cancel(kJob);
     }},
    {"releasing",
     [](Driver& d) {
       running(d);
       d.end(kJob);
     }},
    {"ended",
     [](Driver& d) {
       running(d);
       d.end_and_release(kJob, {{0}, {38000}, 0});
     }},
}};

std::vector<std::pair<const char*, Event>> events(const Driver& d) {
  const JobId id(kJob);
  return {
      {"StopRequested", StopRequested{id, {model::StopKind::cancelled, {}, {}}, std::nullopt}},
      {"StopRequested 0s", StopRequested{id, {model::StopKind::cancelled, {}, {}}, Duration::zero()}},
      {"Acquired", Acquired{kAttempt}},
      {"AcquireFailed",
       AcquireFailed{kAttempt, {{false, 0, model::DeviceState::outside, "in use", {{9, "root", 1}}}}}},
      {"Started", Started{kAttempt, 7, std::nullopt}},
      {"BecameReady", BecameReady{kAttempt}},
      {"ReadyFailed", ReadyFailed{kAttempt, "no answer"}},
      {"Ended", Ended{kAttempt, {0, std::nullopt}, {}, std::nullopt}},
      {"NeverStarted", NeverStarted{kAttempt}},
      {"Released", Released{kAttempt, d.report(kJob, {{0}, {38000}, 0}, model::StopKind::completed)}},
      {"another's Ended", Ended{{id, 2}, {0, std::nullopt}, {}, std::nullopt}},
      {"another's Released", Released{{id, 2}, {}}},
      {"GPU free", DeviceChanged{false, 0, model::DeviceState::free, "", {}}},
      {"GPU outside", DeviceChanged{false, 0, model::DeviceState::outside, "in use", {{9, "root", 1}}}},
      {"OwnerConnected", OwnerConnected{id}},
      {"OwnerDisconnected", OwnerDisconnected{id, std::nullopt}},
      {"OwnerSuspended", OwnerSuspended{id}},
      {"OwnerResumed", OwnerResumed{id}},
      {"OwnerExited", OwnerExited{id}},
      {"OwnerDropped", OwnerDropped{id}},
      {"Submitted other", Submitted{test::job(2)}},
      {"NotRecorded", NotRecorded{id}},
      {"Restored again", Restored{subject(), 0, std::nullopt}},
      {"RestoreDone", RestoreDone{}},
      {"Drain", Drain{true}},
      {"Shutdown end", Shutdown{true, false}},
      {"Shutdown now", Shutdown{true, true}},
      {"Shutdown keep", Shutdown{false, false}},
      {"Tick", Tick{}},
  };
}

std::string code(const Act& act) {
  static constexpr std::array<const char*, 9> kCodes{"acq",    "abn", "START", "STOP",  "rel",
                                                     "FINISH", "wat", "unw",   "DISOWN"};
  return kCodes.at(act.index());
}
std::string code(const Record& record) {
  static constexpr std::array<const char*, 11> kCodes{"+job",  "+att",  "+run",  "+stop", "+end", "+report",
                                                      "+drop", "+quar", "-quar", "-own",  ""};
  return kCodes.at(record.index());
}

std::string cell(const State& state, std::size_t event) {
  Driver d(test::machine(1, 1));
  state.reach(d);
  const auto before = d.state(kJob);
  const Actions actions = d.apply(events(d)[event].second);
  const auto after = d.state(kJob);
  std::string text = before == after ? "=" : after ? std::string(model::name_of(*after)) : "gone";
  for (const Act& act : actions.now) text += " " + code(act);
  for (const Record& record : actions.records)
    if (const std::string one = code(record); !one.empty()) text += " " + one;
  for (const Act& act : actions.then) text += " " + code(act);
  return text;
}

const char* const kExpected = R"(
StopRequested
  queued: gone +report
  acquiring: gone abn +report
  starting: releasing +stop STOP
  unready: releasing +stop STOP
  running: releasing +stop STOP
StopRequested 0s
  queued: gone +report
  acquiring: gone abn +report
  starting: releasing +stop STOP
  unready: releasing +stop STOP
  running: releasing +stop STOP
  stopping: = STOP
Acquired
  acquiring: starting +att START
AcquireFailed
  acquiring: = wat
Started
BecameReady
  unready: running +run
ReadyFailed
  starting: releasing +stop STOP
  unready: releasing +stop STOP
Ended
  starting: releasing rel +end
  unready: releasing rel +end
  running: releasing rel +end
  stopping: = rel +end
NeverStarted
  starting: queued acq +drop
Released
  releasing: gone +report FINISH
another's Ended
another's Released
GPU free
  queued: = acq -quar
GPU outside
  queued: = wat -quar
OwnerConnected
OwnerDisconnected
OwnerSuspended
OwnerResumed
OwnerExited
  queued: gone +report
  acquiring: gone abn +report
  starting: releasing +stop STOP
  unready: releasing +stop STOP
  running: releasing +stop STOP
OwnerDropped
  queued: = -own
  acquiring: = -own DISOWN
  starting: = -own DISOWN
  unready: = -own DISOWN
  running: = -own DISOWN
  stopping: = -own DISOWN
  releasing: = -own
Submitted other
  unknown: = acq +job
  queued: = +job
  acquiring: = +job
  starting: = +job
  unready: = +job
  running: = +job
  stopping: = +job
  releasing: = +job
  ended: = acq +job
NotRecorded
  queued: gone
  acquiring: gone abn
  starting: gone abn
Restored again
  unknown: queued acq
  ended: queued acq
RestoreDone
Drain
Shutdown end
  acquiring: = abn
  starting: releasing +stop STOP
  unready: releasing +stop STOP
  running: releasing +stop STOP
Shutdown now
  acquiring: = abn
  starting: releasing +stop STOP
  unready: releasing +stop STOP
  running: releasing +stop STOP
  stopping: = STOP
Shutdown keep
  acquiring: = abn
Tick
)";

TEST(Table, EveryEventInEveryState) {
  const Driver d(test::machine(1, 1));
  std::ostringstream table;
  table << "\n";
  for (std::size_t event = 0; event < events(d).size(); ++event) {
    table << events(d)[event].first << "\n";
    for (const State& state : kStates)
      if (const std::string text = cell(state, event); text != "=")
        table << "  " << state.name << ": " << text << "\n";
  }
  EXPECT_EQ(table.str(), kExpected) << table.str();
}

}  // namespace
}  // namespace ebb::engine

#include "history.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <charconv>
#include <unordered_set>

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

// How many jobs one step takes: deleting their rows delays a commit of others by a millisecond or so.
constexpr int kStep = 32;
// Until which place in the order of ends the logs were dropped; "MICROSECONDS SEQ".
constexpr const char* kLogsGoneName = "history-logs-gone";
// Rounds that only the clock causes; the wall clock may be set meanwhile, hence the longest.
constexpr Duration kSoonest = 1s;
constexpr Duration kLatest = 1h;
constexpr Duration kAfterFailure = 1min;

// What the files take of the disk, near enough.
std::int64_t bytes_of(const fs::path& folder) {
  constexpr std::int64_t kBlock = 4096;
  std::int64_t bytes = 0;
  std::error_code failure;
  for (auto at = fs::directory_iterator(folder, failure); !failure && at != fs::directory_iterator();
       at.increment(failure)) {
    std::error_code gone;
    const auto size = at->file_size(gone);
    if (!gone) bytes += (static_cast<std::int64_t>(size) + kBlock - 1) / kBlock * kBlock;
  }
  return bytes;
}

std::string write_place(store::Store::EndedAt place) {
  return std::to_string(place.at.time_since_epoch().count()) + " " + std::to_string(place.seq);
}

store::Store::EndedAt read_place(std::string_view text) {
  std::int64_t at = 0, seq = 0;
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, at);
  if (first.ec != std::errc() || first.ptr == end) return {};
  if (std::from_chars(first.ptr + 1, end, seq).ec != std::errc()) return {};
  return {.at = WallTime(Duration(at)), .seq = seq};
}

}  // namespace

History::History(Context& context, std::function<bool(JobId)> is_live)
    : context_(context), is_live_(std::move(is_live)), timer_(context.io) {}

History::~History() {
  *stopping_ = true;
  thread_.join();
}

// Runs `work` on the thread, then `done` with what it returned on the loop, unless this is gone by then.
template <typename Work, typename Done>
void History::elsewhere(Work work, Done done) {
  asio::post(thread_, [work = std::move(work), done = std::move(done), &io = context_.io,
                       alive = std::weak_ptr(alive_)]() mutable {
    asio::post(io, [result = work(), done = std::move(done), alive = std::move(alive)]() mutable {
      if (alive.lock()) done(std::move(result));
    });
  });
}

// ---- counting

void History::begin() {
  if (const auto ended = context_.store.count_ended()) jobs_ = *ended;
  if (const auto place = context_.store.value(kLogsGoneName); place && *place) {
    logs_gone_until_ = read_place(**place);
    logs_walk_ = logs_gone_until_;
  }
  using Sizes = std::vector<std::pair<JobId, std::int64_t>>;
  const auto measure_all = [logs = context_.logs, stopping = stopping_] {
    Sizes sizes;
    std::error_code failure;
    for (auto at = fs::directory_iterator(logs, failure); !failure && at != fs::directory_iterator();
         at.increment(failure)) {
      if (*stopping) break;
      if (const auto id = AttemptId::parse(at->path().filename().string())) {
        sizes.emplace_back(id->job, bytes_of(at->path()));
      }
    }
    return sizes;
  };
  elsewhere(measure_all, [this](const Sizes& sizes) {
    std::unordered_set<JobId> later;
    for (const AttemptId id : uncounted_) later.insert(id.job);
    for (const auto& [job, bytes] : sizes) {
      if (!later.contains(job) && !is_live_(job)) logs_ += bytes;
    }
    counted_ = true;
    for (const AttemptId id : std::exchange(uncounted_, {})) count(id);
    check();
  });
}

void History::ended(AttemptId last) {
  if (counted_) {
    count(last);
  } else {
    uncounted_.push_back(last);
  }
}

void History::count(AttemptId last) {
  ++jobs_;
  if (last.number == 0) return check();
  const auto measure = [logs = context_.logs, last] {
    std::int64_t bytes = 0;
    for (AttemptId id = last; id.number > 0; --id.number) bytes += bytes_of(logs / id.str());
    return bytes;
  };
  elsewhere(measure, [this](std::int64_t bytes) {
    logs_ += bytes;
    check();
  });
}

// ---- dropping

void History::check() {
  if (busy_) {
    check_again_ = true;
    return;
  }
  if (!counted_) return;
  const Config::History& limits = context_.config.history;
  const BootTime now = context_.clock.boot();
  const bool jobs = (jobs_ > limits.jobs || limits.max_age) && now >= jobs_next_;
  const bool logs = logs_ > limits.logs && now >= logs_next_;
  if (!jobs && !logs) return arm_timer();
  busy_ = true;
  jobs_walk_ = {};
  logs_walk_again_ = false;
  if (jobs) {
    drop_jobs();
  } else {
    drop_logs();
  }
}

void History::finish() {
  busy_ = false;
  if (std::exchange(check_again_, false)) {
    check();
  } else {
    arm_timer();
  }
}

void History::arm_timer() {
  const BootTime now = context_.clock.boot();
  BootTime next = BootTime::max();
  for (const BootTime due : {jobs_next_, logs_next_}) {
    if (due > now) next = std::min(next, due);
  }
  if (next == BootTime::max()) return;
  timer_.expires_after(next - now);
  timer_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code failure) {
    if (!failure && alive.lock()) check();
  });
}

// One step. Those that may not go yet are passed over; the ones behind them go in their place.
void History::drop_jobs() {
  const Config::History& limits = context_.config.history;
  const auto ended = context_.store.ended_after(jobs_walk_, kStep);
  const WallTime now = context_.clock.wall();
  const auto wait_until = [&](WallTime due) {
    jobs_next_ = context_.clock.boot() + std::clamp<Duration>(due - now, kSoonest, kLatest);
  };
  if (!ended) {
    wait_until(now + kAfterFailure);
    return drop_logs();
  }
  std::int64_t over = jobs_ - limits.jobs;
  std::vector<EndedJob> chosen;
  bool last = ended->size() < std::size_t{kStep};
  for (const EndedJob& job : *ended) {
    const bool old = limits.max_age && job.ended.at + *limits.max_age <= now;
    const bool young = job.ended.at + limits.min_age > now;
    if (young || (over <= 0 && !old)) {
      if (over > 0 || old) {
        wait_until(job.ended.at + limits.min_age);
      } else if (limits.max_age) {
        wait_until(job.ended.at + std::max(*limits.max_age, limits.min_age));
      }
      last = true;
      break;
    }
    jobs_walk_ = job.ended;
    if (job.kept) continue;
    chosen.push_back(job);
    --over;
  }
  if (chosen.empty()) return last ? drop_logs() : drop_jobs();
  free_files(std::move(chosen), INT64_MAX, [this](Freed freed) {
    logs_ = std::max<std::int64_t>(logs_ - freed.bytes, 0);
    if (freed.jobs.empty()) return drop_jobs();
    store::Batch batch;
    for (const JobId id : freed.jobs) batch.push_back(store::write::DropJob{id});
    const auto dropped = static_cast<std::int64_t>(freed.jobs.size());
    commit(std::move(batch), [this, dropped] {
      jobs_ = std::max<std::int64_t>(jobs_ - dropped, 0);
      drop_jobs();
    });
  });
}

void History::drop_logs() {
  const Config::History& limits = context_.config.history;
  const std::int64_t over = logs_ - limits.logs;
  if (over <= 0 || context_.clock.boot() < logs_next_) return finish();
  const auto ended = context_.store.ended_after(logs_walk_, kStep);
  const WallTime now = context_.clock.wall();
  const auto wait = [&](Duration time) {
    logs_next_ = context_.clock.boot() + std::clamp(time, kSoonest, kLatest);
    finish();
  };
  if (!ended) return wait(kAfterFailure);
  std::vector<EndedJob> chosen;
  for (const EndedJob& job : *ended) {
    if (job.ended.at + limits.min_age > now) break;
    chosen.push_back(job);
  }
  if (chosen.empty()) {
    if (!ended->empty()) return wait(ended->front().ended.at + limits.min_age - now);
    // What is over lies before the place where the walk began (the clock was set back, a daemon was killed
    // between two steps), or may not go yet.
    if (logs_walk_again_) return wait(kLatest);
    logs_walk_again_ = true;
    logs_walk_ = {};
    return drop_logs();
  }
  // Known before the first file goes, so that nobody is told that there never was a log.
  const EndedAt gone_before = logs_gone_until_;
  logs_gone_until_ = std::max(gone_before, chosen.back().ended);
  free_files(std::move(chosen), over, [this, gone_before](const Freed& freed) {
    logs_ = std::max<std::int64_t>(logs_ - freed.bytes, 0);
    logs_walk_ = freed.until;
    logs_gone_until_ = std::max(gone_before, freed.until);
    store::Batch batch;
    batch.push_back(store::write::PutValue{.name = kLogsGoneName, .value = write_place(logs_gone_until_)});
    commit(std::move(batch), [this] { drop_logs(); });
  });
}

// Deletes the logs of these jobs, until `enough` bytes are free.
void History::free_files(std::vector<EndedJob> jobs, std::int64_t enough, std::function<void(Freed)> done) {
  const auto remove = [jobs = std::move(jobs), enough, logs = context_.logs, attempts = context_.attempts,
                       stopping = stopping_] {
    Freed freed;
    for (const EndedJob& job : jobs) {
      if (*stopping || freed.bytes >= enough) break;
      freed.until = job.ended;
      bool left = false;
      for (AttemptId id{job.id, static_cast<std::uint32_t>(job.attempts)}; id.number > 0; --id.number) {
        std::error_code failure;
        // Its keeper still lives, and may have something left that writes; or it is just being cleaned up.
        left = left || fs::exists(attempts / id.str(), failure) || failure;
        if (left) continue;
        const fs::path log = logs / id.str();
        const std::int64_t bytes = bytes_of(log);
        fs::remove_all(log, failure);
        if (failure) {
          left = true;
        } else {
          freed.bytes += bytes;
        }
      }
      if (!left) freed.jobs.push_back(job.id);
    }
    return freed;
  };
  elsewhere(remove, std::move(done));
}

void History::commit(store::Batch batch, std::function<void()> done) {
  context_.store.commit(std::move(batch), [this, done = std::move(done), alive = std::weak_ptr(alive_),
                                           &io = context_.io](const store::Store::Outcome& outcome) {
    asio::post(io, [this, done, alive, outcome] {
      if (!alive.lock()) return;
      if (outcome.fatal) return context_.disk_failed(outcome.result.error());
      if (outcome.result) return done();
      // A full disk, perhaps: what was to be forgotten is forgotten later.
      jobs_next_ = logs_next_ = context_.clock.boot() + kAfterFailure;
      finish();
    });
  });
}

}  // namespace ebb::daemon

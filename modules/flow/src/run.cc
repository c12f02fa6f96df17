#include "run.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <set>
#include <stdexcept>
#include <string_view>

#include "ebb/flow/runtime/made.h"
#include "ebb/flow/runtime/output.h"
#include "report_of.h"
#include "thread_name.h"

namespace ebb::flow {
namespace {

// How many records a thread takes before it looks up: as many as take some tens of microseconds, so that a
// cancel is heard soon and what runs behind it on the same thread is not kept waiting. About once a
// millisecond it is one record, which is timed.
class Pace {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Pace(Worker& worker) : worker_(worker) {}

  /// How many records the next batch may have.
  std::size_t begin() {
    begun_ = Clock::now();
    if (begun_ >= note_at_) {
      note_at_ = begun_ + History::kStep;
      worker_.note_history();
    }
    single_ = records_ == 1 || begun_ >= sample_at_;
    if (!single_) return records_;
    held_ = worker_.held();
    return 1;
  }
  /// It had some.
  void done() noexcept {
    const auto now = Clock::now();
    if (single_) {
      sample_at_ = now + kBetweenSamples;
      worker_.end_sample(now, worker_.held() - held_);
      if (records_ > 1) return;
    }
    const auto took = now - begun_;
    if (took > kLong) {
      records_ = std::max<std::size_t>(records_ / 2, 1);
    } else if (took < kLong / 4 && records_ < kMost) {
      records_ *= 2;
    }
  }

 private:
  static constexpr std::chrono::microseconds kLong{50};
  static constexpr std::chrono::milliseconds kBetweenSamples{1};
  static constexpr std::size_t kMost = 1 << 16;
  Worker& worker_;
  std::size_t records_ = 1;
  bool single_ = false;
  Duration held_{};
  Clock::time_point begun_, note_at_, sample_at_;
};

WhenStuck policy_of(const SubmitOptions& options) {
  // Inside a job the keeper ends what an exit leaves.
  return options.when_stuck.value_or(std::getenv("EBB_JOB_ID") != nullptr ? WhenStuck::exit
                                                                          : WhenStuck::wait);
}

constexpr int kStuckExit = 125;

}  // namespace

struct Run::Thread {
  Thread(RunState& state, Stage& of) : stage(&of), worker(state, of.inputs.empty()) {}
  Stage* stage;
  Worker worker;
  std::unique_ptr<Replica> replica;
  std::atomic<bool> ended{false};
};

Run::Run(std::string name, std::shared_ptr<Graph> graph, SubmitOptions options, std::shared_ptr<Pool> around)
    : name_(std::move(name)),
      graph_(std::move(graph)),
      options_(std::move(options)),
      state_({.state = options_.state_limit, .feedback = options_.feedback_limit}),
      around_(std::move(around)) {}

Run::~Run() {
  if (conductor_.joinable()) conductor_.join();
}

void Run::name_operators() {
  std::map<std::string, int> named;
  for (const auto& op : graph_->operators) {
    if (op->name.empty()) op->name = op->kind;
    if (const int count = ++named[op->name]; count > 1) op->name += ' ' + std::to_string(count);
  }
}

void Run::check_graph() const {
  for (const Stage* stage : graph_->used_twice) {
    throw std::logic_error("ebb: '" + stage->operators.back()->name +
                           "' gives records that cannot be copied, and is used twice");
  }
  std::set<const Operator*> placed;
  for (const auto& stage : graph_->stages) {
    placed.insert(stage->operators.begin(), stage->operators.end());
    if (stage->needs_input && stage->inputs.empty()) {
      throw std::logic_error("ebb: nothing fills the future '" + stage->operators.front()->name +
                             "': end a stream of the cycle in .fill_future(it)");
    }
    if (!stage->ends && stage->outputs.empty()) {
      throw std::logic_error("ebb: nothing takes what '" + stage->operators.back()->name +
                             "' gives: end the stream in a sink, print() or collect()");
    }
  }
  for (const auto& op : graph_->operators) {
    if (!placed.contains(op.get()) && op->kind == std::string_view("sink")) {
      throw std::logic_error("ebb: the sink '" + op->name +
                             "' is still being built: write it without a name for its result, or let that go "
                             "before submit()");
    }
  }
  for (const auto& op : graph_->operators) {
    if (!placed.contains(op.get())) {
      throw std::logic_error("ebb: the stream that ends at '" + op->name +
                             "' is never used: end it in a sink, print() or collect()");
    }
  }
  if (graph_->stages.empty()) {
    throw std::logic_error("ebb: there is nothing to run: the pipeline has no stream");
  }
}

void Run::start() {
  name_operators();
  graph_->connect_sides();
  graph_->find_cycles();
  check_graph();
  constexpr int kMostThreads = 4096;
  if (options_.call_threads < 1 || options_.call_threads > kMostThreads) {
    throw std::invalid_argument("ebb: call_threads must be 1 to " + std::to_string(kMostThreads));
  }
  pool_ = std::make_shared<Pool>(options_.call_threads, around_);
  state_.set_pool(*pool_);
  for (const auto& service : graph_->services) service->join(pool_, options_);
  begun_ = BootClock::now();
  connect();
  services_ = std::make_unique<ServiceLife>(
      graph_->services, options_, [this](const std::string& what, bool starting) {
        say("waits for " + what);
        // To set up may take long, and nobody has asked for an end.
        const std::lock_guard lock(mutex_);
        return policy_of(options_) != WhenStuck::wait && (!starting || request_ == Request::cancel);
      });
  progress_ = ProgressThread::make(options_, [this] { return report(); });
  conductor_ = std::thread([this] {
    name_thread("ebb-conductor");
    conduct();
  });
}

// A thread for each replica of each stage that has threads; those that run inline are made by what they run
// behind.
void Run::connect() {
  std::map<const Stage*, std::vector<Worker*>> workers;
  for (const auto& stage : graph_->stages) {
    if (stage->is_inline) continue;
    for (int number = 0; number < stage->replicas; ++number) {
      threads_.push_back(std::make_unique<Thread>(state_, *stage));
      workers[stage.get()].push_back(&threads_.back()->worker);
    }
  }
  // Stages stand in the order in which they were built, so that what feeds an inline one comes before it.
  for (const auto& stage : graph_->stages) {
    if (stage->is_inline) workers[stage.get()] = workers[stage->inputs.front()->producer()];
  }
  for (const auto& edge : graph_->edges) {
    placement_->connect(*edge, workers[edge->producer()], workers[edge->consumer()]);
  }
  for (const auto& edge : graph_->edges) {
    if (edge->into != nullptr) edge->into->enter(edge->ways_in());
    if (edge->is_feedback() && edge->within != nullptr) {
      edge->within->add_head(workers[edge->consumer()].front()->parker());
    }
  }
  std::map<const Stage*, int> made;
  for (const auto& thread : threads_) {
    thread->replica = thread->stage->make(made[thread->stage]++, thread->worker);
  }
}

// ---- the threads of the operators

void Run::work(Thread& thread) {
  const CountedThread counted;
  const Pool::Inside inside(around_.get());
  Worker& worker = thread.worker;
  Replica& replica = *thread.replica;
  worker.bind_to_this_thread();
  try {
    replica.open();
  } catch (...) {
    state_.fail(worker.at != nullptr ? worker.at->name : thread.stage->operators.front()->name,
                std::current_exception());
  }
  worker.at = nullptr;
  {
    const std::lock_guard lock(mutex_);
    ++opened_;
    changed_.notify_all();
  }
  worker.wait(Doing::opening, nullptr, [&] { return go_.load(); });
  try {
    worker.set(Doing::working);
    if (!state_.halted()) loop(thread);
    worker.set(Doing::closing);
    if (!state_.halted() && state_.finishes()) replica.finish();
  } catch (...) {  // no function of the user's, which are guarded: memory, or the constructors of records
    state_.fail(thread.stage->operators.front()->name, std::current_exception());
  }
  replica.end(state_.halted() ? state_.discard() : Discard::consumer_ended);
  close(thread);
  worker.set(Doing::ended);
  const std::lock_guard lock(mutex_);
  thread.ended.store(true);
  ++ended_;
  changed_.notify_all();
}

// What commits does so when everybody else is through, and unless anybody has failed; sources do after all
// others: what they have read may be remembered when it has arrived.
void Run::close(Thread& thread) {
  Replica& replica = *thread.replica;
  const auto pass = [&](std::atomic<std::size_t>& passed) {
    if (passed.fetch_add(1) + 1 < threads_.size()) return;
    for (const auto& other : threads_) other->worker.parker().wake();
  };
  const auto all = [&](std::atomic<std::size_t>& passed) {
    return thread.worker.wait(Doing::through, nullptr, [&] { return passed.load() == threads_.size(); });
  };
  const bool commits = replica.commits();
  if (!commits) replica.close(!state_.halted());
  pass(through_);
  if (commits) replica.close(all(through_));
  pass(committed_);
  replica.close_source(commits && thread.worker.is_source() ? all(committed_) : !state_.halted());
}

void Run::loop(Thread& thread) {
  Worker& worker = thread.worker;
  Pace pace(worker);
  while (!state_.halted()) {
    const Replica::Step step = thread.replica->step(pace.begin());
    if (step == Replica::Step::ended) return;
    if (step == Replica::Step::lull) {
      worker.parker().nap();
    } else if (step == Replica::Step::idle) {
      worker.wait(Doing::waiting, nullptr,
                  [&] { return thread.replica->ready() || worker.stop_requested(); });
      // Nobody wants what comes out any more.
      if (worker.stop_requested() && !thread.replica->ready()) return;
    } else {
      pace.done();
    }
  }
}

// ---- the conductor

void Run::conduct() {
  std::string failed;
  try {
    services_->start(failed);
  } catch (...) {
    state_.fail(failed, std::current_exception());
  }
  if (!state_.halted()) {
    start_operators();
    lead_operators();
  }
  {
    const std::lock_guard lock(mutex_);
    operators_ended_ = true;
    changed_.notify_all();
  }
  await_release();
  services_->stop(!state_.halted());
  pool_->close();
  settle();
}

void Run::start_operators() {
  for (const auto& thread : threads_) {
    // It keeps the run alive, in case that it must be left behind.
    placement_->start(thread->stage->operators.back()->name,
                      [self = shared_from_this(), raw = thread.get()] { self->work(*raw); });
  }
}

// All have opened. Under the mutex.
void Run::release_operators() {
  if (status_ < Pipeline::Status::running) status_ = Pipeline::Status::running;
  changed_.notify_all();
  go_.store(true);
  for (const auto& thread : threads_) thread->worker.parker().wake();
}

// Until every operator has ended, or those that are stuck are left behind.
void Run::lead_operators() {
  std::unique_lock lock(mutex_);
  while (!all_ended()) {
    const bool ending = followed_ >= Request::drain || state_.halted();
    if (ending && !bark_at_) {
      const BootTime now = BootClock::now();
      bark_at_ = now + options_.watchdog;
      if (state_.halted()) {
        stuck_at_ = now + options_.cleanup_timeout;
      } else {
        cancel_at_ = now + options_.grace;
      }
    }
    const auto opened = [&] { return !go_.load() && opened_ == threads_.size(); };
    if (opened()) release_operators();
    const auto news = [&] {
      return all_ended() || opened() || request_ != followed_ || (state_.halted() && !stuck_at_);
    };
    std::optional<BootTime> until = bark_at_;
    for (const auto& other : {cancel_at_, stuck_at_}) {
      if (other && (!until || *other < *until)) until = other;
    }
    if (until) {
      changed_.wait_for(lock, *until - BootClock::now(), news);
    } else {
      changed_.wait(lock, news);
    }
    if (request_ != followed_) follow_request();
    const BootTime now = BootClock::now();
    if (cancel_at_ && now >= *cancel_at_) {
      cancel_at_.reset();
      request_ = Request::cancel;
      follow_request();
    }
    if (state_.halted() && !stuck_at_) stuck_at_ = now + options_.cleanup_timeout;
    if (all_ended()) break;
    if (bark_at_ && now >= *bark_at_) {
      bark_at_ = now + options_.watchdog;
      for (const std::string& one : stuck()) say("waits for " + one);
    }
    if (stuck_at_ && now >= *stuck_at_ && policy_of(options_) != WhenStuck::wait) {
      leave_behind();
      return;
    }
    if (stuck_at_ && now >= *stuck_at_) stuck_at_ = BootTime::max();
  }
  lock.unlock();
  placement_->end();
}

// Under the mutex, which is let go meanwhile.
void Run::follow_request() {
  followed_ = request_;
  if (followed_ == Request::finish) return;
  status_ = Pipeline::Status::ending;
  mutex_.unlock();
  if (followed_ == Request::cancel) {
    state_.cancel();
  } else {
    state_.end_sources(followed_ == Request::drain);
  }
  mutex_.lock();
}

std::vector<std::string> Run::stuck() const {
  std::vector<std::string> all;
  for (const auto& thread : threads_) {
    if (!thread->ended.load()) all.push_back(describe(*thread->stage, thread->worker));
  }
  return all;
}

// The conductor.
void Run::say(const std::string& what) const {
  const std::string line = "ebb: pipeline '" + name_ + "' " + what;
  if (progress_) return progress_->say(line);
  std::cerr << line + '\n';
}

// Under the mutex.
void Run::leave_behind() {
  std::string names;
  for (const std::string& one : stuck()) names += (names.empty() ? "" : "; ") + one;
  state_.fail("the end", made_error<std::runtime_error>("did not end in time: " + names));
  left_behind_ = true;
  placement_->leave_behind();
}

// Without autostop the services stay up until somebody says that they may go.
void Run::await_release() {
  std::unique_lock lock(mutex_);
  if (!options_.autostop) changed_.wait(lock, [&] { return request_ != Request::none; });
  status_ = Pipeline::Status::ending;
}

void Run::settle() {
  {
    const std::lock_guard lock(mutex_);
    over_ = BootClock::now();
    if (state_.halt() == Halt::failure || left_behind_) {
      outcome_ = Outcome::failed;
    } else if (state_.halt() == Halt::cancel) {
      outcome_ = Outcome::cancelled;
    } else if (followed_ == Request::drain) {
      outcome_ = Outcome::drained;
    } else {
      outcome_ = followed_ == Request::stop ? Outcome::stopped : Outcome::completed;
    }
  }
  progress_.reset();  // before anything else is written
  if (options_.on_report) {
    try {
      options_.on_report(report());
    } catch (...) {
      say("threw in on_report: " + lifecycle::text_of(std::current_exception()));
    }
  }
  if ((left_behind_ || services_->left_behind()) && policy_of(options_) == WhenStuck::exit) {
    std::cerr << report() << std::flush;
    std::_Exit(kStuckExit);
  }
  const std::lock_guard lock(mutex_);
  status_ = Pipeline::Status::ended;
  changed_.notify_all();
}

// ---- anybody

void Run::request(Request request) {
  const std::lock_guard lock(mutex_);
  request_ = std::max(request_, request);
  changed_.notify_all();
}

bool Run::wait_for_start() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return status_ != Pipeline::Status::starting; });
  return !state_.halted();
}

bool Run::wait(bool all, std::optional<BootTime> deadline) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return all ? status_ == Pipeline::Status::ended : operators_ended_; };
  if (deadline) return changed_.wait_for(lock, *deadline - BootClock::now(), ready);
  changed_.wait(lock, ready);
  return true;
}

Pipeline::Status Run::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

PipelineReport Run::report() const {
  PipelineReport report;
  report.name = name_;
  BootTime now{};
  {
    const std::lock_guard lock(mutex_);
    report.ended = over_.has_value();
    now = over_.value_or(BootClock::now());
    report.took = now - begun_;
    report.outcome = outcome_.value_or(Outcome::completed);
  }
  report_graph(*graph_, now, report);
  std::map<const Stage*, std::vector<const Worker*>> workers;
  for (const auto& thread : threads_) workers[thread->stage].push_back(&thread->worker);
  report_stages(*graph_, workers, report);
  report.services = services_->reports();
  if (report.ended) report.releases = services_->releases();
  const RunState::Failure failure = state_.failure();
  if (failure.error) {
    report.failed_at = failure.where;
    report.error = lifecycle::text_of(failure.error);
  } else if (const std::string trouble = services_->trouble(); report.ended && !trouble.empty()) {
    report.failed_at = "the services' end";
    report.error = trouble;
  }
  // What a thread that was left behind still does changes the counts.
  report.unbalanced = report.ended && !left_behind_ && !report.imbalance().empty();
  report.ok = report.ended && report.error.empty() && !report.unbalanced;
  return report;
}

}  // namespace ebb::flow

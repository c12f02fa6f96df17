// The life of one pipeline: its threads, its services, its end and its report.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "ebb/flow/options.h"
#include "ebb/flow/pipeline.h"
#include "ebb/flow/report.h"
#include "ebb/flow/runtime/graph.h"
#include "ebb/flow/runtime/placement.h"
#include "progress.h"
#include "service_life.h"

namespace ebb::flow {

/// States: *starting* (services are set up, operators open), *running*, *ending* (told to end, or the
/// operators have ended and services stop), *ended*. A thread of its own, the conductor, leads from one to
/// the next; every other thread only asks. The threads of operators keep it alive, so that one that is left
/// behind harms nobody.
class Run : public std::enable_shared_from_this<Run> {
 public:
  /// `around`: the pool of the run in which this one's pipeline is a service.
  Run(std::string name, std::shared_ptr<Graph> graph, SubmitOptions options,
      std::shared_ptr<Pool> around = nullptr);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Checks the graph and starts the conductor. Throws std::logic_error where the graph is not whole.
  void start();
  enum class Request : std::uint8_t { none, finish, drain, stop, cancel };
  /// A stronger request replaces a weaker one; `finish` only lets the services go once the operators have
  /// ended.
  void request(Request request);
  /// Until the operators run; false where something has failed before.
  bool wait_for_start();
  /// Until the operators have ended or, with `all`, the services too.
  bool wait(bool all, std::optional<BootTime> deadline = {});
  [[nodiscard]] bool autostop() const noexcept { return options_.autostop; }
  [[nodiscard]] Pipeline::Status status() const;
  [[nodiscard]] PipelineReport report() const;

 private:
  struct Thread;

  void name_operators();
  void check_graph() const;
  void connect();

  // The conductor.
  void conduct();
  void start_operators();
  void release_operators();
  void lead_operators();
  void follow_request();
  void await_release();
  void settle();
  [[nodiscard]] bool all_ended() const { return ended_ == threads_.size(); }
  [[nodiscard]] std::vector<std::string> stuck() const;
  void say(const std::string& what) const;
  void leave_behind();

  // The threads of the operators.
  void work(Thread& thread);
  void loop(Thread& thread);
  void close(Thread& thread);

  const std::string name_;
  const std::shared_ptr<Graph> graph_;
  const SubmitOptions options_;
  RunState state_;
  std::vector<std::unique_ptr<Thread>> threads_;
  const std::unique_ptr<Placement> placement_ = std::make_unique<InProcess>();
  std::shared_ptr<Pool> around_, pool_;
  std::unique_ptr<ServiceLife> services_;
  std::unique_ptr<ProgressThread> progress_;
  std::thread conductor_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Pipeline::Status status_ = Pipeline::Status::starting;
  Request request_ = Request::none, followed_ = Request::none;
  std::size_t opened_ = 0, ended_ = 0;
  bool operators_ended_ = false, left_behind_ = false;
  std::atomic<bool> go_{false};
  std::atomic<std::size_t> through_{0};    // threads whose part is done but for what commits
  std::atomic<std::size_t> committed_{0};  // threads whose operators have committed, if they do
  std::optional<Outcome> outcome_;
  BootTime begun_{};
  std::optional<BootTime> over_, cancel_at_, stuck_at_, bark_at_;
};

}  // namespace ebb::flow

#pragma once

#include <atomic>
#include <concepts>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/flow/runtime/worker.h"

namespace ebb {

/// A call to a service that is not up: it has not been started, it is being stopped, or the pipeline is
/// halted.
class ServiceStopped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// A call that found no free slot in time.
class ServiceTimeout : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How a service is registered: `ebb::service("scorer").concurrency(4).cleanup_timeout(5s)`, or its name
/// alone.
struct ServiceSpec {
  std::string name;
  int slots = 1;
  std::optional<Duration> slot_timeout;
  std::optional<Duration> cleanup_limit;

  /// How many calls may be in it at a time; 1, so that a service needs no locks unless it wants more.
  ServiceSpec concurrency(int count) && {
    slots = count;
    return std::move(*this);
  }
  /// How long a call waits for a free slot; without end unless this is said.
  ServiceSpec timeout(Duration limit) && {
    slot_timeout = limit;
    return std::move(*this);
  }
  /// How long its stop() and its cleanup() may take each, in place of SubmitOptions::cleanup_timeout.
  ServiceSpec cleanup_timeout(Duration limit) && {
    cleanup_limit = limit;
    return std::move(*this);
  }
};
[[nodiscard]] inline ServiceSpec service(std::string name) {
  ServiceSpec spec;
  spec.name = std::move(name);
  return spec;
}

namespace flow {

/// A service without its type: its slots, its life, its counts. Calls come from any thread; the life is led
/// by the run's conductor.
class ServiceBase {
 public:
  explicit ServiceBase(ServiceSpec spec);
  virtual ~ServiceBase() = default;
  ServiceBase(const ServiceBase&) = delete;
  ServiceBase& operator=(const ServiceBase&) = delete;

  [[nodiscard]] const ServiceSpec& spec() const noexcept { return spec_; }
  [[nodiscard]] const std::string& name() const noexcept { return spec_.name; }

  // Its life, in this order; each is called once at most, and throws what the user's code throws.
  virtual void construct() = 0;
  virtual void setup() = 0;
  virtual void start() = 0;
  virtual void stop() = 0;
  virtual void cleanup() = 0;
  virtual void destroy() = 0;

  /// Calls are let in.
  void open() noexcept;
  /// No call is let in any more; those that wait throw. Whether all that were in have returned by `deadline`.
  [[nodiscard]] bool close(BootTime deadline);

  /// One call's hold on a slot. Throws ServiceStopped or ServiceTimeout. The worker is the thread's own, or
  /// null outside of a pipeline's threads.
  class Slot {
   public:
    Slot(ServiceBase& service, Worker* worker) : service_(service) { service.enter(worker); }
    ~Slot() { service_.leave(); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

   private:
    ServiceBase& service_;
  };

  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_.load(std::memory_order_relaxed); }

 private:
  void enter(Worker* worker);
  void leave() noexcept;
  bool try_enter() noexcept;
  void wait_for_slot(Worker* worker);

  ServiceSpec spec_;
  // Free slots; below zero by kClosed where it takes no calls.
  static constexpr int kClosed = 1 << 24;
  std::atomic<int> free_{-kClosed};
  std::atomic<int> waiting_{0};
  std::atomic<std::uint64_t> calls_{0};
  std::mutex mutex_;
  std::vector<Parker*> waiters_;
};

template <typename S>
class ServiceCell final : public ServiceBase {
 public:
  ServiceCell(ServiceSpec spec, std::function<std::unique_ptr<S>()> make)
      : ServiceBase(std::move(spec)), make_(std::move(make)) {}

  void construct() override { service_ = make_(); }
  void setup() override {
    if constexpr (requires(S& s) { s.setup(); }) service_->setup();
  }
  void start() override {
    if constexpr (requires(S& s) { s.start(); }) service_->start();
  }
  void stop() override {
    if constexpr (requires(S& s) { s.stop(); }) service_->stop();
  }
  void cleanup() override {
    if constexpr (requires(S& s) { s.cleanup(); }) service_->cleanup();
  }
  void destroy() override { service_.reset(); }

  [[nodiscard]] S& get() noexcept { return *service_; }

 private:
  std::function<std::unique_ptr<S>()> make_;
  std::unique_ptr<S> service_;
};

}  // namespace flow

/// A registered service, to be called from operators (`c.call(handle, &S::method, …)`), and from other
/// services, which get it as an argument of their constructor: so calls between services follow the order of
/// registration, and never form a circle. A value; copies are the same service. Any thread.
template <typename S>
class ServiceHandle {
 public:
  explicit ServiceHandle(std::shared_ptr<flow::ServiceCell<S>> cell) : cell_(std::move(cell)) {}

  [[nodiscard]] const std::string& name() const noexcept { return cell_->name(); }

  /// Runs the method on this thread when a slot is free. Throws ServiceStopped, ServiceTimeout, and what the
  /// method throws.
  template <typename Method, typename... A>
  decltype(auto) call(Method method, A&&... arguments) const {
    return call_from(flow::Worker::of_this_thread(), method, std::forward<A>(arguments)...);
  }
  /// The same, on a thread of its own.
  template <typename Method, typename... A>
  auto call_async(Method method, A&&... arguments) const {
    return std::async(std::launch::async,
                      [cell = cell_, method,
                       packed = std::tuple<std::decay_t<A>...>(std::forward<A>(arguments)...)]() mutable {
                        return std::apply(
                            [&](auto&... unpacked) -> decltype(auto) {
                              return ServiceHandle(cell).call(method, std::move(unpacked)...);
                            },
                            packed);
                      });
  }

  // For the library.
  template <typename Method, typename... A>
  decltype(auto) call_from(flow::Worker* worker, Method method, A&&... arguments) const {
    static_assert(std::invocable<Method, S&, A...>,
                  "ebb: call() needs a method of the service and arguments that it takes");
    const flow::ServiceBase::Slot slot(*cell_, worker);
    return std::invoke(method, cell_->get(), std::forward<A>(arguments)...);
  }

 private:
  std::shared_ptr<flow::ServiceCell<S>> cell_;
};

}  // namespace ebb

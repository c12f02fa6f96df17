#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "ebb/flow/runtime/service_base.h"

namespace ebb {

/// The longest that a call may take, the wait for a slot included: `c.call(handle, ebb::within(50ms), …)`.
struct CallLimit {
  Duration limit{};
};
[[nodiscard]] inline CallLimit within(Duration limit) noexcept { return {limit}; }

namespace flow {

template <typename S>
class ServiceCell final : public ServiceBase {
 public:
  ServiceCell(ServiceSpec spec, std::function<std::unique_ptr<S>()> make)
      : ServiceBase(std::move(spec), 1), make_(std::move(make)) {}

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

/// One call of a method, with its own copies of the arguments.
template <typename S, typename U, typename Method, typename... A>
class MethodCall final : public CallFor<U> {
 public:
  MethodCall(std::shared_ptr<ServiceCell<S>> cell, Patience patience, Method method, A... arguments)
      : CallFor<U>(*cell, patience),
        cell_(std::move(cell)),
        method_(method),
        arguments_(std::move(arguments)...) {}

  [[nodiscard]] bool begin() noexcept override {
    if (cell_->pool()->run(this->shared_from_this())) return true;
    this->give_up(made_error<ServiceStopped>("service '" + cell_->name() + "' has no thread"));
    return false;
  }
  void run() noexcept override {
    // Its caller may have given it up meanwhile.
    if (!this->ready()) {
      const Pool::Inside inside(cell_->pool().get());
      // Settled when the handler is over: this thread has no hold on the error then.
      std::exception_ptr error;
      try {
        invoke();
      } catch (...) {
        error = std::current_exception();
      }
      if (error) this->fail(std::move(error));
      cell_->pool()->unwatch(*this);
    }
    cell_->leave(*this);
  }
  void drop() noexcept override {
    this->give_up(made_error<ServiceStopped>("service '" + cell_->name() + "' is not up"));
    cell_->leave(*this);
  }

 private:
  void invoke() {
    const auto call = [&](A&... arguments) -> decltype(auto) {
      return std::invoke(method_, cell_->get(), std::move(arguments)...);
    };
    if constexpr (std::is_void_v<U>) {
      std::apply(call, arguments_);
      this->succeed({});
    } else {
      this->succeed(std::apply(call, arguments_));
    }
  }

  std::shared_ptr<ServiceCell<S>> cell_;
  Method method_;
  std::tuple<A...> arguments_;
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

  /// Runs the method on this thread when a slot is free. Throws ServiceStopped, ServiceTimeout (of
  /// ServiceSpec::timeout), and what the method throws.
  template <typename Method, typename... A>
    requires(!std::same_as<Method, CallLimit>)
  decltype(auto) call(Method method, A&&... arguments) const {
    return call_from(flow::Worker::of_this_thread(), method, std::forward<A>(arguments)...);
  }
  /// The same on a thread of the run's pool; past the limit, which covers the wait for a slot, it throws
  /// ServiceTimeout. The call goes on then in its slot, and what it gives is dropped; one that has no slot
  /// yet does not run at all.
  template <typename Method, typename... A>
  auto call(CallLimit limit, Method method, A&&... arguments) const {
    return call_async(limit, method, std::forward<A>(arguments)...).get();
  }
  /// Begins a call, which runs on a thread of the run's pool when a slot is free. The arguments are copied,
  /// or moved, into it. Throws ServiceStopped where the service is not up.
  template <typename Method, typename... A>
    requires(!std::same_as<Method, CallLimit>)
  auto call_async(Method method, A&&... arguments) const {
    return begin({.limit = cell_->spec().slot_timeout, .for_slot_only = true}, method,
                 std::forward<A>(arguments)...);
  }
  template <typename Method, typename... A>
  auto call_async(CallLimit limit, Method method, A&&... arguments) const {
    return begin({.limit = limit.limit}, method, std::forward<A>(arguments)...);
  }

  // For the library.
  template <typename Method, typename... A>
    requires(!std::same_as<Method, CallLimit>)
  decltype(auto) call_from(flow::Worker* worker, Method method, A&&... arguments) const {
    static_assert(std::invocable<Method, S&, A...>,
                  "ebb: call() needs a method of the service and arguments that it takes");
    const flow::ServiceBase::Slot slot(*cell_, worker, for_service_);
    return std::invoke(method, cell_->get(), std::forward<A>(arguments)...);
  }
  template <typename Method, typename... A>
  auto call_from(flow::Worker*, CallLimit limit, Method method, A&&... arguments) const {
    return call(limit, method, std::forward<A>(arguments)...);
  }
  /// As another service gets it: calls by it come from inside, on whatever thread.
  [[nodiscard]] ServiceHandle for_service() const {
    ServiceHandle handle = *this;
    handle.for_service_ = true;
    return handle;
  }

 private:
  template <typename Method, typename... A>
  auto begin(flow::Patience patience, Method method, A&&... arguments) const {
    static_assert(std::invocable<Method, S&, std::decay_t<A>...>,
                  "ebb: call_async() needs a method of the service and arguments that it takes");
    using U = std::remove_cvref_t<std::invoke_result_t<Method, S&, std::decay_t<A>...>>;
    auto call = std::make_shared<flow::MethodCall<S, U, Method, std::decay_t<A>...>>(
        cell_, patience, method, std::forward<A>(arguments)...);
    cell_->ask(call, for_service_, patience.limit);
    return Future<U>(call, cell_->name());
  }

  std::shared_ptr<flow::ServiceCell<S>> cell_;
  bool for_service_ = false;
};

namespace flow {

/// An argument of a service's constructor: a handle of another service is its own from then on.
template <typename T>
T for_service(T argument) {
  return argument;
}
template <typename S>
ServiceHandle<S> for_service(ServiceHandle<S> handle) {  // NOLINT(performance-unnecessary-value-param): as T
  return handle.for_service();
}

}  // namespace flow
}  // namespace ebb

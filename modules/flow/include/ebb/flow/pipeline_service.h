#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "ebb/flow/environment.h"
#include "ebb/flow/runtime/requests.h"

namespace ebb {

/// What a call to a pipeline throws whose request came to no answer, though no function threw: it was
/// filtered out, or the pipeline was ended. It says which.
class Unanswered : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace flow {

/// The requests to a pipeline that is a service, as a stream: what is built on it answers them. Each operator
/// takes the stream that it is called on.
///
/// What a function throws its caller gets, as from a method, and the pipeline goes on, unless on_error() says
/// otherwise.
template <typename C, typename Answer>
class [[nodiscard]] RequestStream {
 public:
  using Value = typename C::Record::Value;

  explicit RequestStream(C chain) : chain_(std::move(chain)) {}

  template <typename F>
  auto map(F function) {
    static_assert(Mapper<F, Value>, "ebb: map needs a function U(T) or U(T, Context&) that gives a value");
    return goes_on(std::move(chain_).map(MapRequest<F, Answer>{{std::move(function)}}).on_error(skip));
  }
  template <typename F>
  auto filter(F function) {
    static_assert(Predicate<F, Value>,
                  "ebb: filter needs a function bool(const T&) or bool(const T&, Context&)");
    return goes_on(std::move(chain_).filter(FilterRequest<F, Answer>{{std::move(function)}}).on_error(skip));
  }
  /// The first record that arrives at the end is the answer; others are dropped there.
  template <typename U = Value, typename F>
  auto flat_map(F function) {
    static_assert(Expander<F, Value, U>,
                  "ebb: flat_map<U> needs a function void(const T&, auto& emit) or void(const T&, "
                  "ebb::Collector<U>& emit), which calls emit(U) for each record that comes out");
    using Op = ExpandRequest<U, F, Answer>;
    return goes_on(
        std::move(chain_).template flat_map<Ticketed<U, Answer>>(Op{{std::move(function)}}).on_error(skip));
  }
  auto round_robin() { return goes_on(std::move(chain_).round_robin()); }

  // Of the operator before.

  auto name(std::string name) { return goes_on(std::move(chain_).name(std::move(name))); }
  auto parallelism(int replicas) { return goes_on(std::move(chain_).parallelism(replicas)); }
  template <typename P>
  auto on_error(P policy) {
    return goes_on(std::move(chain_).on_error(policy));
  }

  // For the library.
  void answer() {
    static_assert(std::is_convertible_v<Value, Answer>,
                  "ebb: what the stream gives in the end must be the service's answer");
    std::move(chain_)
        .sink([](Ticketed<Value, Answer>&& record) { record.ticket->answer(std::move(record.value)); })
        .on_error(skip)
        .name("answer");
  }

 private:
  template <typename D>
  static auto goes_on(D chain) {
    return RequestStream<D, Answer>(std::move(chain));
  }

  C chain_;
};

/// The pipeline within a service, whatever its records are.
class InnerPipeline {
 public:
  explicit InnerPipeline(const std::string& name) : env_(name) {}

  [[nodiscard]] LocalEnvironment& env() noexcept { return env_; }
  /// Until its operators run. Throws where they cannot.
  void start(SubmitOptions of_outer, std::shared_ptr<Pool> around, const std::shared_ptr<InboxBase>& inbox);
  /// Lets what has come flow out, for `limit` at most. Throws where it has failed, or took longer.
  void stop(Duration limit, InboxBase& inbox);
  [[nodiscard]] std::shared_ptr<const PipelineReport> report() const;

 private:
  LocalEnvironment env_;
  mutable std::mutex mutex_;  // of the pointer
  std::shared_ptr<Run> run_;
};

template <typename Request, typename Answer>
class PipelineCell final : public ServiceBase,
                           public std::enable_shared_from_this<PipelineCell<Request, Answer>> {
 public:
  static constexpr int kSlots = 1024;

  template <typename Build>
  PipelineCell(ServiceSpec spec, Build& build)
      : ServiceBase(std::move(spec), kSlots),
        pipeline_(name()),
        inbox_(std::make_shared<Inbox<Request, Answer>>(*this)) {
    auto requests = pipeline_.env().from_source(TakeRequests<Request, Answer>{inbox_}).name("requests");
    build(pipeline_.env(), RequestStream<decltype(requests), Answer>(std::move(requests))).answer();
  }

  void join(std::shared_ptr<Pool> pool, const SubmitOptions& options) override {
    ServiceBase::join(std::move(pool), options);
    options_ = options;
  }
  [[nodiscard]] bool ends_calls() const noexcept override { return true; }
  [[nodiscard]] std::shared_ptr<const PipelineReport> pipeline_report() const override {
    return pipeline_.report();
  }
  void construct() override {}
  void setup() override {}
  void start() override { pipeline_.start(options_, pool(), inbox_); }
  void stop() override { pipeline_.stop(spec().cleanup_limit.value_or(options_.cleanup_timeout), *inbox_); }
  void cleanup() override {}
  void destroy() override {}

  [[nodiscard]] Inbox<Request, Answer>& inbox() noexcept { return *inbox_; }

 private:
  SubmitOptions options_;
  InnerPipeline pipeline_;
  std::shared_ptr<Inbox<Request, Answer>> inbox_;
};

/// A request on its way to such a pipeline.
template <typename Request, typename Answer>
class RequestCall final : public CallFor<Answer> {
 public:
  RequestCall(std::shared_ptr<PipelineCell<Request, Answer>> cell, Patience patience, Request request)
      : CallFor<Answer>(*cell, patience), cell_(std::move(cell)), request_(std::move(request)) {}

  [[nodiscard]] bool begin() noexcept override {
    if (this->ready()) return false;
    std::exception_ptr ended =
        cell_->inbox().put(std::static_pointer_cast<RequestCall>(this->shared_from_this()), request_);
    if (!ended) return true;
    this->give_up(std::move(ended));
    return false;
  }
  // It is never on a thread of the pool's.
  void run() noexcept override {}
  void drop() noexcept override {}

 private:
  std::shared_ptr<PipelineCell<Request, Answer>> cell_;
  Request request_;
};

}  // namespace flow

/// A pipeline that is a service: `c.call(handle, request)` gives the answer. Many requests are in flight at a
/// time, and each caller gets the answer to his own. A value; copies are the same service. Any thread.
template <typename Request, typename Answer>
class PipelineServiceHandle {
 public:
  explicit PipelineServiceHandle(std::shared_ptr<flow::PipelineCell<Request, Answer>> cell)
      : cell_(std::move(cell)) {}

  [[nodiscard]] const std::string& name() const noexcept { return cell_->name(); }

  /// Throws ServiceStopped, ServiceTimeout, what a function of the pipeline threw on the request, and
  /// Unanswered.
  Answer call(Request request) const { return call_async(std::move(request)).get(); }
  Answer call(CallLimit limit, Request request) const { return call_async(limit, std::move(request)).get(); }
  Future<Answer> call_async(Request request) const {
    return begin({.limit = cell_->spec().slot_timeout, .for_slot_only = true}, std::move(request));
  }
  Future<Answer> call_async(CallLimit limit, Request request) const {
    return begin({.limit = limit.limit}, std::move(request));
  }

  // For the library.
  Answer call_from(flow::Worker*, Request request) const { return call(std::move(request)); }
  Answer call_from(flow::Worker*, CallLimit limit, Request request) const {
    return call(limit, std::move(request));
  }
  [[nodiscard]] PipelineServiceHandle for_service() const {
    PipelineServiceHandle handle = *this;
    handle.for_service_ = true;
    return handle;
  }

 private:
  Future<Answer> begin(flow::Patience patience, Request request) const {
    auto call = std::make_shared<flow::RequestCall<Request, Answer>>(cell_, patience, std::move(request));
    cell_->ask(call, for_service_, patience.limit);
    return Future<Answer>(call, cell_->name());
  }

  std::shared_ptr<flow::PipelineCell<Request, Answer>> cell_;
  bool for_service_ = false;
};

namespace flow {

template <typename Request, typename Answer>
PipelineServiceHandle<Request, Answer> for_service(PipelineServiceHandle<Request, Answer> handle) {
  return handle.for_service();
}

}  // namespace flow

template <typename Request, typename Answer, typename Build>
PipelineServiceHandle<Request, Answer> LocalEnvironment::register_pipeline_service(ServiceSpec spec,
                                                                                   Build build) {
  auto cell = std::make_shared<flow::PipelineCell<Request, Answer>>(std::move(spec), build);
  add_service(cell);
  return PipelineServiceHandle<Request, Answer>(std::move(cell));
}
template <typename Request, typename Answer, typename Build>
PipelineServiceHandle<Request, Answer> LocalEnvironment::register_pipeline_service(std::string name,
                                                                                   Build build) {
  return register_pipeline_service<Request, Answer>(service(std::move(name)), std::move(build));
}

}  // namespace ebb

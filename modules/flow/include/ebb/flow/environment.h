#pragma once

#include <algorithm>
#include <concepts>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ebb/flow/data_stream.h"
#include "ebb/flow/io/csv.h"
#include "ebb/flow/io/json.h"
#include "ebb/flow/io/lines.h"
#include "ebb/flow/options.h"
#include "ebb/flow/pipeline.h"
#include "ebb/flow/service.h"

namespace ebb {

template <typename Request, typename Answer>
class PipelineServiceHandle;

namespace flow {

class InnerPipeline;
class StopTarget;

/// Gives the records of a vector, one after the other.
template <typename T>
class VectorSource {
 public:
  explicit VectorSource(std::vector<T> records) : records_(std::move(records)) {}
  std::span<T> batch(std::size_t limit) {
    const std::size_t begin = next_;
    next_ += std::min(limit, records_.size() - begin);
    return {records_.data() + begin, next_ - begin};
  }

 private:
  std::vector<T> records_;
  std::size_t next_ = 0;
};

template <typename R>
concept Iterable = requires(R& range) {
  std::begin(range) != std::end(range);
  *std::begin(range);
};

template <typename F>
concept SourceFunction = SourceInBatches<F> || requires(F& f, Context& context, const std::stop_token& stop) {
  pull(f, context, stop).has_value();
};

template <typename Source>
struct KafkaOptions {
  static_assert(kIsComplete<Source>, "ebb: from_kafka() needs #include <ebb/kafka.h>");
  using Type = Source;
};

}  // namespace flow

struct KafkaSource;

/// Where a pipeline is built and run, in this process. One environment is one pipeline: it is submitted once.
/// One thread builds.
class LocalEnvironment {
 public:
  explicit LocalEnvironment(std::string name);
  LocalEnvironment(const LocalEnvironment&) = delete;
  LocalEnvironment& operator=(const LocalEnvironment&) = delete;
  /// Cancels and joins what still runs.
  ~LocalEnvironment();

  /// The elements of a range, which is moved or copied into the pipeline.
  template <flow::Iterable Range>
  auto from_collection(Range&& range) {
    using T = std::iter_value_t<decltype(std::begin(range))>;
    if constexpr (std::same_as<T, bool>) {  // a vector of them is no array
      return from([records = std::vector<bool>(std::begin(range), std::end(range)),
                   next = std::size_t{0}]() mutable -> std::optional<bool> {
        if (next == records.size()) return std::nullopt;
        return records[next++];
      });
    } else if constexpr (std::same_as<std::remove_cvref_t<Range>, std::vector<T>>) {
      return from(flow::VectorSource<T>(std::forward<Range>(range)));
    } else {
      std::vector<T> records;
      if constexpr (requires { std::size(range); }) records.reserve(std::size(range));
      for (auto&& record : range) records.emplace_back(std::forward<decltype(record)>(record));
      return from(flow::VectorSource<T>(std::move(records)));
    }
  }
  template <typename T>
  auto from_collection(std::initializer_list<T> records) {
    return from(flow::VectorSource<T>(std::vector<T>(records)));
  }
  /// A finite batch: a range, or a function that gives std::optional<T> and ends with nullopt.
  template <typename Batch>
  auto from_batch(Batch&& batch) {
    if constexpr (flow::Iterable<Batch>) {
      return from_collection(std::forward<Batch>(batch));
    } else {
      return from_source(std::forward<Batch>(batch));
    }
  }
  /// Calls the function for record after record until it gives nullopt, or the pipeline is to end. It may
  /// wait: then it should look at its std::stop_token, which says that nothing more is wanted.
  template <typename F>
  auto from_source(F function) {
    static_assert(flow::SourceFunction<F>,
                  "ebb: a source needs a function std::optional<T>(), std::optional<T>(std::stop_token) or "
                  "std::optional<T>(std::stop_token, Context&)");
    return from(std::move(function));
  }

  /// The beginning of a cycle: a stream of the records that a later one gives back by `.fill_future(it)`. The
  /// cycle is over when everything that feeds it from outside has ended and nothing is left inside; what
  /// waits to go round is bounded by SubmitOptions::feedback_limit.
  template <typename T>
  flow::FutureStream<T> from_future(std::string name = "") {
    return flow::FutureStream<T>(*graph_, flow::FeedbackStage<T>::make(*graph_, std::move(name)));
  }

  /// A stream of the records of type T that operators give up, by `.on_error(ebb::dead_letter(stream))`.
  template <typename T>
  DeadLetters<T> dead_letters(std::string name) {
    auto [node, side] = flow::side_stream<DeadLetter<T>>(*graph_, "dead_letters", std::move(name));
    return DeadLetters<T>(*graph_, std::move(node), *side);
  }

  // Files and connections. They are templates so that a program pays for the ones that it uses.

  /// The lines of a text file, a pipe or /dev/stdin, as std::string without their ends.
  template <typename Source = flow::LineSource>
  auto from_lines(std::string path, LinesOptions options = {}) {
    return from(Source(std::move(path), options));
  }
  /// The rows of a CSV file, as CsvRow.
  template <typename Source = flow::CsvSource>
  auto from_csv(std::string path, CsvOptions options = {}) {
    return from(Source(std::move(path), options));
  }
  /// The JSON values of a file with one in each line, as boost::json::value.
  template <typename Source = flow::JsonSource, typename Value = boost::json::value>
  auto from_json_lines(std::string path, JsonOptions options = {}) {
    static_assert(flow::kIsComplete<Value>, "ebb: from_json_lines() needs #include <boost/json.hpp>");
    if constexpr (flow::kIsComplete<Value>) return from(Source(std::move(path), options));
  }
  /// The lines that come over a TCP connection to "host:port" or "[address]:port", as std::string, until the
  /// other side closes it.
  template <typename Source = flow::LineSource>
  auto from_socket(const std::string& address, SocketOptions options = {}) {
    return from(Source(address, options));
  }
  template <typename Source = flow::LineSource>
  auto from_socket(const std::string& host, int port, SocketOptions options = {}) {
    return from(Source(flow::address_of(host, port), options));
  }
  /// The records of a topic, as KafkaRecord; the options stand in <ebb/kafka.h>.
  template <typename Source = KafkaSource, typename Options = typename flow::KafkaOptions<Source>::Type>
  auto from_kafka(Options options) {
    return from(source_of(std::move(options)));
  }

  /// A service of class S beside the operators, made from these arguments when the pipeline starts. Its hooks
  /// are all optional: setup() and start() run before the first record, stop() and cleanup() after the last,
  /// services that were registered last first.
  template <typename S, typename... A>
  ServiceHandle<S> register_service(ServiceSpec spec, A... arguments) {
    static_assert(std::constructible_from<S, A&&...>,
                  "ebb: register_service<S>(name, arguments…) needs arguments that S can be made from");
    auto packed = std::make_shared<std::tuple<A...>>(flow::for_service(std::move(arguments))...);
    return register_service_factory<S>(std::move(spec), [packed] {
      return std::apply([](A&... unpacked) { return std::make_unique<S>(std::move(unpacked)...); }, *packed);
    });
  }
  template <typename S, typename... A>
  ServiceHandle<S> register_service(std::string name, A... arguments) {
    return register_service<S>(service(std::move(name)), std::move(arguments)...);
  }
  /// The same, made by a function that gives a std::unique_ptr to it, when the pipeline starts.
  template <typename Said = void, typename Make>
  auto register_service_factory(ServiceSpec spec, Make make) {
    using Made = std::remove_cvref_t<std::invoke_result_t<Make&>>;
    static_assert(
        requires(Made made) { std::unique_ptr<typename Made::element_type>(std::move(made)); },
        "ebb: register_service_factory(name, make) needs a function that gives std::unique_ptr<S>");
    using S = std::conditional_t<std::is_void_v<Said>, typename Made::element_type, Said>;
    auto cell = std::make_shared<flow::ServiceCell<S>>(std::move(spec), std::move(make));
    add_service(cell);
    return ServiceHandle<S>(std::move(cell));
  }
  template <typename Said = void, typename Make>
  auto register_service_factory(std::string name, Make make) {
    return register_service_factory<Said>(service(std::move(name)), std::move(make));
  }

  /// A pipeline as a service: `build(inner, requests)` gets an environment for it and the stream of its
  /// requests, and gives the stream of the answers:
  /// `[](ebb::LocalEnvironment& inner, auto requests) { return requests.map(f).filter(g); }`.
  template <typename Request, typename Answer, typename Build>
  PipelineServiceHandle<Request, Answer> register_pipeline_service(ServiceSpec spec, Build build);
  template <typename Request, typename Answer, typename Build>
  PipelineServiceHandle<Request, Answer> register_pipeline_service(std::string name, Build build);

  /// Starts the pipeline; see SubmitOptions. Throws std::logic_error where the graph is not whole (a stream
  /// that ends nowhere), PipelineError where it cannot start or, with autostop, where it fails.
  Pipeline submit(SubmitOptions options = {});

 private:
  friend class flow::InnerPipeline;
  friend void stop_on_signals(LocalEnvironment& environment);
  void add_service(std::shared_ptr<flow::ServiceBase> service);
  template <typename F>
  auto from(F function) {
    using Begin = flow::FromSource<F>;
    using T = typename flow::BeginRecord<Begin>::type;
    return flow::Chain<false, Begin, T>(*graph_, {{std::move(function), {}, graph_->add("source")}, {}, {}},
                                        1);
  }

  std::string name_;
  std::shared_ptr<flow::Graph> graph_;
  bool submitted_ = false;
  std::weak_ptr<flow::Run> run_;
  std::shared_ptr<flow::StopTarget> stop_target_;
};

}  // namespace ebb

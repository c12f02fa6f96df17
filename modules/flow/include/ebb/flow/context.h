#pragma once

#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <typeinfo>
#include <utility>
#include <vector>

namespace ebb {

class Context;

namespace flow {
class Worker;
struct Operator;
class SideEnd;
/// A replica's end of the side stream of that name and type. Throws std::logic_error where there is none.
template <typename U>
void give_to_side(const Context& context, const std::string& name, U record);
}  // namespace flow

/// What a user's function is told of where it runs: the optional second argument of every operator's
/// function, and the argument of open(). One for each replica of an operator; used on its thread only.
class Context {
 public:
  Context(flow::Worker& worker, const flow::Operator& op, int replica, int replicas);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// The operator's name, as in the report.
  [[nodiscard]] const std::string& name() const noexcept;
  /// 0 to replicas() - 1.
  [[nodiscard]] int replica() const noexcept { return replica_; }
  [[nodiscard]] int replicas() const noexcept { return replicas_; }
  /// Requested when the pipeline is to end: sources stop giving records, waits of the user's own should end.
  [[nodiscard]] std::stop_token stop_token() const noexcept;
  /// This operator takes no more records: they are dropped and counted from now on, and what it is fed by
  /// stops when nobody else takes from it.
  void finish() noexcept { finished_ = true; }
  [[nodiscard]] bool finished() const noexcept { return finished_; }

  /// The key of the record that is being processed, after key_by(). std::bad_cast where K is not its type,
  /// or there is none.
  template <typename K>
  [[nodiscard]] const K& key() const {
    if (key_ == nullptr || *key_type_ != typeid(K)) throw std::bad_cast();
    return *static_cast<const K*>(key_);
  }

  /// Calls a service: `c.call(handle, &S::method, arguments…)` on this thread, when one of its slots is free;
  /// `c.call(handle, ebb::within(50ms), &S::method, arguments…)`, which gives up after that time.
  template <typename Handle, typename... A>
  decltype(auto) call(const Handle& service, A&&... arguments) {
    return service.call_from(worker_, std::forward<A>(arguments)...);
  }
  /// Begins a call with the same arguments, and gives its Future.
  template <typename Handle, typename... A>
  auto call_async(const Handle& service, A&&... arguments) {
    return service.call_async(std::forward<A>(arguments)...);
  }

  /// Gives a record to the stream that `.side_output<U>(name)` behind this operator takes. Throws
  /// std::logic_error where there is none of that name and type.
  template <typename U>
  void side_output(const std::string& name, U record) {
    flow::give_to_side<U>(*this, name, std::move(record));
  }

  // For the runtime.
  std::vector<std::unique_ptr<flow::SideEnd>> sides;
  [[nodiscard]] flow::Worker& worker() noexcept { return *worker_; }
  template <typename K>
  void set_key(const K& key) noexcept {
    key_ = &key;
    key_type_ = &typeid(K);
  }

 private:
  flow::Worker* worker_;
  const flow::Operator* operator_;
  int replica_, replicas_;
  bool finished_ = false;
  const void* key_ = nullptr;
  const std::type_info* key_type_ = nullptr;
};

}  // namespace ebb

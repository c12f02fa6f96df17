#pragma once

#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "ebb/flow/runtime/either.h"
#include "ebb/flow/stream.h"

namespace ebb::flow {

/// Two streams, of A and of B, that go through one operator: what connect() gives. Each function is called
/// with records of both types, on one thread for each replica, so that it may keep what both need. Where both
/// streams have keys of one type, records of a key come to the same replica.
template <typename Chain, typename A, typename B>
class [[nodiscard("ebb: a stream that ends in no sink does not run")]] Connected {
 public:
  using Record = typename Chain::Record;
  explicit Connected(Chain chain) : chain_(std::move(chain)) {}

  /// One function for both types, overloaded or generic; what it gives must be of one type.
  template <typename F>
  auto map(F function) && {
    static_assert(Takes<F, A> && Takes<F, B>, "ebb: map behind connect needs a function of both types");
    return std::move(chain_).then(Map<CallEither<F, void>>{{{{std::move(function)}}}});
  }
  /// A function for each type; both must give one type.
  template <typename F, typename G>
  auto comap(F first, G second) && {
    static_assert(Mapper<F, A> && Mapper<G, B>,
                  "ebb: comap needs a function for each of both types: U(A), U(B), each that gives a value");
    return with_kind(
        "comap", std::move(chain_).then(Map<CallEither<F, G>>{{{{std::move(first), std::move(second)}}}}));
  }
  /// The same as a class with the members map1(A) and map2(B), which may share what they keep.
  template <typename F>
  auto comap(F both) && {
    constexpr bool kFits = requires(F& f, A a, B b) { f.map1(std::move(a)), f.map2(std::move(b)); };
    static_assert(kFits, "ebb: comap needs two functions, or a class with the members map1(A) and map2(B)");
    return with_kind("comap", std::move(chain_).then(Map<CallCoMap<F>>{{{{std::move(both)}}}}));
  }
  template <typename U, typename F>
  auto flat_map(F function) && {
    static_assert(
        Expander<F, A, U> && Expander<F, B, U>,
        "ebb: flat_map<U> behind connect needs a function void(const T&, auto& emit) of both types");
    return std::move(chain_).then(FlatMap<U, ExpandEither<U, F, void>>{{{{std::move(function)}}}});
  }
  template <typename U, typename F, typename G>
  auto flat_map(F first, G second) && {
    static_assert(Expander<F, A, U> && Expander<G, B, U>,
                  "ebb: flat_map<U> behind connect needs two functions void(const T&, auto& emit)");
    return std::move(chain_).then(
        FlatMap<U, ExpandEither<U, F, G>>{{{{std::move(first), std::move(second)}}}});
  }
  /// Records of the same key, of either type, go to the same replica of what follows. Both functions must
  /// give one type.
  template <typename F, typename G>
  auto key_by(F first, G second) && {
    static_assert(Mapper<F, const A&> && Mapper<G, const B&>,
                  "ebb: key_by behind connect needs two functions K(const A&), K(const B&)");
    return keyed(CallEither<F, G>{{{std::move(first), std::move(second)}}});
  }
  template <typename F>
  auto key_by(F function) && {
    static_assert(Mapper<F, const A&> && Mapper<F, const B&>,
                  "ebb: key_by behind connect needs a function K(const T&) of both types");
    return keyed(CallEither<F, void>{{{std::move(function)}}});
  }
  template <typename F>
  auto sink(F function) && {
    static_assert(Takes<F, A> && Takes<F, B>, "ebb: sink behind connect needs a function of both types");
    return chain_.with_replicas(1).then(Sink<CallEither<F, void>>{{{{std::move(function)}}}});
  }
  auto print() && {
    return std::move(*this).sink([](const auto& record) { std::cout << record << '\n'; });
  }

  Connected name(std::string name) && {
    chain_.set_name(std::move(name));
    return std::move(*this);
  }
  /// In how many replicas the operator that follows runs.
  auto parallelism(int replicas) && {
    auto split = chain_.with_replicas(replicas);
    return Connected<decltype(split), A, B>(std::move(split));
  }

  // For the library.
  template <typename Op>
  auto then(const char* kind, Op op) && {
    return with_kind(kind, std::move(chain_).then(std::move(op)));
  }

 private:
  template <typename Made>
  static Made with_kind(const char* kind, Made made) {
    made.set_kind(kind);
    return made;
  }
  template <typename F>
  auto keyed(F function) {
    auto by_key = chain_.then(KeyBy<F>{std::move(function)}).cut(1);
    return Connected<decltype(by_key), A, B>(std::move(by_key));
  }

  Chain chain_;
};

}  // namespace ebb::flow

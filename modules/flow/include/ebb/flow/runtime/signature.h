#pragma once

#include <tuple>
#include <type_traits>

/// What a function that is no template and has no overloads takes, as far as its type says it.
namespace ebb::flow {

template <typename F>
struct Signature {
  static constexpr bool kKnown = false;
};
template <typename R, typename... A>
struct Signature<R (*)(A...)> {
  static constexpr bool kKnown = true;
  using Arguments = std::tuple<A...>;
};
template <typename C, typename R, typename... A>
struct Signature<R (C::*)(A...)> : Signature<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct Signature<R (C::*)(A...) const> : Signature<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct Signature<R (C::*)(A...) noexcept> : Signature<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct Signature<R (C::*)(A...) const noexcept> : Signature<R (*)(A...)> {};
template <typename F>
  requires requires { &F::operator(); }
struct Signature<F> : Signature<decltype(&F::operator())> {};

/// The argument of `Wrapper<X>&` among a function's, or void.
template <template <typename> typename Wrapper, typename Arguments>
struct WrappedIn {
  using type = void;
};
template <template <typename> typename Wrapper, typename X, typename... Rest>
struct WrappedIn<Wrapper, std::tuple<Wrapper<X>&, Rest...>> {
  using type = X;
};
template <template <typename> typename Wrapper, typename First, typename... Rest>
struct WrappedIn<Wrapper, std::tuple<First, Rest...>> : WrappedIn<Wrapper, std::tuple<Rest...>> {};

/// X, where the function is known to take a `Wrapper<X>&`, else void.
template <template <typename> typename Wrapper, typename F>
struct ArgumentOf {
  using type = void;
};
template <template <typename> typename Wrapper, typename F>
  requires Signature<F>::kKnown
struct ArgumentOf<Wrapper, F> : WrappedIn<Wrapper, typename Signature<F>::Arguments> {};

/// The same of a function with one `auto&`, in the place of which it is given an `Emit&`.
template <template <typename> typename Wrapper, typename F, typename Emit>
struct ArgumentBesideEmit : ArgumentOf<Wrapper, F> {};
template <template <typename> typename Wrapper, typename F, typename Emit>
  requires requires { &F::template operator()<Emit>; }
struct ArgumentBesideEmit<Wrapper, F, Emit>
    : WrappedIn<Wrapper, typename Signature<decltype(&F::template operator()<Emit>)>::Arguments> {};

/// `Said`, unless that is void: then what the function's own type says, or else `Otherwise`.
template <typename Said, template <typename> typename Wrapper, typename F, typename Otherwise = void>
using Deduced = std::conditional_t<!std::is_void_v<Said>, Said,
                                   std::conditional_t<std::is_void_v<typename ArgumentOf<Wrapper, F>::type>,
                                                      Otherwise, typename ArgumentOf<Wrapper, F>::type>>;

}  // namespace ebb::flow

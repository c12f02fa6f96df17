#pragma once

#include <cassert>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ebb {

/// What kind of failure an Error is; decides exit codes and HTTP statuses, so it says who must act.
enum class Errc {
  invalid,          ///< the request or the input is wrong: the caller must change it
  impossible,       ///< well-formed, but can never be granted on this machine
  unauthenticated,  ///< no valid identity was shown
  forbidden,        ///< the identity may not do this
  not_found,        ///< no such thing
  conflict,         ///< clashes with what is there
  too_large,        ///< over a limit on size
  exhausted,        ///< over a quota or a full queue: later it may work
  unavailable,      ///< the other side is not there, or is ending
  timeout,          ///< a stated time passed
  io,               ///< the operating system refused
  corrupt,          ///< stored data does not make sense
  internal,         ///< a defect of ours
};

/// An expected failure, in words for the person who must act on it: what happened, to what, what to do.
struct Error {
  Errc code = Errc::internal;
  std::string message;
  std::string pointer;  ///< JSON pointer to the offending field of a request, else empty
  std::string type;     ///< stable name of the problem within the API ("no-such-job"), else empty
};

/// An error that carries errno's text: "cannot open /x: Permission denied".
[[nodiscard]] Error errno_error(int errno_value, std::string_view what, Errc code = Errc::io);

/// A value or the Error that stands in its place. Like a pointer, it must be tested before it is read.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  [[nodiscard]] T& value() & { return assert(ok()), *std::get_if<0>(&state_); }
  [[nodiscard]] const T& value() const& { return assert(ok()), *std::get_if<0>(&state_); }
  [[nodiscard]] T&& value() && { return assert(ok()), std::move(*std::get_if<0>(&state_)); }
  [[nodiscard]] T& operator*() & { return value(); }
  [[nodiscard]] const T& operator*() const& { return value(); }
  [[nodiscard]] T&& operator*() && { return std::move(*this).value(); }
  [[nodiscard]] T* operator->() { return &value(); }
  [[nodiscard]] const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const& { return assert(!ok()), *std::get_if<1>(&state_); }
  [[nodiscard]] Error&& error() && { return assert(!ok()), std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

/// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const noexcept { return error_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const Error& error() const& { return assert(!ok()), *std::get_if<1>(&error_); }
  [[nodiscard]] Error&& error() && { return assert(!ok()), std::move(*std::get_if<1>(&error_)); }

 private:
  std::variant<std::monostate, Error> error_;
};

}  // namespace ebb

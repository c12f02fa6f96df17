#pragma once

#include <boost/json/fwd.hpp>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace ebb {

class Context;

struct JsonOptions {
  std::size_t max_line = std::size_t{16} << 20;  ///< bytes; a longer line is an error
  std::size_t max_depth = 64;                    ///< of arrays and objects within each other; likewise
};

namespace flow {

/// The type is complete where this is instantiated.
template <typename T>
inline constexpr bool kIsComplete = requires { sizeof(T); };

/// The JSON values of a file, one in each line; empty lines are left out. A line that is no JSON is a record
/// that is in error, and so is one that names a key twice in an object or holds a NUL character.
class JsonSource {
 public:
  static constexpr bool kGoesOn = true;  ///< behind a record that is in error

  JsonSource(std::string path, const JsonOptions& options);
  JsonSource(JsonSource&&) noexcept;
  JsonSource& operator=(JsonSource&&) noexcept;
  JsonSource(const JsonSource&) = delete;
  JsonSource& operator=(const JsonSource&) = delete;
  ~JsonSource();

  void open(Context& context);
  std::span<boost::json::value> batch(std::size_t limit);
  void close();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace flow
}  // namespace ebb

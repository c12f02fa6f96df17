// The part of from_json() that does not depend on the type that is read: where we are, and what is wrong
// there.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/clock.h"
#include "ebb/base/ids.h"
#include "ebb/base/result.h"
#include "ebb/model/json.h"

namespace ebb::model {

/// Reads single values and keeps the path to the one that is being read. Every read_…() returns whether it
/// succeeded; after the first failure error() describes it and nothing more is read.
class Decoder {
 public:
  explicit Decoder(UnknownMembers unknown) : unknown_(unknown) {}

  void enter(std::string_view key) { path_.push_back({key, 0}); }
  void enter(std::size_t index) { path_.push_back({{}, index}); }
  void leave() { path_.pop_back(); }

  [[nodiscard]] bool read_bool(const boost::json::value& value, bool& out);
  [[nodiscard]] bool read_integer(const boost::json::value& value, std::int64_t least, std::int64_t most,
                                  std::int64_t& out);
  [[nodiscard]] bool read_number(const boost::json::value& value, double& out);
  [[nodiscard]] bool read_string(const boost::json::value& value, std::string& out);
  [[nodiscard]] bool read_time(const boost::json::value& value, WallTime& out);
  [[nodiscard]] bool read_job_id(const boost::json::value& value, JobId& out);
  /// The index of the value's text among `names`.
  [[nodiscard]] bool read_name(const boost::json::value& value, std::span<const std::string_view> names,
                               std::size_t& out);
  [[nodiscard]] const boost::json::array* read_array(const boost::json::value& value);
  [[nodiscard]] const boost::json::object* read_object(const boost::json::value& value);
  /// Null or absent where a value is required.
  bool missing();
  /// False at the first member of `object` that is not among `names`, unless those are ignored.
  [[nodiscard]] bool check_members(const boost::json::object& object,
                                   std::span<const std::string_view> names);

  [[nodiscard]] Error&& error() && { return std::move(error_); }

 private:
  struct Step {
    std::string_view key;  // of an object; it lives in the value that is read or in the program
    std::size_t index = 0;
  };
  bool refuse(std::string_view requirement, const boost::json::value& got);
  bool fail(std::string message, std::string_view type = {});
  [[nodiscard]] std::string place() const;    // "ready.path"
  [[nodiscard]] std::string pointer() const;  // "/ready/path"

  UnknownMembers unknown_;
  std::vector<Step> path_;
  Error error_;
};

/// Appends one reference token of a JSON pointer, escaped as RFC 6901 says.
void append_pointer(std::string& pointer, std::string_view token);
/// Text from outside as an error message shows it: harmless, and cut after some 60 bytes.
[[nodiscard]] std::string quoted_for_message(std::string_view text);

}  // namespace ebb::model

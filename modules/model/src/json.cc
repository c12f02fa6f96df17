#include "ebb/model/json.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/error.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <vector>

#include "decoder.h"
#include "type_name.h"

namespace ebb::model {
namespace {

using boost::json::error_code;
using boost::json::string_view;

Error malformed(std::string message, std::string pointer = {}) {
  return {.code = Errc::invalid,
          .message = std::move(message),
          .pointer = std::move(pointer),
          .type = "malformed-json"};
}

// Receives the parser's events, hands them to Boost's value builder, and beside that keeps the keys of the
// objects that are open. Keys are compared when their object ends, by sorting: a hash table's time would be
// in the hand of whoever chooses the keys.
class Builder {
 public:
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) {
    open_.push_back({.object = true, .keys = {}, .count = 0});
    return true;
  }
  bool on_object_end(std::size_t count, error_code& ec) {
    values_.push_object(count);
    std::vector<std::string>& keys = open_.back().keys;
    std::ranges::sort(keys);
    if (const auto twice = std::ranges::adjacent_find(keys); twice != keys.end()) {
      const std::string key = std::move(*twice);
      open_.pop_back();
      std::string at = pointer();
      append_pointer(at, key);
      problem_ = {.code = Errc::invalid,
                  .message = "the key \"" + quoted_for_message(key) + "\" stands twice in one object",
                  .pointer = std::move(at),
                  .type = "duplicate-key"};
      ec = boost::json::error::syntax;
      return false;
    }
    open_.pop_back();
    return counted();
  }
  bool on_array_begin(error_code&) {
    open_.push_back({.object = false, .keys = {}, .count = 0});
    return true;
  }
  bool on_array_end(std::size_t count, error_code&) {
    values_.push_array(count);
    open_.pop_back();
    return counted();
  }
  bool on_key_part(string_view part, std::size_t, error_code& ec) {
    values_.push_chars(part);
    key_.append(part.data(), part.size());
    return no_nul(part, ec);
  }
  bool on_key(string_view part, std::size_t, error_code& ec) {
    values_.push_key(part);
    key_.append(part.data(), part.size());
    open_.back().keys.push_back(std::move(key_));
    key_.clear();
    return no_nul(part, ec);
  }
  bool on_string_part(string_view part, std::size_t, error_code& ec) {
    values_.push_chars(part);
    return no_nul(part, ec);
  }
  bool on_string(string_view part, std::size_t, error_code& ec) {
    values_.push_string(part);
    return no_nul(part, ec) && counted();
  }
  bool on_number_part(string_view part, error_code&) {
    number_.append(part.data(), part.size());
    return true;
  }
  bool on_int64(std::int64_t number, string_view, error_code&) {
    values_.push_int64(number);
    number_.clear();
    return counted();
  }
  bool on_uint64(std::uint64_t number, string_view, error_code&) {
    values_.push_uint64(number);
    number_.clear();
    return counted();
  }
  // The parser's own value may be the neighbour of the one that is nearest to the text; it is kept only for
  // what no double can hold.
  bool on_double(double number, string_view part, error_code&) {
    number_.append(part.data(), part.size());
    double nearest = 0;
    const auto read = std::from_chars(number_.data(), number_.data() + number_.size(), nearest);
    values_.push_double(read.ec == std::errc() ? nearest : number);
    number_.clear();
    return counted();
  }
  bool on_bool(bool truth, error_code&) {
    values_.push_bool(truth);
    return counted();
  }
  bool on_null(error_code&) {
    values_.push_null();
    return counted();
  }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

  void begin() { values_.reset(); }
  [[nodiscard]] boost::json::value take() { return values_.release(); }
  /// What this builder itself refused, else nothing.
  [[nodiscard]] const std::optional<Error>& problem() const { return problem_; }

 private:
  struct Open {
    bool object = false;
    std::vector<std::string> keys;
    std::size_t count = 0;  // of an array's elements that are complete
  };

  bool counted() {
    if (!open_.empty()) ++open_.back().count;
    return true;
  }
  bool no_nul(string_view text, error_code& ec) {
    if (text.find('\0') == string_view::npos) return true;
    std::string at = pointer();
    problem_ = malformed("a text contains a NUL character (\\u0000), which nothing here can hold", at);
    ec = boost::json::error::syntax;
    return false;
  }
  // Of the value that is being read.
  [[nodiscard]] std::string pointer() const {
    std::string text;
    for (const Open& open : open_) {
      if (!open.object) {
        append_pointer(text, std::to_string(open.count));
      } else if (!open.keys.empty()) {
        append_pointer(text, open.keys.back());
      }
    }
    return text;
  }

  boost::json::value_stack values_;
  std::vector<Open> open_;
  std::string key_;
  std::string number_;  // its text so far
  std::optional<Error> problem_;
};

}  // namespace

Result<boost::json::value> parse_json(std::string_view text, JsonLimits limits) {
  if (text.size() > limits.bytes) {
    return Error{.code = Errc::too_large,
                 .message = "the JSON text has " + std::to_string(text.size()) + " bytes; at most " +
                            std::to_string(limits.bytes) + " are taken",
                 .pointer = {},
                 .type = "payload-too-large"};
  }
  boost::json::parse_options options;
  options.max_depth = limits.depth;
  boost::json::basic_parser<Builder> parser(options);
  parser.handler().begin();
  error_code failure;
  const std::size_t used = parser.write_some(false, text.data(), text.size(), failure);
  if (parser.handler().problem()) return *parser.handler().problem();
  if (!failure && used < text.size()) failure = boost::json::error::extra_data;
  if (failure == boost::json::error::too_deep) {
    return malformed("the JSON text is nested deeper than " + std::to_string(limits.depth) + " levels");
  }
  if (failure == boost::json::error::incomplete) {
    return malformed(text.empty() ? "there is no JSON text: the body is empty"
                                  : "the JSON text is cut off at byte " + std::to_string(text.size()));
  }
  if (failure) {
    return malformed("this is no JSON: " + failure.message() + " at byte " + std::to_string(used));
  }
  return parser.handler().take();
}

boost::json::object json_schemas() {
  boost::json::object all;
  const auto add = [&]<typename... T>() { (all.emplace(type_name<T>(), json_schema<T>()), ...); };
  add.template operator()<StopReason, Exit, Ready, OwnerRequest, JobRequest, OwnerView, Job, JobList,
                          OutsideUse, ReleaseRecord, Report, Gpu, Port, Devices, Holder, Blocker, Why, Event,
                          User, UserList, UserRequest, UserKey, Problem>();
  return all;
}

}  // namespace ebb::model

#include <boost/json.hpp>
#include <charconv>
#include <cmath>

#include "compat.h"
#include "ebb/base/text.h"
#include "ebb/model/json.h"

namespace ebb::server::compat {
namespace {

namespace json = boost::json;

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view view(const json::value& value) {
  const auto& text = value.get_string();
  return {text.data(), text.size()};
}

Response invalid(json::array errors) {
  return Response{.status = 422, .body = json::serialize(json::object{{"detail", std::move(errors)}})};
}

json::object error(std::string_view type, json::array where, std::string_view message, json::value input) {
  return {{"type", type}, {"loc", std::move(where)}, {"msg", message}, {"input", std::move(input)}};
}

// FastAPI reads JSON only where the content type says so, or says nothing.
bool says_json(const Request& request) {
  std::string type = lower(request.header("content-type").value_or("application/json"));
  type = std::string(trimmed(type.substr(0, type.find(';'))));
  return type == "application/json" || (type.starts_with("application/") && type.ends_with("+json"));
}

Result<json::value> parse(const Request& request) {
  return model::parse_json(request.body, {.bytes = request.body.size(), .depth = 32});
}

// The position that the parser's message ends with: "… at byte 17".
std::int64_t position_in(const std::string& message) {
  const std::size_t at = message.rfind("byte ");
  std::int64_t position = 0;
  if (at != std::string::npos)
    std::from_chars(message.data() + at + 5, message.data() + message.size(), position);
  return position;
}

std::optional<std::int64_t> integer_in(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  // "2.0" is an integer too.
  if (const std::size_t dot = text.find('.'); dot != std::string_view::npos && dot > 0) {
    if (dot + 1 == text.size() || text.substr(dot + 1).find_first_not_of('0') != std::string_view::npos) {
      return std::nullopt;
    }
    text = text.substr(0, dot);
  }
  std::int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<bool> boolean_in(std::string_view text) {
  const std::string word = lower(text);
  for (const std::string_view yes : {"1", "on", "t", "true", "y", "yes"}) {
    if (word == yes) return true;
  }
  for (const std::string_view no : {"0", "off", "f", "false", "n", "no"}) {
    if (word == no) return false;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Response> unparsable(const Request& request) {
  if (request.body.empty() || !says_json(request)) return std::nullopt;
  if (!is_utf8(request.body)) return plain_error(400, "There was an error parsing the body");
  const auto parsed = parse(request);
  if (parsed) return std::nullopt;
  const std::string& message = parsed.error().message;
  json::object entry =
      error("json_invalid", {"body", position_in(message)}, "JSON decode error", json::object{});
  entry["ctx"] = json::object{{"error", message}};
  return invalid({std::move(entry)});
}

Fields::Fields(const Request& request) {
  if (!request.body.empty()) {
    if (!says_json(request)) {
      body_ = json::string(printable(request.body));
    } else if (auto parsed = parse(request)) {
      body_ = std::move(*parsed);
    }
  }
  if (body_.is_null()) {
    errors_.push_back(error("missing", {"body"}, "Field required", nullptr));
    return;
  }
  usable_ = body_.is_object();
  if (!usable_) {
    errors_.push_back(error("model_attributes_type", {"body"},
                            "Input should be a valid dictionary or object to extract fields from", body_));
  }
}

const json::value* Fields::find(std::string_view name, bool required, Null null) {
  if (!usable_) return nullptr;
  const json::value* value = body_.get_object().if_contains(name);
  if (value == nullptr && required) add(name, "missing", "Field required", body_);
  if (value != nullptr && value->is_null() && null == Null::nothing) return nullptr;
  return value;
}

void Fields::add(std::string_view name, std::string_view type, std::string_view message,
                 const json::value& input) {
  errors_.push_back(error(type, {"body", name}, message, input));
}

std::optional<std::int64_t> Fields::integer(std::string_view name, Null null) {
  const json::value* value = find(name, false, null);
  if (value == nullptr) return std::nullopt;
  if (value->is_int64()) return value->get_int64();
  if (value->is_bool()) return value->get_bool() ? 1 : 0;
  if (value->is_double()) {
    const double number = value->get_double();
    if (number != std::trunc(number)) {
      add(name, "int_from_float", "Input should be a valid integer, got a number with a fractional part",
          *value);
    } else if (std::abs(number) < 0x1p63) {
      return static_cast<std::int64_t>(number);
    } else {
      add(name, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size",
          *value);
    }
  } else if (value->is_string()) {
    if (const auto number = integer_in(view(*value))) return number;
    add(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", *value);
  } else {
    add(name, "int_type", "Input should be a valid integer", *value);
  }
  return std::nullopt;
}

std::optional<double> Fields::number(std::string_view name, Null null) {
  const json::value* value = find(name, false, null);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) return value->to_number<double>();
  if (value->is_bool()) return value->get_bool() ? 1 : 0;
  if (value->is_string()) {
    std::string_view text = trimmed(view(*value));
    if (text.starts_with('+')) text.remove_prefix(1);
    double number = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure == std::errc() && end == text.data() + text.size() && !text.empty() &&
        std::isfinite(number)) {
      return number;
    }
    add(name, "float_parsing", "Input should be a valid number, unable to parse string as a number", *value);
  } else {
    add(name, "float_type", "Input should be a valid number", *value);
  }
  return std::nullopt;
}

std::optional<bool> Fields::boolean(std::string_view name) {
  const json::value* value = find(name, false, Null::error);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  std::optional<bool> read;
  if (value->is_string()) read = boolean_in(view(*value));
  if (value->is_number()) {
    const double number = value->to_number<double>();
    if (number == 0 || number == 1) read = number == 1;
  }
  if (read) return read;
  if (value->is_string() || value->is_int64()) {
    add(name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", *value);
  } else {
    add(name, "bool_type", "Input should be a valid boolean", *value);
  }
  return std::nullopt;
}

std::optional<std::string> Fields::text(std::string_view name, bool required) {
  const json::value* value = find(name, required, required ? Null::error : Null::nothing);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string(view(*value));
  add(name, "string_type", "Input should be a valid string", *value);
  return std::nullopt;
}

std::optional<std::string> Fields::object(std::string_view name) {
  const json::value* value = find(name, true, Null::error);
  if (value == nullptr) return std::nullopt;
  if (value->is_object()) return json::serialize(*value);
  add(name, "dict_type", "Input should be a valid dictionary", *value);
  return std::nullopt;
}

void Fields::refuse(std::string_view name, std::string_view type, const std::string& message) {
  const json::value* value = usable_ ? body_.get_object().if_contains(name) : nullptr;
  add(name, type, message, value != nullptr ? *value : json::value());
}

std::optional<Response> Fields::errors() const {
  if (errors_.empty()) return std::nullopt;
  return invalid(errors_);
}

Response query_error(std::string_view name, std::string_view type, std::string_view message,
                     const json::value& input) {
  return invalid({error(type, {"query", name}, message, input)});
}

Response error_response(const Error& failure, const std::map<std::string, std::string>& field_names) {
  if (failure.pointer.starts_with('/')) {
    std::string field = failure.pointer.substr(1);
    if (const auto named = field_names.find(field); named != field_names.end()) field = named->second;
    return invalid({error("value_error", {"body", field}, failure.message, nullptr)});
  }
  return plain_error(model::to_problem(failure).status, failure.message);
}

Response json_response(const json::value& value) { return Response{.body = json::serialize(value)}; }

}  // namespace ebb::server::compat

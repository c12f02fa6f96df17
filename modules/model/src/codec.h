// The generic codec over Boost.Describe. Included by the codec_*.cc alone, which instantiate it for the types
// of the API; everybody else sees json.h.
#pragma once

#include <array>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <concepts>
#include <limits>
#include <map>
#include <type_traits>

#include "decoder.h"
#include "described.h"
#include "ebb/base/text.h"
#include "type_name.h"

namespace ebb::model {
namespace codec {

namespace json = boost::json;
namespace describe = boost::describe;

template <typename T>
concept Struct = describe::has_describe_members<T>::value;
template <typename T>
concept Enum = describe::has_describe_enumerators<T>::value;

template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <typename T>
inline constexpr bool kIsVector = false;
template <typename T>
inline constexpr bool kIsVector<std::vector<T>> = true;
using TextMap = std::map<std::string, std::string>;

template <Struct T>
using Members = describe::describe_members<T, describe::mod_public>;
template <Enum E>
using Enumerators = describe::describe_enumerators<E>;

/// The names of a struct's members or of an enum's enumerators, in their order.
template <typename List>
inline constexpr auto kNames = []<template <typename...> typename L, typename... D>(L<D...>*) {
  return std::array<std::string_view, sizeof...(D)>{D::name...};
}(static_cast<List*>(nullptr));
template <Enum E>
inline constexpr auto kValues = []<template <typename...> typename L, typename... D>(L<D...>*) {
  return std::array<E, sizeof...(D)>{D::value...};
}(static_cast<Enumerators<E>*>(nullptr));

/// Calls visit(descriptor) for each member; stops at the first that answers false.
template <Struct T, typename Visit>
bool each_member(Visit&& visit) {
  return [&]<template <typename...> typename L, typename... D>(L<D...>*) {
    return (visit(D()) && ...);
  }(static_cast<Members<T>*>(nullptr));
}

template <typename T>
void encode(const T& from, json::value& to) {
  if constexpr (std::same_as<T, bool>) {
    to = from;
  } else if constexpr (std::integral<T>) {
    to = static_cast<std::int64_t>(from);
  } else if constexpr (std::same_as<T, double>) {
    // JSON has no infinity; whoever let one come so far gets null instead of a text nobody can read.
    if (std::isfinite(from)) {
      to = from;
    } else {
      to = nullptr;
    }
  } else if constexpr (std::same_as<T, std::string>) {
    // File names and foreign processes' names need not be UTF-8, but every JSON text must.
    to.emplace_string() = is_utf8(from) ? std::string_view(from) : std::string_view(printable(from));
  } else if constexpr (std::same_as<T, WallTime>) {
    to.emplace_string() = format_time(from);
  } else if constexpr (std::same_as<T, JobId>) {
    to.emplace_string() = from.str();
  } else if constexpr (Enum<T>) {
    to.emplace_string() = name_of(from);
  } else if constexpr (kIsOptional<T>) {
    if (from) {
      encode(*from, to);
    } else {
      to = nullptr;
    }
  } else if constexpr (kIsVector<T>) {
    json::array& array = to.emplace_array();
    array.resize(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) encode(from[i], array[i]);
  } else if constexpr (std::same_as<T, TextMap>) {
    json::object& object = to.emplace_object();
    object.reserve(from.size());
    for (const auto& [key, value] : from) {
      encode(value, object[is_utf8(key) ? key : printable(key)]);
    }
  } else {
    static_assert(Struct<T>, "describe the type in described.h");
    json::object& object = to.emplace_object();
    object.reserve(kNames<Members<T>>.size());
    each_member<T>([&](auto member) {
      encode(from.*member.pointer, object.emplace(member.name, nullptr).first->value());
      return true;
    });
  }
}

template <typename T>
bool decode(Decoder& in, const json::value& from, T& to) {
  if constexpr (kIsOptional<T>) {
    if (from.is_null()) {
      to.reset();
      return true;
    }
    return decode(in, from, to.emplace());
  } else if constexpr (std::same_as<T, bool>) {
    return in.read_bool(from, to);
  } else if constexpr (std::integral<T>) {
    std::int64_t number = 0;
    if (!in.read_integer(from, std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), number)) {
      return false;
    }
    to = static_cast<T>(number);
    return true;
  } else if constexpr (std::same_as<T, double>) {
    return in.read_number(from, to);
  } else if constexpr (std::same_as<T, std::string>) {
    return in.read_string(from, to);
  } else if constexpr (std::same_as<T, WallTime>) {
    return in.read_time(from, to);
  } else if constexpr (std::same_as<T, JobId>) {
    return in.read_job_id(from, to);
  } else if constexpr (Enum<T>) {
    std::size_t index = 0;
    if (!in.read_name(from, kNames<Enumerators<T>>, index)) return false;
    to = kValues<T>[index];
    return true;
  } else if constexpr (kIsVector<T>) {
    const json::array* array = in.read_array(from);
    if (array == nullptr) return false;
    to.resize(array->size());
    for (std::size_t i = 0; i < array->size(); ++i) {
      in.enter(i);
      if (!decode(in, (*array)[i], to[i])) return false;
      in.leave();
    }
    return true;
  } else if constexpr (std::same_as<T, TextMap>) {
    const json::object* object = in.read_object(from);
    if (object == nullptr) return false;
    for (const auto& member : *object) {
      in.enter(std::string_view(member.key()));
      if (!in.read_string(member.value(), to[std::string(member.key())])) return false;
      in.leave();
    }
    return true;
  } else {
    static_assert(Struct<T>, "describe the type in described.h");
    const json::object* object = in.read_object(from);
    if (object == nullptr || !in.check_members(*object, kNames<Members<T>>)) return false;
    return each_member<T>([&](auto member) {
      using Value = std::remove_reference_t<decltype(to.*member.pointer)>;
      in.enter(std::string_view(member.name));
      const json::value* value = object->if_contains(member.name);
      if (value == nullptr) {
        if (!kIsOptional<Value>) return in.missing();
      } else if (!decode(in, *value, to.*member.pointer)) {
        return false;
      }
      in.leave();
      return true;
    });
  }
}

template <typename T>
json::value schema(bool reference) {
  if constexpr (std::same_as<T, bool>) {
    return {{"type", "boolean"}};
  } else if constexpr (std::integral<T>) {
    return {{"type", "integer"}};
  } else if constexpr (std::same_as<T, double>) {
    return {{"type", "number"}};
  } else if constexpr (std::same_as<T, std::string>) {
    return {{"type", "string"}};
  } else if constexpr (std::same_as<T, WallTime>) {
    return {{"type", "string"}, {"format", "date-time"}};
  } else if constexpr (std::same_as<T, JobId>) {
    return {{"type", "string"}, {"pattern", "^[0-9a-f]{8}$"}};
  } else if constexpr (Enum<T>) {
    json::array names(kNames<Enumerators<T>>.begin(), kNames<Enumerators<T>>.end());
    return {{"type", "string"}, {"enum", std::move(names)}};
  } else if constexpr (kIsOptional<T>) {
    return {{"anyOf", {schema<typename T::value_type>(true), {{"type", "null"}}}}};
  } else if constexpr (kIsVector<T>) {
    return {{"type", "array"}, {"items", schema<typename T::value_type>(true)}};
  } else if constexpr (std::same_as<T, TextMap>) {
    return {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}};
  } else {
    if (reference) return {{"$ref", "#/components/schemas/" + type_name<T>()}};
    json::object properties;
    json::array required;
    each_member<T>([&](auto member) {
      using Value = std::remove_cvref_t<decltype(std::declval<T>().*member.pointer)>;
      properties.emplace(member.name, schema<Value>(true));
      if (!kIsOptional<Value>) required.emplace_back(member.name);
      return true;
    });
    json::object all{{"type", "object"}, {"properties", std::move(properties)}};
    if (!required.empty()) all.emplace("required", std::move(required));
    return all;
  }
}

}  // namespace codec

template <typename T>
boost::json::value to_json(const T& value) {
  boost::json::value json;
  codec::encode(value, json);
  return json;
}

template <typename T>
Result<T> from_json(const boost::json::value& value, UnknownMembers unknown) {
  Decoder decoder(unknown);
  T out;
  if (!codec::decode(decoder, value, out)) return std::move(decoder).error();
  return out;
}

template <typename T>
boost::json::value json_schema() {
  return codec::schema<T>(false);
}

template <typename T>
std::string json_text(const T& value) {
  return boost::json::serialize(to_json(value));
}

template <typename T>
Result<T> from_json_text(std::string_view text, JsonLimits limits, UnknownMembers unknown) {
  auto value = parse_json(text, limits);
  if (!value) return std::move(value).error();
  return from_json<T>(*value, unknown);
}

template <typename E>
std::string_view name_of(E value) {
  for (std::size_t i = 0; i < codec::kValues<E>.size(); ++i) {
    if (codec::kValues<E>[i] == value) return codec::kNames<codec::Enumerators<E>>[i];
  }
  return "?";
}

template <typename E>
Result<E> enum_from(std::string_view name) {
  Decoder decoder(UnknownMembers::refuse);
  E out{};
  if (!codec::decode(decoder, boost::json::value(boost::json::string(name)), out)) {
    return std::move(decoder).error();
  }
  return out;
}

}  // namespace ebb::model

/// Defines all functions of json.h for one described type.
#define EBB_MODEL_CODEC(T)                                                    \
  template boost::json::value to_json<T>(const T&);                           \
  template Result<T> from_json<T>(const boost::json::value&, UnknownMembers); \
  template boost::json::value json_schema<T>();                               \
  template std::string json_text<T>(const T&);                                \
  template Result<T> from_json_text<T>(std::string_view, JsonLimits, UnknownMembers);
#define EBB_MODEL_ENUM(E)                  \
  template std::string_view name_of<E>(E); \
  template Result<E> enum_from<E>(std::string_view);

#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <string_view>

#include "ebb/base/result.h"
#include "ebb/model/api.h"
#include "ebb/model/devices.h"
#include "ebb/model/job.h"
#include "ebb/model/report.h"

namespace ebb::model {

/// What a JSON text from outside may be.
struct JsonLimits {
  std::size_t bytes = 1 << 20;
  std::size_t depth = 32;
};

/// Parses one JSON text. Refuses what is too large, too deep, cut off, no UTF-8, followed by other text, or
/// names a key twice in an object (the parser alone would keep the last one, so two readers could disagree).
/// A NUL character, which no argument, name or path could hold, is refused too. Errors of the text's form
/// have the type "malformed-json" and say at which byte.
[[nodiscard]] Result<boost::json::value> parse_json(std::string_view text, JsonLimits limits = {});

/// The JSON of an API type: every member by its own name, times as RFC 3339, ids and enumerators as
/// strings, empty optionals as null. Defined for the types of job.h, report.h, devices.h and api.h.
template <typename T>
[[nodiscard]] boost::json::value to_json(const T& value);

/// What to do with members that a type does not have: a server refuses them in requests; a client ignores
/// them in answers, since a newer server may send more.
enum class UnknownMembers { refuse, ignore };

/// The reverse. Unknown members, wrong types and missing members that are not optional are errors whose
/// pointer names the place; null stands for an absent optional. A number with a fraction is no integer.
template <typename T>
[[nodiscard]] Result<T> from_json(const boost::json::value& value,
                                  UnknownMembers unknown = UnknownMembers::refuse);

/// The JSON Schema of a type, for OpenAPI; nested types are references to "#/components/schemas/NAME".
template <typename T>
[[nodiscard]] boost::json::value json_schema();
/// The schemas of all API types by name: what OpenAPI has under components/schemas.
[[nodiscard]] boost::json::object json_schemas();

/// to_json(), written out.
template <typename T>
[[nodiscard]] std::string json_text(const T& value);
/// parse_json() and from_json() in one.
template <typename T>
[[nodiscard]] Result<T> from_json_text(std::string_view text, JsonLimits limits = {},
                                       UnknownMembers unknown = UnknownMembers::refuse);

/// The name of an enumerator, as in JSON; defined for every enum of this module.
template <typename E>
[[nodiscard]] std::string_view name_of(E value);
/// The enumerator of a name.
template <typename E>
[[nodiscard]] Result<E> enum_from(std::string_view name);

}  // namespace ebb::model

#pragma once

#include <boost/core/demangle.hpp>
#include <string>
#include <typeinfo>

namespace ebb::model {

/// The unqualified name of an API type, as OpenAPI's components have it.
template <typename T>
[[nodiscard]] std::string type_name() {
  const std::string name = boost::core::demangle(typeid(T).name());
  return name.substr(name.rfind(':') + 1);
}

}  // namespace ebb::model

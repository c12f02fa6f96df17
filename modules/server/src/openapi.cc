#include <boost/json.hpp>

#include "core.h"
#include "ebb/base/text.h"
#include "ebb/model/json.h"
#include "handlers.h"
#include "routes.h"

namespace ebb::server {
namespace {

namespace json = boost::json;

json::object reference(std::string_view type) {
  return {{"$ref", "#/components/schemas/" + std::string(type)}};
}

json::object content(std::string_view media, json::value schema) {
  return {{"content", json::object{{media, json::object{{"schema", std::move(schema)}}}}}};
}

json::array parameters(const Route& route) {
  json::array all;
  const auto add = [&](std::string_view name, std::string_view in, bool required) {
    all.push_back(json::object{
        {"name", name}, {"in", in}, {"required", required}, {"schema", json::object{{"type", "string"}}}});
  };
  for (const std::string_view segment : split(route.pattern, '/')) {
    if (segment.starts_with('{')) add(segment.substr(1, segment.size() - 2), "path", true);
  }
  for (const std::string_view name : route.query) add(name, "query", false);
  return all;
}

json::object operation(const Route& route) {
  json::object made{{"summary", route.summary}, {"parameters", parameters(route)}};
  if (!route.request_type.empty()) {
    json::object body = content("application/json", reference(route.request_type));
    body["required"] = true;
    made["requestBody"] = std::move(body);
  }
  json::object success =
      route.answer_type.empty() ? json::object{} : content("application/json", reference(route.answer_type));
  success["description"] = route.success == 201 ? "Made" : "Done";
  json::object responses{{std::to_string(route.success), std::move(success)}};
  if (route.access == Access::caller) {
    json::object failure = content("application/problem+json", reference("Problem"));
    failure["description"] = "What went wrong, and what to do";
    responses["default"] = std::move(failure);
    made["security"] = json::array{json::object{{"key", json::array{}}}, json::object{}};
  }
  made["responses"] = std::move(responses);
  return made;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c | 0x20);
  return out;
}

std::string document() {
  json::object paths;
  for (const Route& route : routes()) {
    json::value& path = paths[route.pattern];
    if (path.is_null()) path.emplace_object();
    path.get_object()[lower(route.method)] = operation(route);
  }
  json::object all{{"openapi", "3.1.0"},
                   {"info", json::object{{"title", "Ebb"}, {"version", "1"}}},
                   {"paths", std::move(paths)}};
  all["components"] = json::object{
      {"schemas", model::json_schemas()},
      {"securitySchemes", json::object{{"key", json::object{{"type", "http"}, {"scheme", "bearer"}}}}}};
  return json::serialize(all);
}

}  // namespace

Task<Response> get_openapi(Core&, Request&) {
  static const std::string text = document();
  co_return Response{.body = text};
}

}  // namespace ebb::server

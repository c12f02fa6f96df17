#include <boost/json.hpp>

#include "core.h"
#include "ebb/model/json.h"
#include "handlers.h"

namespace ebb::server {
namespace {

template <typename T>
Response answer(const Result<T>& result, int status = 200) {
  if (!result) return problem(result.error());
  return Response{.status = status, .body = model::json_text(*result)};
}

}  // namespace

Task<Response> get_users(Core& core, Request& request) {
  co_return answer(core.daemon().users(request.caller));
}

Task<Response> post_user(Core& core, Request& request) {
  auto body = model::from_json_text<model::UserRequest>(request.body, {.bytes = core.max_body()});
  if (!body) co_return problem(body.error());
  auto made = co_await core.daemon().add_user(request.caller, std::move(*body));
  co_return answer(made, 201);
}

Task<Response> import_user(Core& core, Request& request) {
  auto parsed = model::parse_json(request.body, {.bytes = core.max_body()});
  if (!parsed) co_return problem(parsed.error());
  std::string key;
  if (auto* object = parsed->if_object()) {
    if (const auto* value = object->if_contains("api_key"); value != nullptr && value->is_string()) {
      key.assign(value->get_string().data(), value->get_string().size());
      object->erase("api_key");
    }
  }
  if (key.empty()) {
    co_return problem(Error{
        .code = Errc::invalid, .message = "api_key is needed, a string", .pointer = "/api_key", .type = {}});
  }
  auto user = model::from_json<model::UserRequest>(*parsed);
  if (!user) co_return problem(user.error());
  auto made = co_await core.daemon().import_user(request.caller, std::move(*user), std::move(key));
  co_return answer(made, 201);
}

Task<Response> rotate_user(Core& core, Request& request) {
  std::string name = request.path.at("name");
  auto made = co_await core.daemon().rotate_user(request.caller, std::move(name));
  co_return answer(made);
}

Task<Response> delete_user(Core& core, Request& request) {
  std::string name = request.path.at("name");
  auto gone = co_await core.daemon().revoke_user(request.caller, std::move(name));
  co_return answer(gone);
}

}  // namespace ebb::server

#include <boost/json.hpp>

#include "compat.h"
#include "core.h"
#include "handlers.h"

namespace ebb::server {
namespace {

namespace json = boost::json;

bool good_name(std::string_view name) {
  constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyz_";
  constexpr std::string_view kRest = "abcdefghijklmnopqrstuvwxyz_0123456789-";
  return !name.empty() && name.size() <= 32 && kFirst.find(name.front()) != std::string_view::npos &&
         name.find_first_not_of(kRest) == std::string_view::npos;
}

}  // namespace

Task<Response> compat_root(Core& core, Request&) {
  json::object body{{"service", "OpenTinker Job Scheduler"},
                    {"version", "2.0.0"},
                    {"status", "running"},
                    {"authentication", core.config().compat.auth ? "enabled" : "disabled"}};
  body["endpoints"] = json::array{"/register (POST)",
                                  "/submit_job (POST)",
                                  "/submit_inference_job (POST)",
                                  "/job_status/{job_id} (GET)",
                                  "/list_jobs (GET)",
                                  "/cancel_job/{job_id} (DELETE)",
                                  "/complete_job/{job_id} (POST)"};
  co_return compat::json_response(body);
}

Task<Response> compat_register(Core& core, Request& request) {
  const auto name = request.query("username");
  if (!core.config().server.registration) {
    co_return plain_error(403, "Registration is closed; ask an admin: ebb user add NAME");
  }
  if (!name) co_return compat::query_error("username", "missing", "Field required", nullptr);
  if (!good_name(*name)) {
    co_return compat::query_error("username", "string_pattern_mismatch",
                                  "String should match pattern '[a-z_][a-z0-9_-]{0,31}'",
                                  json::string(name->substr(0, 100)));
  }
  std::string wanted(*name);
  auto made = co_await core.daemon().register_user(std::move(wanted));
  if (!made) {
    if (made.error().code == Errc::conflict) {
      co_return plain_error(400, "Username '" + std::string(*name) + "' already exists");
    }
    co_return compat::error_response(made.error(), {});
  }
  co_return compat::json_response(json::object{
      {"user_id", made->user.user_id},
      {"username", made->user.name},
      {"api_key", made->api_key},
      {"message", "User registered successfully. Save your API key - it cannot be retrieved later!"}});
}

Task<Response> compat_users(Core& core, Request& request) {
  if (!request.caller.admin) co_return plain_error(403, "Admin access required");
  auto users = core.daemon().users(request.caller);
  if (!users) co_return compat::error_response(users.error(), {});
  json::array all;
  for (const model::User& user : users->items) {
    all.push_back(json::object{{"user_id", user.user_id},
                               {"username", user.name},
                               {"created_at", compat::local_time(user.created_at)},
                               {"is_admin", user.admin}});
  }
  co_return compat::json_response(json::object{{"users", std::move(all)}});
}

}  // namespace ebb::server

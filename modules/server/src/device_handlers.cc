#include "core.h"
#include "ebb/model/json.h"
#include "handlers.h"

namespace ebb::server {
namespace {

Response drained(const Result<void>& done, bool draining) {
  if (!done) return problem(done.error());
  return Response{.body = draining ? R"({"draining":true})" : R"({"draining":false})"};
}

}  // namespace

Task<Response> get_devices(Core& core, Request& request) {
  const auto devices = co_await core.daemon().devices(request.caller);
  co_return Response{.body = model::json_text(devices)};
}

Task<Response> release_device(Core& core, Request& request) {
  std::string id = request.path.at("id");
  auto devices = co_await core.daemon().release_device(request.caller, std::move(id));
  if (!devices) co_return problem(devices.error());
  co_return Response{.body = model::json_text(*devices)};
}

Task<Response> post_drain(Core& core, Request& request) {
  co_return drained(core.daemon().drain(request.caller, true), true);
}

Task<Response> post_resume(Core& core, Request& request) {
  co_return drained(core.daemon().drain(request.caller, false), false);
}

}  // namespace ebb::server

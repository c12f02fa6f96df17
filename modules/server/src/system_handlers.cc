#include "core.h"
#include "handlers.h"

namespace ebb::server {

Task<Response> get_healthz(Core&, Request&) { co_return Response{.body = R"({"status":"ok"})"}; }

Task<Response> get_readyz(Core& core, Request&) {
  if (core.daemon().ready()) co_return Response{.body = R"({"status":"ready"})"};
  Response response{.status = 503, .body = R"({"status":"not accepting jobs"})"};
  response.headers.emplace_back("Retry-After", "1");
  co_return response;
}

Task<Response> get_metrics(Core& core, Request&) {
  daemon::Caller observer;  // sees states and counts; names of users are in no metric
  observer.admin = true;
  const auto devices = co_await core.daemon().devices(observer);
  co_return Response{.content_type = "text/plain; version=0.0.4; charset=utf-8",
                     .body = core.metrics().text(core.daemon(), devices, core.connections())};
}

}  // namespace ebb::server

// One function for each route; grouped as in *_handlers.cc.
#pragma once

#include "message.h"

namespace ebb::server {

class Core;

// jobs_handlers.cc
Task<Response> post_job(Core& core, Request& request);
Task<Response> get_jobs(Core& core, Request& request);
Task<Response> get_job(Core& core, Request& request);
Task<Response> delete_job(Core& core, Request& request);
Task<Response> get_report(Core& core, Request& request);
Task<Response> get_why(Core& core, Request& request);
// logs_handlers.cc, owner_handlers.cc, events_handlers.cc
Task<int> get_logs(Core& core, Request& request);
Task<int> get_owner(Core& core, Request& request);
Task<Response> post_owner(Core& core, Request& request);
Task<int> get_events(Core& core, Request& request);
// device_handlers.cc
Task<Response> get_devices(Core& core, Request& request);
Task<Response> release_device(Core& core, Request& request);
Task<Response> post_drain(Core& core, Request& request);
Task<Response> post_resume(Core& core, Request& request);
// user_handlers.cc
Task<Response> get_users(Core& core, Request& request);
Task<Response> post_user(Core& core, Request& request);
Task<Response> import_user(Core& core, Request& request);
Task<Response> rotate_user(Core& core, Request& request);
Task<Response> delete_user(Core& core, Request& request);
// system_handlers.cc, openapi.cc
Task<Response> get_healthz(Core& core, Request& request);
Task<Response> get_readyz(Core& core, Request& request);
Task<Response> get_metrics(Core& core, Request& request);
Task<Response> get_openapi(Core& core, Request& request);
// compat_jobs.cc, compat_submit.cc, compat_users.cc
Task<Response> compat_root(Core& core, Request& request);
Task<Response> compat_register(Core& core, Request& request);
Task<Response> compat_submit_job(Core& core, Request& request);
Task<Response> compat_submit_inference(Core& core, Request& request);
Task<Response> compat_status(Core& core, Request& request);
Task<int> compat_list(Core& core, Request& request);
Task<Response> compat_cancel(Core& core, Request& request);
Task<Response> compat_complete(Core& core, Request& request);
Task<Response> compat_users(Core& core, Request& request);

}  // namespace ebb::server

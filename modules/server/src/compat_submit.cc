#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

#include "compat.h"
#include "core.h"
#include "handlers.h"
#include "state_watch.h"

namespace ebb::server {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

// How long a job that could start may take to leave the queue before it counts as queued.
constexpr Duration kSettle = milliseconds(300);
constexpr Duration kInferenceWait = milliseconds(500);

struct Submit {
  std::string_view template_name;
  daemon::Submission::FromTemplate from;
  std::string_view gpus_field = "num_gpus";  // which field of the request the number of GPUs is
  Duration wait;
};

// "0.9", as the original writes it, where a JSON library may say 9E-1.
std::string number_text(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end.ptr);
}

std::string count_message(std::int64_t asked, std::size_t there) {
  return "num_gpus is " + std::to_string(asked) + ", but this server has " + std::to_string(there) +
         (there == 1 ? " GPU" : " GPUs") + "; ask for 0 to " + std::to_string(there);
}

// Until the job runs, has failed, or must wait in the queue; the peer's close ends it too.
Task<model::Job> settle(Core& core, Request& request, model::Job job, Duration most) {
  Connection& connection = *request.connection;
  Wakeup wakeup(core.io());
  connection.watch(&wakeup);
  const BootTime begin = BootClock::now();
  {
    const StateWatch watch(core.io(), core.daemon(), request.caller, job.id, job.state, wakeup);
    while (job.state != model::JobState::running && !model::is_terminal(job.state) && !connection.gone() &&
           !core.closing()) {
      const bool queued = job.state == model::JobState::queued;
      const Duration left = begin + (queued ? std::min(kSettle, most) : most) - BootClock::now();
      if (left <= Duration(0) && job.state != model::JobState::releasing) break;
      co_await wakeup.wait(std::max(left, Duration(milliseconds(1))));
      auto now = core.daemon().job(request.caller, job.id);
      if (!now) break;
      job = std::move(*now);
    }
  }
  connection.watch(nullptr);
  co_return job;
}

std::string queue_message(const model::Job& job) {
  return "Job queued (position " + std::to_string(job.position.value_or(1)) + ")";
}

std::string message_of(Core& core, const Request& request, const model::Job& job, std::string_view started) {
  switch (job.state) {
    case model::JobState::queued:
      return queue_message(job);
    case model::JobState::failed:
      return compat::error_message(core, request, job).value_or("Job failed");
    case model::JobState::cancelled:
      return "Job cancelled";
    case model::JobState::completed:
      return "Job completed";
    default:
      return std::string(started);
  }
}

// The job, submitted and settled, or the answer that says why not.
Task<Result<model::Job>> submit(Core& core, Request& request, Submit what, compat::Fields& fields,
                                std::optional<Response>& refusal) {
  const Error failed{.code = Errc::invalid, .message = {}, .pointer = {}, .type = {}};
  const auto& templates = core.config().templates;
  const auto found = templates.find(std::string(what.template_name));
  if (found == templates.end()) {
    refusal = plain_error(503, "This server has no [templates." + std::string(what.template_name) +
                                   "] in its configuration; an admin can add it (docs/config.md)");
    co_return failed;
  }
  const std::optional<std::int64_t> gpus = what.from.gpus;
  if (gpus && *gpus < 0) {
    const auto devices = co_await core.daemon().devices(request.caller);
    fields.refuse(what.gpus_field, "greater_than_equal", count_message(*gpus, devices.gpus.size()));
    refusal = fields.errors();
    co_return failed;
  }
  daemon::Submission submission;
  submission.from_template = std::move(what.from);
  auto submitted = co_await core.daemon().submit(request.caller, std::move(submission));
  if (!submitted) {
    const Error& error = submitted.error();
    if (gpus && error.pointer == "/gpus") {
      const auto devices = co_await core.daemon().devices(request.caller);
      fields.refuse(what.gpus_field, "less_than_equal", count_message(*gpus, devices.gpus.size()));
      refusal = fields.errors();
    } else {
      refusal = compat::error_response(error, {{"gpus", std::string(what.gpus_field)}});
    }
    co_return failed;
  }
  const JobId id = submitted->job.id;
  const bool owned = found->second.owner_is_connection;
  if (owned) core.owners().attach(request.caller, id, request.connection->number());
  model::Job job = co_await settle(core, request, std::move(submitted->job), what.wait);
  if (owned && !request.connection->gone()) core.owners().answered(id);
  co_return job;
}

json::object answer_of(const model::Job& job, std::string message) {
  return {
      {"job_id", job.id.str()}, {"status", compat::status_name(job.state)}, {"message", std::move(message)}};
}

void add_places(json::object& answer, const model::Job& job) {
  answer["gpu_ids"] = job.gpu_ids.empty() ? json::value() : json::value_from(job.gpu_ids);
  answer["port"] = job.ports.empty() ? json::value() : json::value(job.ports.front());
}

std::string url_of(const Core& core, const model::Job& job) {
  const std::string& host = core.config().jobs.advertise;
  const bool v6 = host.find(':') != std::string::npos;
  return "http://" + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(job.ports.front());
}

}  // namespace

Task<Response> compat_submit_job(Core& core, Request& request) {
  if (auto refusal = compat::unparsable(request)) co_return std::move(*refusal);
  compat::Fields fields(request);
  Submit what{.template_name = "training", .from = {}, .wait = seconds(60)};
  what.from.name = "training";
  what.from.config_json = fields.object("config");
  if (fields.boolean("enable_agent_loop").value_or(false)) what.from.fields["enable_agent_loop"] = "true";
  if (auto key = fields.text("wandb_key")) what.from.secret_env["WANDB_API_KEY"] = std::move(*key);
  what.from.gpus = fields.integer("num_gpus");
  if (auto refusal = fields.errors()) co_return std::move(*refusal);
  if (what.from.gpus) what.from.fields["num_gpus"] = std::to_string(*what.from.gpus);
  const auto found = core.config().templates.find("training");
  if (found != core.config().templates.end() && found->second.ready)
    what.wait = found->second.ready->timeout + seconds(5);

  std::optional<Response> refusal;
  auto job = co_await submit(core, request, std::move(what), fields, refusal);
  if (refusal) co_return std::move(*refusal);
  std::string message =
      message_of(core, request, *job,
                 job->state == model::JobState::running ? "Job started successfully" : "Job is starting");
  json::object answer = answer_of(*job, std::move(message));
  const bool running = job->state == model::JobState::running;
  answer["server_url"] = running && job->server_url ? json::value(*job->server_url) : json::value();
  add_places(answer, *job);
  co_return compat::json_response(answer);
}

Task<Response> compat_submit_inference(Core& core, Request& request) {
  if (auto refusal = compat::unparsable(request)) co_return std::move(*refusal);
  compat::Fields fields(request);
  Submit what{.template_name = "inference", .from = {}, .wait = kInferenceWait};
  what.from.name = "inference";
  auto& values = what.from.fields;
  const auto model_path = fields.text("model_path", true);
  const auto tokenizer = fields.text("tokenizer_path");
  const std::int64_t parallel =
      fields.integer("tensor_parallel_size", compat::Fields::Null::error).value_or(1);
  const auto gpus = fields.integer("num_gpus");
  const double memory = fields.number("gpu_memory_utilization", compat::Fields::Null::error).value_or(0.9);
  const auto longest = fields.integer("max_model_len");
  const bool trusted = fields.boolean("trust_remote_code").value_or(true);
  if (parallel < 1) {
    fields.refuse("tensor_parallel_size", "greater_than_equal", "Input should be greater than or equal to 1");
  }
  if (auto refusal = fields.errors()) co_return std::move(*refusal);
  values["model_path"] = *model_path;
  if (tokenizer && *tokenizer != *model_path) values["tokenizer_path"] = *tokenizer;
  values["tensor_parallel_size"] = std::to_string(parallel);
  values["gpu_memory_utilization"] = number_text(memory);
  if (longest) values["max_model_len"] = std::to_string(*longest);
  if (trusted) values["trust_remote_code"] = "true";
  what.from.gpus = gpus.value_or(parallel);
  if (!gpus) what.gpus_field = "tensor_parallel_size";
  values["num_gpus"] = std::to_string(*what.from.gpus);

  std::optional<Response> refusal;
  auto job = co_await submit(core, request, std::move(what), fields, refusal);
  if (refusal) co_return std::move(*refusal);
  json::object answer =
      answer_of(*job, message_of(core, request, *job, "Inference job started successfully"));
  const bool up = job->state == model::JobState::starting || job->state == model::JobState::running;
  answer["vllm_server_url"] = up && !job->ports.empty() ? json::value(url_of(core, *job)) : json::value();
  add_places(answer, *job);
  co_return compat::json_response(answer);
}

}  // namespace ebb::server

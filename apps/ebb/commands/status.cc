#include "commands.h"
#include "ebb/base/text.h"
#include "server_option.h"
#include "table.h"

namespace ebb::cli {
namespace {

std::string command_text(const std::vector<std::string>& command) {
  std::string text;
  for (const std::string& word : command) text += (text.empty() ? "" : " ") + shell_quoted(word);
  return text;
}

std::string ended_text(const model::Job& job) {
  if (!job.reason) return {};
  std::string text(model::name_of(job.reason->kind));
  if (job.reason->by) text += " by " + *job.reason->by;
  if (job.reason->detail) text += ": " + *job.reason->detail;
  return text;
}

std::string status_text(const model::Job& job) {
  std::string text = job.id.str() + "  " + std::string(model::name_of(job.state)) + '\n';
  const auto line = [&text](std::string_view name, const std::string& value) {
    if (value.empty()) return;
    std::string label(name);
    label.resize(12, ' ');
    text += "  " + label + printable(value) + '\n';
  };
  line("name", job.name.value_or(""));
  line("user", job.user);
  if (job.spec.command) line("command", command_text(*job.spec.command));
  line("workdir", job.spec.workdir.value_or(""));
  if (job.position) line("position", std::to_string(*job.position));
  line("waits", job.why.value_or(""));
  if (!job.gpu_ids.empty()) line("GPUs", numbers(job.gpu_ids));
  if (!job.ports.empty()) line("ports", numbers(job.ports));
  line("server", job.server_url.value_or(""));
  if (job.pid) line("pid", std::to_string(*job.pid));
  if (job.attempt > 0) line("attempt", std::to_string(job.attempt));
  line("tier", job.tier.value_or(""));
  if (job.owner && !model::is_terminal(job.state))
    line("owner", job.owner->connected ? "connected" : "not connected");
  line("submitted", format_time(job.submitted_at));
  if (job.started_at) line("started", format_time(*job.started_at));
  if (job.ended_at) line("ended", format_time(*job.ended_at));
  line("reason", ended_text(job));
  if (job.exit.code) line("exit code", std::to_string(*job.exit.code));
  if (job.exit.signal) line("signal", std::to_string(*job.exit.signal));
  return text;
}

}  // namespace

int status_main(Words words) {
  Parser parser("status", "One job: its state, what it holds, how it ended", "ebb status last");
  const ServerOption server(parser);
  std::string id;
  bool json = false;
  parser.add_option("ID", id, "the job: id, unique prefix, or 'last'")->required();
  parser.add_flag("--json", json, "print the job as JSON");
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());
  auto answer = ask_about_job(*client, id, "");
  if (!answer) return fail(answer.error());
  if (json) return print_json(answer->body);
  const auto job = client::Client::parse_answer<model::Job>(answer->body);
  if (!job) return fail(job.error());
  return print(status_text(*job));
}

}  // namespace ebb::cli

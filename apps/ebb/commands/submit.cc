#include "commands.h"
#include "ebb/base/ids.h"
#include "ebb/client/command_line.h"
#include "job_options.h"
#include "server_option.h"

namespace ebb::cli {

int submit_main(Words words) {
  Parser parser("submit", "Submit a job and print its id; it runs without you",
                "ebb submit --gpus 2 --name digits -- python3 train.py num_epochs=5");
  const ServerOption server(parser);
  const JobOptions options(parser);
  bool json = false;
  parser.add_flag("--json", json, "print the job as JSON in place of the id alone");

  auto command = take_command(parser, words);
  if (!command) return fail(command.error());
  if (const auto status = parser.read(std::move(words))) return *status;
  if (command->empty()) {
    say("submit needs a command; example: ebb submit --gpus 1 -- python3 train.py");
    return kUsage;
  }
  const auto kind = server.kind();
  if (!kind) return fail(kind.error());
  const auto request = options.request(*command, *kind);
  if (!request) {
    say(request.error().message);
    return client::submission_exit_status(request.error());
  }
  if (options.dry_run()) return print_json(model::json_text(*request));
  auto client = server.connect();
  if (!client) return fail(client.error());
  // The key makes a repeated request harmless: the daemon answers with the job that it made for the first.
  auto answer = client->call({.method = "POST",
                              .target = "/v1/jobs",
                              .body = model::json_text(*request),
                              .headers = {{"Idempotency-Key", random_hex(16)}}});
  if (!answer) {
    const Error error = client::in_option_words(answer.error());
    say(error.message);
    return client::submission_exit_status(error);
  }
  const auto job = client::Client::parse_answer<model::Job>(*answer);
  if (!job) return fail(job.error());
  if (const std::string warning = client::memory_warning(*job); !warning.empty()) say(warning);
  if (json) return print_json(*answer);
  return print(job->id.str() + '\n');
}

}  // namespace ebb::cli

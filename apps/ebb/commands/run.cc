#include "commands.h"
#include "ebb/base/programs.h"
#include "ebb/client/command_line.h"
#include "ebb/client/run_session.h"
#include "ebb/lifecycle/signals.h"
#include "job_options.h"
#include "server_option.h"

namespace ebb::cli {
namespace {

Result<client::RunOptions> run_options(const JobOptions& options, const ServerOption& server,
                                       const std::vector<std::string>& command) {
  const auto here = client::Surroundings::of_process();
  auto candidates = client::server_candidates(server.value(), here);
  if (!candidates) return candidates.error();
  auto key = client::find_key(here);
  if (!key) return key.error();
  auto request = options.request(command, candidates->front().kind);
  if (!request) return request.error();
  const auto lease = options.owner_lease();
  if (!lease) return lease.error();
  request->owner = model::OwnerRequest{.lease_s = *lease};
  return client::RunOptions{.request = std::move(*request),
                            .sidecars = {},
                            .expand = options.expand(),
                            .quiet = false,
                            .candidates = std::move(*candidates),
                            .key = std::move(*key),
                            .keeper = {}};
}

}  // namespace

int run_main(Words words) {
  Parser parser("run", "Submit a job, follow its output, and end together with it",
                "ebb run --gpus 2 --sidecar 'reward=python3 reward.py --port {port}' --sidecar-ready "
                "reward=/health -- python3 train.py reward_url={sidecar.reward.url}");
  const ServerOption server(parser);
  const JobOptions options(parser);
  std::vector<std::string> sidecars, ready;
  bool quiet = false;
  parser.add_list("--sidecar", sidecars,
                  "NAME=CMD: a process beside the job, on this host; {port} is its own");
  parser.add_list("--sidecar-ready", ready, "NAME=PATH: it is up once GET of this answers 200");
  parser.add_flag("-q,--quiet", quiet, "none of Ebb's own lines");

  auto command = take_command(parser, words);
  if (!command) return fail(command.error());
  if (const auto status = parser.read(std::move(words))) return *status;
  if (command->empty()) {
    say("run needs a command; example: ebb run --gpus 1 -- python3 train.py");
    return kUsage;
  }
  auto specs = client::parse_sidecars(sidecars, ready);
  if (!specs) return fail(specs.error());
  auto run = run_options(options, server, *command);
  if (!run) {
    say(run.error().message);
    return client::submission_exit_status(run.error());
  }
  if (options.dry_run()) return print_json(model::json_text(run->request));
  run->quiet = quiet;
  run->sidecars = std::move(*specs);
  if (!run->sidecars.empty()) {
    const auto keeper = find_program("ebb-keeper");
    if (!keeper) return fail(keeper.error());
    run->keeper = keeper->string();
  }
  const client::RunEnd end = client::run_job(std::move(*run));
  if (end.signal != 0) lifecycle::die_of(end.signal);
  return end.status;
}

}  // namespace ebb::cli

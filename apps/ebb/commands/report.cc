#include "commands.h"
#include "server_option.h"

namespace ebb::cli {

int report_main(Words words) {
  Parser parser("report", "How a job ended, and how each thing that it held was released and verified",
                "ebb report -v 7f3a91c2");
  const ServerOption server(parser);
  std::string id;
  bool verbose = false;
  bool json = false;
  parser.add_option("ID", id, "the job: id, unique prefix, or 'last'")->required();
  parser.add_flag("-v,--verbose", verbose, "a line for each release, as a small waterfall");
  parser.add_flag("--json", json, "print the report as JSON");
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());
  auto answer = ask_about_job(*client, id, "/report");
  if (!answer) return fail(answer.error());
  if (json) return print_json(answer->body);
  const auto report = client::Client::parse_answer<model::Report>(answer->body);
  if (!report) return fail(report.error());
  return print(verbose ? model::waterfall(*report) : model::one_line(*report) + '\n');
}

}  // namespace ebb::cli

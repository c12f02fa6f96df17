#include "commands.h"
#include "server_option.h"

namespace ebb::cli {

int why_main(Words words) {
  Parser parser("why", "Why a job waits, on whom, and until when if that is known", "ebb why 7f3a91c2");
  const ServerOption server(parser);
  std::string id;
  bool json = false;
  parser.add_option("ID", id, "the job: id, unique prefix, or 'last'")->required();
  parser.add_flag("--json", json, "print the answer as JSON");
  if (const auto status = parser.read(std::move(words))) return *status;
  auto client = server.connect();
  if (!client) return fail(client.error());
  auto answer = ask_about_job(*client, id, "/why");
  if (!answer) return fail(answer.error());
  if (json) return print_json(answer->body);
  const auto why = client::Client::parse_answer<model::Why>(answer->body);
  if (!why) return fail(why.error());
  std::string text = answer->id + " is " + std::string(model::name_of(why->state));
  if (why->position) text += ", position " + std::to_string(*why->position);
  text += '\n';
  for (const model::Blocker& blocker : why->blockers) text += "  " + blocker.text + '\n';
  if (why->state == model::JobState::releasing)
    text += "  its processes are ended, and what it held is given back\n";
  else if (why->state != model::JobState::queued)
    text += "  it does not wait\n";
  return print(text);
}

}  // namespace ebb::cli

#include <span>
#include <utility>

#include "commands.h"
#include "prove/prove.h"

int main(int argc, char** argv) {
  using namespace ebb::cli;
  const std::span arguments(argv, static_cast<std::size_t>(argc));
  const std::string_view name = arguments.size() > 1 ? arguments[1] : "";
  constexpr std::pair<std::string_view, int (*)(Words)> kCommands[] = {
      {"serve", serve_main}, {"config", config_main}, {"user", user_main},
      {"audit", audit_main}, {"doctor", doctor_main}, {"prove-job", prove_job_main}};
  for (const auto& [command, run] : kCommands) {
    if (command == name) return run(Words(arguments.begin() + 2, arguments.end()));
  }
  say("ebb-daemon is a part of ebb: type 'ebb serve'");
  return kUsage;
}

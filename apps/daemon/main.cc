#include <span>

#include "commands.h"

int main(int argc, char** argv) {
  using namespace ebb::cli;
  const std::span arguments(argv, static_cast<std::size_t>(argc));
  const std::string_view name = arguments.size() > 1 ? arguments[1] : "";
  const auto run = name == "serve"    ? serve_main
                   : name == "config" ? config_main
                   : name == "user"   ? user_main
                   : name == "audit"  ? audit_main
                   : name == "doctor" ? doctor_main
                                      : nullptr;
  if (run == nullptr) {
    say("ebb-daemon is a part of ebb: type 'ebb serve'");
    return kUsage;
  }
  return run(Words(arguments.begin() + 2, arguments.end()));
}

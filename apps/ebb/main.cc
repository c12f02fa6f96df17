#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iostream>
#include <span>

#include "commands.h"
#include "ebb/base/programs.h"

namespace ebb::cli {
namespace {

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(Words words);  // null: ebb-daemon's
  bool common = false;      // among those that `ebb` alone prints
};

// In the order in which --help lists them.
constexpr Command kCommands[] = {
    {"run", "run a job, follow its output, end together with it", run_main, true},
    {"submit", "submit a job that runs without you, and print its id", submit_main, true},
    {"ps", "everybody's queued and running jobs", ps_main, true},
    {"status", "one job: its state, what it holds, how it ended", status_main, true},
    {"why", "why a job waits, on whom, and until when if known", why_main, true},
    {"logs", "a job's output", logs_main, true},
    {"wait", "wait until jobs have ended", wait_main, true},
    {"cancel", "end jobs; returns when what they held is released", cancel_main, true},
    {"report", "how a job's things were released and verified", report_main, true},
    {"devices", "GPUs and ports: who has which", devices_main, true},
    {"user", "users and their API keys", nullptr},
    {"drain", "take no new jobs and start none", drain_main},
    {"resume", "take and start jobs again", resume_main},
    {"audit", "look for leftovers from outside; exit 1 if there are any", nullptr},
    {"doctor", "what this machine gives to Ebb, and what to do about each lack", nullptr},
    {"serve", "the daemon, in the foreground", nullptr},
    {"config", "check or print the daemon's configuration", nullptr},
};

void print_commands(std::ostream& out, bool all) {
  out << "Ebb runs GPU jobs, and releases everything that they held when they end.\n\n"
         "Usage: ebb COMMAND [options]\n\n";
  for (const Command& command : kCommands) {
    if (!all && !command.common) continue;
    out << "  ebb " << command.name << std::string(10 - std::min<std::size_t>(9, command.name.size()), ' ')
        << command.summary << '\n';
  }
  out << (all ? "\n'ebb COMMAND --help' shows options and an example.\n"
              : "\n'ebb --help' lists all commands, 'ebb COMMAND --help' shows options and an example.\n");
}

// One of the three that is closed would be given to the first file or socket that is opened, and output would
// go there. In their place stands something that cannot be used: stdin cannot be read, the others not
// written.
void occupy_standard_descriptors() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest number that is free is the one that was closed.
    if (::fcntl(fd, F_GETFD) == -1) (void)::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// The same process, with the same words, under another program.
int become_daemon_program(char** argv) {
  const auto program = find_program("ebb-daemon");
  if (!program) return fail(program.error());
  ::execv(program->c_str(), argv);
  return fail(errno_error(errno, "cannot execute " + program->string()));
}

int dispatch(std::span<char*> arguments) {
  if (arguments.size() < 2) return print_commands(std::cout, false), kDone;
  const std::string_view name = arguments[1];
  if (name == "--help" || name == "-h" || name == "help") return print_commands(std::cout, true), kDone;
  if (name == "--version") return std::cout << "ebb " EBB_VERSION "\n", kDone;
  for (const Command& command : kCommands) {
    if (command.name != name) continue;
    return command.run ? command.run(Words(arguments.begin() + 2, arguments.end()))
                       : become_daemon_program(arguments.data());
  }
  say("no command '" + std::string(name) + "'; 'ebb --help' lists all");
  return kUsage;
}

}  // namespace
}  // namespace ebb::cli

int main(int argc, char** argv) {
  ebb::cli::occupy_standard_descriptors();
  return ebb::cli::dispatch(std::span(argv, static_cast<std::size_t>(argc)));
}

#include "ebb/client/command_line.h"

#include <sys/stat.h>

#include <array>
#include <map>

#include "ebb/base/text.h"
#include "ebb/base/units.h"
#include "ebb/client/endpoint.h"
#include "ebb/model/job.h"

namespace ebb::client {
namespace {

Error usage(std::string message) {
  return {.code = Errc::invalid, .message = std::move(message), .pointer = {}, .type = {}};
}

bool is_file(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0;
}

}  // namespace

Result<CutWords> cut_words(std::vector<std::string> words, const TakesValue& takes_value) {
  CutWords cut;
  std::size_t i = 0;
  const auto rest_from = [&](std::size_t first) {
    cut.command.assign(std::make_move_iterator(words.begin() + static_cast<std::ptrdiff_t>(first)),
                       std::make_move_iterator(words.end()));
  };
  for (; i < words.size(); ++i) {
    std::string& word = words[i];
    if (word == "--") {
      rest_from(i + 1);
      break;
    }
    if (word == "-c") {
      if (i + 1 == words.size()) return usage("-c needs the shell's command line as the next word");
      if (i + 2 < words.size()) {
        return usage("-c STRING stands in place of CMD, so nothing may follow it; put '" + words[i + 2] +
                     "' before -c, or into the string");
      }
      cut.command = {"/bin/bash", "-c", std::move(words[i + 1])};
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      rest_from(i);
      break;
    }
    const bool joined = word.find('=') != std::string::npos;
    if (!joined && takes_value(word).value_or(false) && i + 1 < words.size()) {
      // Joined, since CLI11 would take a value such as -5 for an option.
      cut.options.push_back(std::move(word) + '=' + words[i + 1]);
      ++i;
    } else {
      cut.options.push_back(std::move(word));
    }
  }
  return cut;
}

Result<void> check_command(const std::vector<std::string>& command, const std::string& workdir) {
  if (command.size() != 1 || command[0].find(' ') == std::string::npos) return {};
  const std::string& word = command[0];
  if (is_file(word[0] == '/' ? word : workdir + '/' + word)) return {};
  return model::quoted_command_error(word);
}

Result<void> parse_env_file(std::string_view text, const std::string& file_name,
                            std::vector<std::string>& out) {
  std::size_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line[0] == '#') continue;
    const std::string where = file_name + ':' + std::to_string(number) + ": ";
    if (line.find('\0') != std::string_view::npos) return usage(where + "there is a NUL byte in this line");
    if (line[0] == '=') return usage(where + "a line is NAME=VALUE, and the name is missing");
    out.emplace_back(line);
  }
  return {};
}

Result<void> check_text(const model::JobRequest& request) {
  constexpr std::size_t kShown = 40;
  constexpr const char* kInUtf8 = "write it in UTF-8";
  std::optional<Error> wrong;
  const auto check = [&](const std::string& what, const std::string& text, const std::string& way_out) {
    if (wrong || is_utf8(text)) return;
    wrong = usage(what + " is no UTF-8 text (" + shell_quoted(printable(text.substr(0, kShown))) +
                  "), and a request carries nothing else; " + way_out);
  };
  for (std::size_t i = 0; request.command && i < request.command->size(); ++i) {
    check("argument " + std::to_string(i), (*request.command)[i],
          "put the command into a script, or have a shell make the bytes: -c \"… $'\\xff'\"");
  }
  for (const auto& [name, value] : request.env.value_or(std::map<std::string, std::string>())) {
    check("--env " + printable(name.substr(0, kShown)), name + "=" + value,
          "on the daemon's host your own environment is passed on as it is: export it and leave --env out");
  }
  check("--name", request.name.value_or(""), kInUtf8);
  check("--group", request.group.value_or(""), kInUtf8);
  check("--workdir", request.workdir.value_or(""), "on the daemon's host cd there, and leave --workdir out");
  if (request.ready) check("--ready", request.ready->path, "write other bytes as %XX");
  if (wrong) return *wrong;
  return {};
}

Error in_option_words(Error error) {
  if (error.pointer.size() < 2) return error;
  // Fields whose option does not follow from their name.
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kOptions = {
      {{"owner.lease_s", "--owner-lease"},
       {"ready.timeout_s", "--ready-timeout"},
       {"ready.path", "--ready"},
       {"env.", "--env "},
       {"command[", "argument "}}};
  for (const auto& [field, option] : kOptions) {
    if (!error.message.starts_with(field)) continue;
    error.message.replace(0, field.size(), option);
    const auto bracket = error.message.find("] ");
    if (field.ends_with('[') && bracket != std::string::npos) error.message.erase(bracket, 1);
    return error;
  }
  const std::string field = error.pointer.substr(1, error.pointer.find('/', 1) - 1);
  if (field == "command" || !error.message.starts_with(field)) return error;
  std::string option = field;
  for (const std::string_view unit : {"_bytes", "_s"}) {
    if (option.ends_with(unit)) option.resize(option.size() - unit.size());
  }
  for (char& c : option) c = c == '_' ? '-' : c;
  error.message = "--" + option + error.message.substr(field.size());
  return error;
}

std::string memory_warning(const model::Job& job) {
  if (!job.spec.memory_bytes || job.memory_enforced.value_or(true)) return {};
  std::string size = format_size(*job.spec.memory_bytes);
  std::erase(size, ' ');  // as it is written in the option
  return "--memory " + size + ": counted by the queue, but not enforced here; see 'ebb doctor'";
}

int command_exit_status(const Error& error) {
  constexpr int kRefused = 1, kUsage = 2, kNoDaemon = 3, kNotAllowed = 4;
  switch (error.code) {
    case Errc::invalid:
    case Errc::impossible:
    case Errc::too_large:
      return kUsage;
    case Errc::unauthenticated:
    case Errc::forbidden:
      return kNotAllowed;
    case Errc::unavailable:
      return error.type == kNoDaemonType ? kNoDaemon : kRefused;
    default:
      return kRefused;
  }
}

int submission_exit_status(const Error& error) {
  constexpr int kNoCommand = 127;
  return error.message.starts_with(model::kCommandNotFound) ? kNoCommand : command_exit_status(error);
}

}  // namespace ebb::client

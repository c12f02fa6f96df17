#include "command.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "ebb/client/command_line.h"

namespace ebb::cli {
namespace {

class CommandFormatter : public CLI::Formatter {
 public:
  explicit CommandFormatter(const std::string& name)
      : usage_("Usage: ebb " + name + " [options] [--] CMD…\n       ebb " + name + " [options] -c STRING\n") {
  }
  std::string make_usage(const CLI::App*, std::string) const override { return usage_; }

 private:
  std::string usage_;
};

constexpr std::size_t kHelpColumn = 34;

}  // namespace

Parser::Parser(const std::string& name, const std::string& summary, const std::string& example)
    : CLI::App(summary, "ebb " + name), name_(name) {
  set_help_flag("-h,--help", "Print this help and exit");
  get_formatter()->column_width(kHelpColumn);
  footer("Example:\n  " + example);
}

CLI::Option* Parser::add_list(const std::string& names, std::vector<std::string>& values,
                              const std::string& help) {
  // Without allow_extra_args(false) CLI11 takes the words that follow too, and splits a value "[a,b]".
  return add_option(names, values, help)->allow_extra_args(false)->take_all();
}

void Parser::show_command() {
  auto shown = std::make_shared<CommandFormatter>(name_);
  shown->column_width(kHelpColumn);
  formatter(shown);
}

std::optional<int> Parser::read(Words words) {
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    std::cout << help() << std::flush;
    return kDone;
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> left = remaining(true);
    say((left.front().starts_with('-') ? "unknown option " : "unexpected word ") +
        shell_quoted(left.front()) + "; 'ebb " + name_ + " --help' shows the options");
    return kUsage;
  } catch (const CLI::ParseError& error) {
    say(std::string(error.what()) + "; 'ebb " + name_ + " --help' shows the options");
    return kUsage;
  }
  return std::nullopt;
}

void say(std::string_view text) {
  const std::string line = "ebb: " + printable(text) + '\n';
  (void)write_all(STDERR_FILENO, line);  // nobody left to tell if stderr is closed
}

int fail(const Error& error) {
  say(error.message);
  return client::command_exit_status(error);
}

}  // namespace ebb::cli

#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"

namespace ebb::cli {

using Words = std::vector<std::string>;

/// Exit statuses of every command but `run` and `wait`, which pass on how a job ended.
inline constexpr int kDone = 0;
inline constexpr int kRefused = 1;     ///< no such thing, refused, or not done
inline constexpr int kUsage = 2;       ///< usage, bad config, or a request that can never run
inline constexpr int kNoDaemon = 3;    ///< no daemon there
inline constexpr int kNotAllowed = 4;  ///< the caller may not do this

/// The CLI11 parser of one command, set up the way all commands of Ebb behave: `name` is what follows "ebb ",
/// `example` stands at the end of --help and is required. A value of the form [a,b] stays one value: make
/// options that may be given several times with add_list().
class Parser : public CLI::App {
 public:
  Parser(const std::string& name, const std::string& summary, const std::string& example);

  /// An option that may be given several times; each time takes exactly one value.
  CLI::Option* add_list(const std::string& names, std::vector<std::string>& values, const std::string& help);
  /// Says in --help that a CMD follows the options.
  void show_command();
  /// Parses all words. Nothing: go on. A number: the exit status to return at once (help was printed, or an
  /// error that says what is wrong).
  [[nodiscard]] std::optional<int> read(Words words);

 private:
  std::string name_;
};

/// Prints "ebb: …" on stderr, as one write, so that lines of several processes do not mix.
void say(std::string_view text);
/// Says the error and returns the exit status that stands for it.
int fail(const Error& error);

}  // namespace ebb::cli

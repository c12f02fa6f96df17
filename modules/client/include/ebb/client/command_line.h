#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ebb/base/result.h"
#include "ebb/model/job.h"

namespace ebb::client {

/// The words of `ebb run` or `ebb submit`, cut where CMD begins.
struct CutWords {
  std::vector<std::string> options;  ///< Ebb's own; a long option's value is joined to it ("--gpus=2")
  std::vector<std::string> command;  ///< CMD, untouched; empty where none was given
};

/// Whether an option takes a value; nothing for a word that is no option of the command.
using TakesValue = std::function<std::optional<bool>(std::string_view option)>;

/// Cuts at the first "--", which belongs to neither side, or at the first word that is neither an option nor
/// an option's value. "-c STRING" in place of CMD becomes /bin/bash -c STRING. Unknown options stay among the
/// options, for the parser to refuse.
[[nodiscard]] Result<CutWords> cut_words(std::vector<std::string> words, const TakesValue& takes_value);

/// Refuses a CMD that is a single word with spaces and no file in `workdir`: a shell string that was quoted
/// as one word (model::quoted_command_error()).
[[nodiscard]] Result<void> check_command(const std::vector<std::string>& command, const std::string& workdir);

/// Refuses words and names that are no UTF-8: JSON carries nothing else, and CMD is executed exactly or not
/// at all.
[[nodiscard]] Result<void> check_text(const model::JobRequest& request);

/// An --env-file: a line is K=V, taken as it is, or K alone (the caller's own value); empty lines and lines
/// that begin with '#' are passed over. Errors name the line. The lines are appended to `out`.
[[nodiscard]] Result<void> parse_env_file(std::string_view text, const std::string& file_name,
                                          std::vector<std::string>& out);

/// An error about a request's field, in the words of the command line: "gpus" becomes "--gpus",
/// "command[1]" becomes "argument 1".
[[nodiscard]] Error in_option_words(Error error);
/// What `run` and `submit` say of a new job whose memory nothing bounds on its daemon's host; else empty.
[[nodiscard]] std::string memory_warning(const model::Job& job);
/// What `run` and `submit` exit with when the job could not be made: 1 refused or gone wrong, 2 a request
/// that can never run, 3 no daemon, 4 not allowed, 127 a shell string that was quoted as one word.
[[nodiscard]] int submission_exit_status(const Error& error);
/// What every other command exits with: the same without 127.
[[nodiscard]] int command_exit_status(const Error& error);

}  // namespace ebb::client

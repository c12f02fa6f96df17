// A command line's words as users write them: where CMD begins, and which braces are Ebb's.

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "ebb/base/text.h"
#include "ebb/client/command_line.h"
#include "ebb/client/placeholders.h"
#include "placeholders.h"
#include "property.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using ebb::fuzz::must;
  const std::string_view text = ebb::fuzz::text(data, size);

  // Without a value every byte passes unchanged; a value is not looked at again.
  must(ebb::daemon::replace_placeholders(text, [](std::string_view) { return std::nullopt; }) == text);
  must(ebb::daemon::replace_placeholders(
           text, [](std::string_view name) { return '{' + std::string(name) + '}'; }) == text);
  if (const auto same = ebb::client::replace_sidecar_urls(text, {}, "argument 1")) must(*same == text);
  const ebb::client::SidecarUrls urls{{"a", "{sidecar.a.url}"}};
  if (const auto same = ebb::client::replace_sidecar_urls(text, urls, "argument 1")) must(*same == text);
  (void)ebb::client::expand_sidecar_command(text, "a", 4242, "/", urls);

  std::vector<std::string> words;
  for (const std::string_view word : ebb::split(text, '\n')) words.emplace_back(word);
  const auto cut = ebb::client::cut_words(words, [](std::string_view option) -> std::optional<bool> {
    if (option == "--gpus" || option == "-n") return true;
    if (option == "--quiet" || option == "-q") return false;
    return std::nullopt;
  });
  if (!cut) return 0;
  // CMD is the end of what was given, or a shell that is given one word of it.
  const auto& command = cut->command;
  must(command.size() <= words.size() + 1);
  if (!command.empty()) must(std::find(words.begin(), words.end(), command.back()) != words.end());
  return 0;
}

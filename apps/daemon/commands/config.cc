#include <unistd.h>

#include <iostream>

#include "commands.h"
#include "config_option.h"
#include "ebb/base/files.h"

namespace ebb::cli {

Result<daemon::Config> read_config(const std::string& file) {
  constexpr std::size_t kLargest = 1 << 20;
  const uid_t uid = ::geteuid();
  const std::filesystem::path path =
      file.empty() ? daemon::default_config_path(uid) : std::filesystem::path(file);
  daemon::Config base = daemon::default_config(uid);
  std::error_code failure;
  if (file.empty() && !std::filesystem::exists(path, failure)) return base;
  auto text = read_file(path, kLargest);
  if (!text) return text.error();
  return daemon::parse_config(*text, path.native(), std::move(base));
}

int fail_config(const Error& error) {
  say(error.message);
  return kUsage;
}

int config_main(Words words) {
  Parser parser("config", "Check the configuration, or print all of it with its defaults",
                "ebb config print --config /etc/ebb/ebb.toml");
  std::string file;
  std::string what;
  parser.add_option("WHAT", what, "check or print")->required()->check(CLI::IsMember({"check", "print"}));
  parser.add_option("--config", file, "The file (default: as for 'ebb serve')");
  if (const auto status = parser.read(std::move(words))) return *status;
  auto config = read_config(file);
  if (!config) return fail_config(config.error());
  if (auto checked = daemon::check_config(*config); !checked) return fail_config(checked.error());
  if (what == "print") {
    std::cout << daemon::print_config(*config) << std::flush;
  } else {
    say("the configuration is good");
  }
  return kDone;
}

}  // namespace ebb::cli

#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "named_seeds.h"
#include "simulation.h"

namespace {

using namespace ebb::simulation;

constexpr const char* kUsage =
    "usage: tests/simulation/run [--seeds N] [--first S] [--trace] [--without FAULT,…] [--jobs N]\n"
    "                            [--mutant NAME] [--mutants] [--named] [--keep-going]\n"
    "Plays N histories (100000 by default) from seed S (1) and prints one JSON line; exit 1 on any "
    "violation.\n"
    "  --trace       tells the story of each seed: for one seed\n"
    "  --without     leaves kinds of faults out; --jobs has that many clients at most\n"
    "  --mutant      puts an error into the simulated shell, which the oracle should find\n"
    "  --mutants     puts each of them in, and says after how many seeds it is found; exit 1 where one is "
    "not\n"
    "  --named       plays those histories first in which something was wrong once\n"
    "  --keep-going  does not stop at the tenth violation\n"
    "Example: tests/simulation/run --first 4711 --seeds 1 --trace\n";
// Of so many seeds one is played twice: the same seed must give the same history.
constexpr std::uint64_t kRepeatOneIn = 64;
constexpr int kMostShown = 10;

struct Arguments {
  std::uint64_t seeds = 100'000;
  std::uint64_t first = 1;
  bool keep_going = false;
  bool mutants = false;
  bool named = false;
  Options options;
};

bool number(std::string_view text, auto& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool leave_out(std::string_view names, std::uint32_t& without) {
  while (!names.empty()) {
    const auto comma = names.find(',');
    const auto fault = fault_named(names.substr(0, comma));
    if (!fault) return false;
    without |= 1U << static_cast<unsigned>(*fault);
    names = comma == std::string_view::npos ? "" : names.substr(comma + 1);
  }
  return true;
}

std::optional<Arguments> parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--trace") {
      arguments.options.trace = true;
      continue;
    }
    if (option == "--mutants") {
      arguments.mutants = true;
      continue;
    }
    if (option == "--named") {
      arguments.named = true;
      continue;
    }
    if (option == "--keep-going") {
      arguments.keep_going = true;
      continue;
    }
    if (i + 1 == argc) return std::nullopt;
    const std::string_view value = argv[++i];
    bool understood = false;
    if (option == "--seeds") understood = number(value, arguments.seeds);
    if (option == "--first") understood = number(value, arguments.first);
    if (option == "--jobs") understood = number(value, arguments.options.most_jobs);
    if (option == "--without") understood = leave_out(value, arguments.options.without);
    if (option == "--mutant") {
      const auto mutant = mutant_named(value);
      understood = mutant.has_value();
      if (understood) arguments.options.mutant = *mutant;
    }
    if (!understood) return std::nullopt;
  }
  return arguments;
}

void show(std::uint64_t seed, const std::string& violation, const Options& options) {
  std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed), violation.c_str());
  std::fprintf(stderr, "  repeat it: %s\n", command_for(seed, options).c_str());
  const Options small = shrink(seed, options);
  std::fprintf(stderr, "  smaller:   %s\n", command_for(seed, small).c_str());
}

// An oracle that never fails proves nothing: each error must be found within `seeds` histories.
int find_mutants(const Arguments& arguments) {
  int missed = 0;
  for (std::size_t number = 1; number < kMutants; ++number) {
    Options options = arguments.options;
    options.mutant = static_cast<Mutant>(number);
    std::uint64_t seeds = 0;
    std::string violation;
    while (violation.empty() && seeds < arguments.seeds)
      violation = simulate(arguments.first + seeds++, options).violation;
    if (violation.empty()) ++missed;
    std::printf("%-20s %s after %llu seeds%s%s\n", std::string(name_of(options.mutant)).c_str(),
                violation.empty() ? "NOT FOUND" : "found", static_cast<unsigned long long>(seeds),
                violation.empty() ? "" : ": ", violation.substr(0, 120).c_str());
  }
  return missed == 0 ? 0 : 1;
}

// What was found once stays found.
int play_named() {
  int violations = 0;
  for (const NamedSeed& named : named_seeds()) {
    const std::string violation = simulate(named.seed, named.options).violation;
    if (violation.empty()) continue;
    ++violations;
    std::fprintf(stderr, "%.*s: again?\n", static_cast<int>(named.what.size()), named.what.data());
    show(named.seed, violation, named.options);
  }
  return violations;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--help") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  const auto arguments = parse(argc, argv);
  if (!arguments) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (arguments->mutants) return find_mutants(*arguments);
  const auto began = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  std::uint64_t events = 0, seeds = 0;
  int violations = arguments->named ? play_named() : 0;
  double told = 0;
  for (; seeds < arguments->seeds; ++seeds) {
    const std::uint64_t seed = arguments->first + seeds;
    Outcome outcome = simulate(seed, arguments->options);
    if (seed % kRepeatOneIn == 0 && outcome.violation.empty() && !arguments->options.trace &&
        simulate(seed, arguments->options).hash != outcome.hash) {
      outcome.violation = "the same seed gave another history";
    }
    events += outcome.events;
    if (!outcome.violation.empty()) {
      ++violations;
      if (violations <= kMostShown) show(seed, outcome.violation, arguments->options);
      if (violations == kMostShown && !arguments->keep_going) {
        ++seeds;
        break;
      }
    }
    if (seconds() - told < 10) continue;
    told = seconds();
    std::fprintf(stderr, "%llu of %llu seeds, %.0f a minute, %d violations\n",
                 static_cast<unsigned long long>(seeds) + 1,
                 static_cast<unsigned long long>(arguments->seeds),
                 static_cast<double>(seeds + 1) / told * 60, violations);
  }
  std::printf(R"({"id":"R2","seeds":%llu,"violations":%d,"events":%llu,"first":%llu,"seconds":%.1f})"
              "\n",
              static_cast<unsigned long long>(seeds), violations, static_cast<unsigned long long>(events),
              static_cast<unsigned long long>(arguments->first), seconds());
  return violations == 0 ? 0 : 1;
}

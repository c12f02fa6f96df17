// Who maintains how much of what is installed: two CSV files joined by a column that both have.
//
//     { echo package,source,kib
//       dpkg-query -W -f '${Package},${source:Package},${Installed-Size}\n'; } > packages.csv
//     { echo source,maintainer
//       dpkg-query -W -f '${source:Package},"${Maintainer}"\n' | sort -u; } > sources.csv
//     join_csv [PACKAGES [SOURCES [TOP]]]        default: packages.csv sources.csv 10
//
// The rows of both files meet at the replica that has their key; what waits there for its other half is
// bounded. The result is a CSV file as well, maintainers.csv: it gets its name when the pipeline has ended
// well, not before.

#include <ebb/flow.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <iomanip>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace ebb::literals;

struct Held {
  std::string maintainer;
  std::uint64_t kib = 0;
};

void join(const std::string& packages, const std::string& sources, std::size_t top) {
  ebb::LocalEnvironment env("join_csv");
  const auto by_source = [](const ebb::CsvRow& row) { return std::string(row["source"]); };
  ebb::DataStream totals =
      env.from_csv(packages)
          .name("packages")
          .key_by(by_source)
          .join_all(env.from_csv(sources).name("sources").key_by(by_source), {.limit = 1_GiB},
                    [](const ebb::CsvRow& package, const ebb::CsvRow& source) {
                      return Held{std::string(source["maintainer"]), package.get<std::uint64_t>("kib")};
                    })
          .on_error(ebb::skip)  // packages of unknown size
          .key_by([](const Held& held) { return held.maintainer; })
          .reduce(std::uint64_t{0}, [](std::uint64_t& kib, const Held& held) { kib += held.kib; });
  totals.sink(ebb::to_csv("maintainers.csv", {.header = {"maintainer", "kib"}}));
  auto collected = totals.collect();
  const ebb::PipelineReport report = env.submit({.autostop = true});

  std::vector<std::pair<std::string, std::uint64_t>> most = collected.get();
  std::sort(most.begin(), most.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  for (std::size_t i = 0; i < std::min(top, most.size()); ++i) {
    std::cout << std::setw(10) << most[i].second << "  " << most[i].first << '\n';
  }
  std::cout << report;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    join(argc > 1 ? argv[1] : "packages.csv", argc > 2 ? argv[2] : "sources.csv",
         argc > 3 ? std::stoul(argv[3]) : 10);
  } catch (const std::exception& error) {
    std::cerr << "join_csv: " << error.what() << '\n';
    return 1;
  }
}

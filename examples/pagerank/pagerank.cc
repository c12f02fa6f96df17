// Which packages everything stands on: PageRank over the dependencies of the packages that are installed.
//
//     pagerank [FILE] [TOP]        default: /var/lib/dpkg/status 15
//
// A package is worth 0.15, and what those that depend on it hand on: 0.85 of their worth, in equal parts. The
// parts go round a feedback edge as messages. A package hands on what has come in since the last time once
// that is worth it, so that the messages die out; the pipeline then ends by itself, since nothing is left
// inside.

#include <ebb/flow.h>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Dependencies = std::map<std::string, std::set<std::string>>;

// Paragraphs of fields. Of alternatives ("a (>= 1) | b") the first counts; what is not installed does not.
Dependencies read_packages(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  Dependencies all;
  std::string package;
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    const std::string field = line.substr(0, colon);
    if (field == "Package") all[package = line.substr(colon + 2)];
    if (field != "Depends" && field != "Pre-Depends") continue;
    std::istringstream list(line.substr(colon + 2));
    for (std::string one; std::getline(list, one, ',');) {
      one.erase(0, one.find_first_not_of(' '));
      all[package].insert(one.substr(0, one.find_first_of(" :|")));
    }
  }
  for (auto& [name, needs] : all) {
    std::erase_if(needs, [&](const std::string& other) { return !all.contains(other); });
  }
  return all;
}

struct Message {
  std::string package;
  double worth = 0;
};

void rank(const std::string& path, std::size_t top) {
  constexpr double kHandedOn = 0.85, kWorthIt = 1e-7;
  const Dependencies packages = read_packages(path);
  std::vector<Message> own;
  own.reserve(packages.size());
  for (const auto& [name, needs] : packages) own.push_back({name, 1 - kHandedOn});

  ebb::LocalEnvironment env("pagerank");
  const auto by_package = [](const Message& message) { return message.package; };
  auto again = env.from_future<Message>("again");
  ebb::DataStream messages = env.from_collection(own).name("own").union_with(again).name("messages");
  messages.key_by(by_package)
      .parallelism(2)
      .process([&](const Message& message, ebb::Keyed<double>& held, ebb::Collector<Message>& emit) {
        *held += message.worth;
        const std::set<std::string>& needs = packages.at(message.package);
        if (*held < kWorthIt || needs.empty()) return;
        const double part = std::exchange(*held, 0) * kHandedOn / static_cast<double>(needs.size());
        for (const std::string& other : needs) emit(Message{other, part});
      })
      .name("hand on")
      .fill_future(again);
  auto worth = messages.key_by(by_package)
                   .reduce(0.0, [](double& sum, const Message& m) { sum += m.worth; })
                   .collect();
  const ebb::PipelineReport report = env.submit({.autostop = true});

  std::vector<std::pair<std::string, double>> ranked = worth.get();
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::cout << std::fixed << std::setprecision(4);
  for (std::size_t i = 0; i < std::min(top, ranked.size()); ++i) {
    std::cout << std::setw(10) << ranked[i].second << "  " << ranked[i].first << '\n';
  }
  std::cout << ranked.size() << " packages\n" << report;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    rank(argc > 1 ? argv[1] : "/var/lib/dpkg/status", argc > 2 ? std::stoul(argv[2]) : 15);
  } catch (const std::exception& error) {
    std::cerr << "pagerank: " << error.what() << '\n';
    return 1;
  }
}

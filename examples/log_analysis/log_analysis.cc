// What a machine's package manager did: how often, at what hour of the day, to which packages, and where it
// took long.
//
//     log_analysis [FILE] [TOP]        default: /var/log/dpkg.log 10
//
// One stream with a name, read by four consumers at once; a class with state as the end of a stream; and
// lines that are no entries, which are left out and counted in the report.

#include <ebb/flow.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Entry {
  std::chrono::sys_seconds time;
  std::string hour;
  std::string action;   // "install", "status unpacked", …
  std::string package;  // empty where the action concerns none
};

// 2026-11-28 19:37:32 status installed libc-bin:amd64 2.36-9
Entry parse(const std::string& line) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  Entry entry;
  std::istringstream words(line);
  if (std::sscanf(line.c_str(), "%4d-%2d-%2d %2d:%2d:%2d", &year, &month, &day, &hour, &minute, &second) !=
          6 ||
      !(words >> entry.action >> entry.action >> entry.action)) {
    throw std::invalid_argument("no entry of dpkg's: " + line);
  }
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  entry.time = std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
               std::chrono::seconds(second);
  entry.hour = line.substr(11, 2);
  std::string state;
  if (entry.action == "status" && words >> state) entry.action += " " + state;
  if (entry.action != "startup") words >> entry.package;
  return entry;
}

// The entries after which nothing more was written for longest, within one run of dpkg.
class Slowest {
 public:
  void see(const Entry& entry) {
    if (last_ && entry.action != "startup") found_.emplace_back((entry.time - last_->time).count(), *last_);
    last_ = entry;
  }
  void show(std::size_t top) {
    std::stable_sort(found_.begin(), found_.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (std::size_t i = 0; i < std::min(top, found_.size()); ++i) {
      const auto& [seconds, entry] = found_[i];
      std::cout << std::setw(8) << seconds << "  " << entry.action << ' ' << entry.package << '\n';
    }
  }

 private:
  std::optional<Entry> last_;
  std::vector<std::pair<std::int64_t, Entry>> found_;
};

using Counts = std::vector<std::pair<std::string, std::uint64_t>>;

void show(const char* title, const Counts& counts, std::size_t top) {
  std::cout << title << ":\n";
  for (std::size_t i = 0; i < std::min(top, counts.size()); ++i) {
    std::cout << std::setw(8) << counts[i].second << "  " << counts[i].first << '\n';
  }
}

void show_most(const char* title, Counts counts, std::size_t top) {
  std::erase_if(counts, [](const auto& count) { return count.first.empty(); });
  std::sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  show(title, counts, top);
}

void analyse(const std::string& path, std::size_t top) {
  ebb::LocalEnvironment env("log_analysis");
  ebb::DataStream entries = env.from_lines(path).name("lines").map(parse).on_error(ebb::skip).name("parse");
  // By a pointer, so that the three are one type: the compiler has to make what follows only once.
  const auto count_by = [&](const char* name, std::string (*key)(const Entry&)) {
    return entries.key_by(key)
        .reduce(std::uint64_t{0}, [](std::uint64_t& so_far, const Entry&) { ++so_far; })
        .name(name)
        .collect();
  };
  auto actions = count_by("actions", [](const Entry& e) { return e.action; });
  auto packages = count_by("packages", [](const Entry& e) { return e.package; });
  auto hours = count_by("hours", [](const Entry& e) { return e.hour; });
  Slowest slowest;
  entries.sink(&Slowest::see, &slowest).name("slowest");
  const ebb::PipelineReport report = env.submit({.autostop = true});

  show_most("actions", actions.get(), top);
  show_most("packages", packages.get(), top);
  Counts by_hour = hours.get();
  std::sort(by_hour.begin(), by_hour.end());
  show("by hour of the day", by_hour, by_hour.size());
  std::cout << "seconds that nothing was written after:\n";
  slowest.show(top);
  std::cout << report;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    analyse(argc > 1 ? argv[1] : "/var/log/dpkg.log", argc > 2 ? std::stoul(argv[2]) : 10);
  } catch (const std::exception& error) {
    std::cerr << "log_analysis: " << error.what() << '\n';
    return 1;
  }
}

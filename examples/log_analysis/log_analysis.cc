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

void show_most(const char* title, std::vector<std::pair<std::string, std::uint64_t>> counts,
               std::size_t top) {
  std::sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  std::cout << title << ":\n";
  for (std::size_t i = 0; i < std::min(top, counts.size()); ++i) {
    std::cout << std::setw(8) << counts[i].second << "  " << counts[i].first << '\n';
  }
}

void analyse(const std::string& path, std::size_t top) {
  ebb::LocalEnvironment env("log_analysis");
  ebb::DataStream entries = env.from_lines(path).name("lines").map(parse).on_error(ebb::skip).name("parse");
  const auto count = [](std::uint64_t& so_far, const auto&) { ++so_far; };
  auto actions =
      entries.key_by([](const Entry& e) { return e.action; }).reduce(std::uint64_t{0}, count).collect();
  auto packages = entries.filter([](const Entry& e) { return !e.package.empty(); })
                      .key_by([](const Entry& e) { return e.package; })
                      .reduce(std::uint64_t{0}, count)
                      .collect();
  auto hours =
      entries.key_by([](const Entry& e) { return (e.time.time_since_epoch() / std::chrono::hours(1)) % 24; })
          .reduce(std::uint64_t{0}, count)
          .collect();
  Slowest slowest;
  entries.sink(&Slowest::see, &slowest).name("slowest");
  const ebb::PipelineReport report = env.submit({.autostop = true});

  show_most("actions", actions.get(), top);
  show_most("packages", packages.get(), top);
  std::vector<std::pair<std::int64_t, std::uint64_t>> by_hour = hours.get();
  std::sort(by_hour.begin(), by_hour.end());
  std::cout << "by hour of the day:\n";
  for (const auto& [hour, entries_then] : by_hour)
    std::cout << std::setw(8) << entries_then << "  " << hour << '\n';
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

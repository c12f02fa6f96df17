#include "ebb/model/report.h"

#include <gtest/gtest.h>

#include <chrono>

namespace ebb::model {
namespace {

using namespace std::chrono_literals;

ReleaseRecord released(ReleaseKind kind, std::string target, double took_ms) {
  ReleaseRecord r;
  r.kind = kind;
  r.target = std::move(target);
  r.took_ms = took_ms;
  return r;
}

Report example() {
  Report report;
  report.job = JobId(0x7f3a91c2);
  report.attempt = 1;
  report.stop_requested_at = WallTime(1000s);
  report.released_at = WallTime(1000s) + 41ms;
  report.releases = {released(ReleaseKind::processes, "7f3a91c2.1", 22.4),
                     released(ReleaseKind::gpu, "0", 1.9),
                     released(ReleaseKind::gpu, "1", 1.9),
                     released(ReleaseKind::port, "38001", 0.2),
                     released(ReleaseKind::ipc, "7f3a91c2.1", 0.1),
                     released(ReleaseKind::scratch, "/var/tmp/x", 3.1)};
  report.releases[0].count = 3;
  report.releases[0].action = "TERM, then cgroup.kill";
  report.releases[0].verified_by = "cgroup.events populated=0";
  return report;
}

TEST(OneLine, IsTheOneOfTheContract) {
  EXPECT_EQ(
      one_line(example()),
      "released in 41 ms: 3 processes ended · GPU 0 1 verified free · port 38001 free · scratch removed");
}

TEST(OneLine, CountsRight) {
  Report report = example();
  report.releases[0].count = 1;
  report.releases[4].count = 2;
  report.releases.push_back(released(ReleaseKind::port, "38002", 1));
  EXPECT_EQ(
      one_line(report),
      "released in 41 ms: 1 process ended · GPU 0 1 verified free · ports 38001 38002 free · 2 IPC objects "
      "removed · scratch removed");
  report.releases[0].count = 0;
  EXPECT_NE(one_line(report).find(": no process left · "), std::string::npos);
}

TEST(OneLine, TakesTheSumOfTheReleasesWhereNobodyAskedForTheEnd) {
  Report report = example();
  report.stop_requested_at.reset();
  EXPECT_EQ(one_line(report).substr(0, 18), "released in 30 ms:");
  // The clock was set back in between: the sum is the better answer.
  report.stop_requested_at = report.released_at + 1h;
  EXPECT_EQ(one_line(report).substr(0, 18), "released in 30 ms:");
}

TEST(OneLine, SaysFirstWhatIsNotReleased) {
  Report report = example();
  report.complete = false;
  report.releases[2].outcome = Outcome::quarantined;
  report.releases[2].error = "pid 77 of the job still uses it";
  report.releases[5].outcome = Outcome::failed;
  report.releases[5].error = "cannot remove: Read-only file system";
  EXPECT_EQ(
      one_line(report),
      "NOT RELEASED, quarantined: GPU 1 (pid 77 of the job still uses it) · FAILED: scratch /var/tmp/x "
      "(cannot remove: Read-only file system) · released in 41 ms: 3 processes ended · GPU 0 verified free · "
      "port 38001 free");
}

TEST(OneLine, NamesWhoUsesAGpuFromOutside) {
  Report report = example();
  report.releases[1].outside = {{.pid = 4242, .user = "bob", .mib = 300}};
  EXPECT_NE(one_line(report).find(
                "GPU 1 verified free · GPU 0 is used from outside by bob's process 4242 (300 MiB)"),
            std::string::npos);
}

TEST(OneLine, OfAJobThatNeverStarted) {
  Report report;
  EXPECT_EQ(one_line(report), "ended before it started: it held nothing");
}

TEST(OneLine, LetsNoControlCharactersThrough) {
  Report report = example();
  report.releases[1].outside = {{.pid = 1, .user = "\x1b[31m", .mib = 0}};
  EXPECT_EQ(one_line(report).find('\x1b'), std::string::npos);
}

TEST(Waterfall, HasALineForEachReleaseOneAfterTheOther) {
  const Report report = example();
  const std::string text = waterfall(report);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 7);
  EXPECT_TRUE(text.starts_with(one_line(report) + "\n"));
  EXPECT_NE(text.find("22.4 ms  released, TERM, then cgroup.kill; verified by cgroup.events populated=0\n"),
            std::string::npos)
      << text;
  // Bars do not overlap: the first begins at the left edge, the last ends at the right one.
  EXPECT_NE(text.find("|█"), std::string::npos);
  EXPECT_NE(text.find("█|"), std::string::npos);
}

}  // namespace
}  // namespace ebb::model

// What a disk may have made of the end of the log, when the daemon before could not close the database.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <vector>

#include "ebb/base/files.h"
#include "scene.h"

namespace ebb::store {
namespace {

constexpr std::int64_t kJobs = 12;

std::uint32_t word_at(const std::string& bytes, std::size_t at, bool big_endian) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << 8 * (big_endian ? 3 - i : i);
  }
  return value;
}

void put_word(std::string& bytes, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> 8 * (3 - i));
}

// The log as it were if SQLite, which draws it at random, had begun to count the log's rounds at `round`.
std::string with_round(std::string log, std::uint32_t round) {
  const bool big_endian = (word_at(log, 0, true) & 1U) != 0;
  const std::size_t page = word_at(log, 8, true);
  std::uint32_t first = 0, second = 0;
  const auto add = [&](std::size_t from, std::size_t size) {
    for (std::size_t at = from; at < from + size; at += 8) {
      first += word_at(log, at, big_endian) + second;
      second += word_at(log, at + 4, big_endian) + first;
    }
  };
  const auto put_sum = [&](std::size_t at) {
    put_word(log, at, first);
    put_word(log, at + 4, second);
  };
  put_word(log, 16, round);
  add(0, 24);
  put_sum(24);
  for (std::size_t at = 32; at + 24 + page <= log.size(); at += 24 + page) {
    put_word(log, at + 8, round);
    add(at, 8);
    add(at + 24, page);
    put_sum(at + 16);
  }
  return log;
}

// The log of a daemon that was killed with all of its jobs confirmed, and where each commit of it ends; by
// the number of its round: zeros look like the round before 1, and what inverts 0x80000001 like one soon
// before it.
class FoundLog : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override {
    {
      Store store = open_store(folder_.path());  // closed: what follows is in the log alone
    }
    int out[2];
    ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      Store store = open_store(folder_.path());
      for (std::int64_t seq = 1; seq <= kJobs; ++seq) {
        const Store::Outcome outcome = commit(store, {write::AddJob{job_row(seq)}, event(seq)});
        std::error_code ignored;
        const auto end = static_cast<std::int64_t>(std::filesystem::file_size(log(), ignored));
        if (!outcome.result || ::write(out[1], &end, sizeof end) != sizeof end) ::_exit(1);
      }
      ::kill(::getpid(), SIGKILL);
    }
    ::close(out[1]);
    std::int64_t end = 0;
    while (::read(out[0], &end, sizeof end) == sizeof end) ends_.push_back(end);
    ::close(out[0]);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    ASSERT_EQ(ends_.size(), std::size_t{kJobs});
    whole_ = with_round(*read_file(log()), GetParam());
    database_ = *read_file(folder_.database());
    ASSERT_EQ(whole_.size(), static_cast<std::size_t>(ends_.back()));
  }
  [[nodiscard]] std::filesystem::path log() const { return folder_.path() / "ebb.db-wal"; }

  // A daemon finds this log: the jobs of the first commits, as many as are whole, and no other.
  void check(const std::string& found, std::int64_t commits, const std::string& what) {
    SCOPED_TRACE(what);
    std::ofstream(folder_.database(), std::ios::binary | std::ios::trunc) << database_;
    std::ofstream(log(), std::ios::binary | std::ios::trunc) << found;
    std::filesystem::remove(folder_.path() / "ebb.db-shm");
    Store store = open_store(folder_.path());
    EXPECT_EQ(store.found_log().commits, commits);
    const std::int64_t kept = commits == 0 ? 0 : ends_[static_cast<std::size_t>(commits) - 1];
    const std::int64_t header =
        commits == 0 && found.size() >= 32 && found.substr(0, 32) == whole_.substr(0, 32) ? 32 : 0;
    EXPECT_EQ(store.found_log().left_out,
              static_cast<std::int64_t>(found.size()) - (kept > 0 ? kept : header));
    EXPECT_EQ(*store.last_job_seq(), commits);
    EXPECT_EQ(*store.last_event_seq(), commits);
    std::int64_t count = 0;
    ASSERT_TRUE(store.each_live_job([&](const JobRecord& record) { EXPECT_EQ(record.row.seq, ++count); }));
    EXPECT_EQ(count, commits);
    expect_committed(store, {write::AddJob{job_row(commits + 1)}});
  }
  [[nodiscard]] std::int64_t whole_before(std::size_t offset) const {
    return std::count_if(ends_.begin(), ends_.end(),
                         [&](std::int64_t end) { return end <= static_cast<std::int64_t>(offset); });
  }
  // Within each commit and at its borders.
  [[nodiscard]] std::set<std::size_t> offsets() const {
    std::set<std::size_t> found{1, 31, 32, 33};
    for (const std::int64_t end : ends_) {
      for (const std::int64_t back : {0, 1, 8, 24, 100, 4096, 4119, 4120}) {
        if (end > back) found.insert(static_cast<std::size_t>(end - back));
      }
    }
    return found;
  }

  TemporaryFolder folder_;
  std::string whole_, database_;
  std::vector<std::int64_t> ends_;
};

TEST_P(FoundLog, OfAKilledDaemonIsTakenInWhole) { check(whole_, kJobs, "whole"); }

TEST_P(FoundLog, IsEmptyWhereTheDatabaseWasClosed) {
  {
    Store store = open_store(folder_.path());
  }
  Store store = open_store(folder_.path());
  EXPECT_EQ(store.found_log().commits, 0);
  EXPECT_EQ(store.found_log().left_out, 0);
  EXPECT_EQ(*store.last_job_seq(), kJobs);
}

TEST_P(FoundLog, CutOffAnywhereLosesWhatIsNotWhole) {
  for (const std::size_t at : offsets())
    check(whole_.substr(0, at), whole_before(at), "cut at " + std::to_string(at));
}

TEST_P(FoundLog, WithZerosInPlaceOfItsEnd) {
  for (const std::size_t at : offsets()) {
    const std::string zeros(whole_.size() - at, '\0');
    if (!zeros.empty())
      check(whole_.substr(0, at) + zeros, whole_before(at), "zeros from " + std::to_string(at));
  }
}

TEST_P(FoundLog, TornWithinASector) {
  for (const std::size_t at : offsets()) {
    std::string torn = whole_;
    for (std::size_t i = at; i < std::min(at + 512, torn.size()); ++i) torn[i] = static_cast<char>(~torn[i]);
    if (at < torn.size()) check(torn, whole_before(at), "torn at " + std::to_string(at));
  }
}

TEST_P(FoundLog, LostAltogetherLeavesWhatWasInTheDatabase) { check("", 0, "lost"); }

INSTANTIATE_TEST_SUITE_P(Rounds, FoundLog, ::testing::Values(1, 0x80000001, 0x9d3f5a20));

// Changes each time that the log is begun anew.
std::string log_round(const std::filesystem::path& folder) {
  return read_file(folder / "ebb.db-wal")->substr(16, 8);
}

// Behind the newer frames lie those of the log's earlier round: nothing is wrong with them.
TEST(FoundLogAnew, IsNotCalledDamagedForAnEarlierRound) {
  const TemporaryFolder folder;
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Store store = open_store(folder.path());
    // More than the pages after which an idle writer folds the log in; the commit after that begins it anew.
    Batch many;
    std::int64_t seq = 1;
    for (; seq <= 20'000; ++seq) many.emplace_back(write::AddJob{job_row(seq)});
    expect_committed(store, std::move(many));
    const std::string round = log_round(folder.path());
    while (log_round(folder.path()) == round) expect_committed(store, {write::AddJob{job_row(seq++)}});
    const std::int64_t last = seq - 1;
    (void)!::write(ready[1], &last, sizeof last);
    ::pause();
    ::_exit(0);
  }
  std::int64_t last = 0;
  ASSERT_EQ(::read(ready[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ::close(ready[0]);
  ::close(ready[1]);
  ASSERT_GT(std::filesystem::file_size(folder.path() / "ebb.db-wal"), 4'000'000U);
  Store store = open_store(folder.path());
  EXPECT_EQ(store.found_log().commits, 1);
  EXPECT_EQ(store.found_log().left_out, 0);
  EXPECT_EQ(*store.last_job_seq(), last);
}

}  // namespace
}  // namespace ebb::store

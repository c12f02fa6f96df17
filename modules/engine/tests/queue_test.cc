#include "queue.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "driver.h"
#include "ranked_set.h"

namespace ebb::engine {
namespace {

TEST(RankedSet, AgreesWithASortedSet) {
  std::mt19937_64 random(7);
  for (const std::int64_t range : {600LL, 100'000LL, 1LL << 40}) {
    RankedSet ranked;
    std::set<std::int64_t> plain;
    for (int i = 0; i < 20'000; ++i) {
      const auto value = static_cast<std::int64_t>(random()) & (range - 1);
      if (random() % 3 == 0)
        EXPECT_EQ(ranked.erase(value), plain.erase(value) == 1);
      else
        EXPECT_EQ(ranked.insert(value), plain.insert(value).second);
      ASSERT_EQ(ranked.size(), static_cast<std::int64_t>(plain.size()));
      if (i % 50 != 0) continue;
      const auto probe = static_cast<std::int64_t>(random()) & (range - 1);
      EXPECT_EQ(ranked.contains(probe), plain.contains(probe));
      EXPECT_EQ(ranked.rank(probe), std::distance(plain.begin(), plain.lower_bound(probe)));
    }
    while (!plain.empty()) {
      EXPECT_TRUE(ranked.erase(*plain.begin()));
      plain.erase(plain.begin());
    }
    EXPECT_EQ(ranked.size(), 0);
    EXPECT_EQ(ranked.rank(1LL << 41), 0);
  }
}

TEST(MemoryClass, IsOrderedAndCoarse) {
  EXPECT_EQ(memory_class(0), 0);
  int last = 0;
  std::set<int> classes;
  for (std::int64_t bytes = 1; bytes < std::int64_t{1} << 42; bytes += bytes / 50 + 1) {
    EXPECT_GE(memory_class(bytes), last);
    last = memory_class(bytes);
    classes.insert(last);
  }
  EXPECT_LT(classes.size(), 8 * 43U);
}

// Heads, order and positions against lists that are searched from end to end.
TEST(Queue, AgreesWithPlainListsUnderRandomUse) {
  std::mt19937_64 random(11);
  Queue queue;
  std::map<Queue::Key, Job*> counted;
  std::map<Queue::Key, Job*> waiting;
  std::map<Queue::Key, Job*> acquired;
  std::uint32_t next = 0;
  const auto any = [&](std::map<Queue::Key, Job*>& map) {
    return std::next(map.begin(), static_cast<std::ptrdiff_t>(random() % map.size()));
  };
  for (int step = 0; step < 60'000; ++step) {
    const bool filling = step / 5'000 % 2 == 0;
    const auto what = random() % 10;
    if (what < (filling ? 6U : 2U)) {
      JobInfo info = test::job(++next, static_cast<int>(random() % 3), static_cast<int>(random() % 2));
      Job& job = queue.add(info);
      queue.count(job);
      queue.wait(job);
      counted.emplace(Queue::key(job), &job);
      waiting.emplace(Queue::key(job), &job);
    } else if (what < 7 && !waiting.empty()) {  // cancelled
      const auto it = any(waiting);
      Job& job = *it->second;
      counted.erase(it->first);
      waiting.erase(it);
      queue.unwait(job);
      queue.uncount(job);
      queue.forget(job);
    } else if (what < 9 && !queue.heads().empty()) {  // taken by the dispatcher
      Job& job = Queue::head(
          *std::next(queue.heads().begin(), static_cast<std::ptrdiff_t>(random() % queue.heads().size()))
               ->second);
      queue.unwait(job);
      waiting.erase(Queue::key(job));
      acquired.emplace(Queue::key(job), &job);
    } else if (!acquired.empty()) {  // back again, or on its way
      const auto it = any(acquired);
      Job& job = *it->second;
      if (random() % 2 == 0) {
        queue.wait(job);
        waiting.emplace(it->first, &job);
      } else {
        counted.erase(it->first);
        queue.uncount(job);
        queue.forget(job);
      }
      acquired.erase(it);
    }
    ASSERT_EQ(queue.counted(), static_cast<std::int64_t>(counted.size()));
    if (step % 20 != 0) continue;
    std::map<const Group*, Queue::Key> heads;
    for (const auto& [key, job] : waiting) heads.try_emplace(job->group, key);
    ASSERT_EQ(queue.heads().size(), heads.size());
    for (const auto& [key, group] : queue.heads()) ASSERT_EQ(heads.at(group), key) << "step " << step;
    if (step % 500 != 0) continue;
    std::int64_t position = 0;
    for (const auto& [key, job] : counted) ASSERT_EQ(queue.position(*job), ++position);
  }
}

}  // namespace
}  // namespace ebb::engine

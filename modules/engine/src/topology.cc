#include "topology.h"

#include <algorithm>
#include <optional>
#include <set>
#include <tuple>

namespace ebb::engine {
namespace {

constexpr std::int64_t kExactChoices = 5'000;

// Smaller is better.
using Score = std::tuple<std::int64_t, std::size_t, std::int64_t, std::int64_t>;

class Chooser {
 public:
  Chooser(const Machine& machine, const std::vector<int>& free) : machine_(machine), free_(free) {}

  [[nodiscard]] bool uniform() const {  // two free ones at least
    const int node = machine_.gpus[at(free_[0])].numa_node;
    const int usual = link(free_[0], free_[1]);
    for (std::size_t i = 0; i < free_.size(); ++i) {
      if (machine_.gpus[at(free_[i])].numa_node != node) return false;
      for (std::size_t j = i + 1; j < free_.size(); ++j)
        if (link(free_[i], free_[j]) != usual) return false;
    }
    return true;
  }

  [[nodiscard]] std::vector<int> exact(std::size_t count) const {
    std::vector<std::size_t> picks(count);
    for (std::size_t i = 0; i < count; ++i) picks[i] = i;
    std::optional<Score> best;
    std::vector<int> chosen;
    std::vector<int> set(count);
    for (;;) {
      for (std::size_t i = 0; i < count; ++i) set[i] = free_[picks[i]];
      if (Score score = score_of(set); !best || score < *best) {
        best = score;
        chosen = set;
      }
      // The next combination, in order: so the first of equals has the lowest numbers.
      std::size_t i = count;
      while (i > 0 && picks[i - 1] == free_.size() - count + i - 1) --i;
      if (i == 0) return chosen;
      ++picks[i - 1];
      for (; i < count; ++i) picks[i] = picks[i - 1] + 1;
    }
  }

  [[nodiscard]] std::vector<int> greedy(std::size_t count) const {
    std::optional<Score> best;
    std::vector<int> chosen;
    for (const int seed : free_) {
      std::vector<int> set{seed};
      while (set.size() < count) set.push_back(nearest(set));
      std::ranges::sort(set);
      if (Score score = score_of(set); !best || score < *best) {
        best = score;
        chosen = set;
      }
    }
    return chosen;
  }

 private:
  static std::size_t at(int position) { return static_cast<std::size_t>(position); }
  [[nodiscard]] int link(int a, int b) const {
    const auto& links = machine_.gpus[at(a)].links;
    return at(b) < links.size() ? links[at(b)] : 0;
  }
  [[nodiscard]] static bool has(const std::vector<int>& set, int gpu) {
    return std::ranges::find(set, gpu) != set.end();
  }

  [[nodiscard]] Score score_of(const std::vector<int>& set) const {
    std::int64_t inside = 0;
    std::int64_t cut = 0;
    std::set<int> nodes;
    for (std::size_t i = 0; i < set.size(); ++i) {
      nodes.insert(machine_.gpus[at(set[i])].numa_node);
      for (std::size_t j = i + 1; j < set.size(); ++j) inside += link(set[i], set[j]);
      for (const int other : free_)
        if (!has(set, other)) cut += link(set[i], other);
    }
    std::int64_t torn = 0;
    for (const int gpu : free_)
      if (!has(set, gpu) && nodes.contains(machine_.gpus[at(gpu)].numa_node)) ++torn;
    return {-inside, nodes.size(), cut, torn};
  }

  [[nodiscard]] int nearest(const std::vector<int>& set) const {
    std::optional<std::tuple<std::int64_t, bool>> best;
    int chosen = -1;
    for (const int gpu : free_) {
      if (has(set, gpu)) continue;
      std::int64_t links = 0;
      bool other_node = true;
      for (const int member : set) {
        links += link(member, gpu);
        if (machine_.gpus[at(member)].numa_node == machine_.gpus[at(gpu)].numa_node) other_node = false;
      }
      if (const std::tuple score(-links, other_node); !best || score < *best) {
        best = score;
        chosen = gpu;
      }
    }
    return chosen;
  }

  const Machine& machine_;
  const std::vector<int>& free_;
};

bool few_choices(std::size_t n, std::size_t k) {
  k = std::min(k, n - k);
  std::int64_t choices = 1;
  for (std::size_t i = 1; i <= k; ++i) {
    choices = choices * static_cast<std::int64_t>(n - k + i) / static_cast<std::int64_t>(i);
    if (choices > kExactChoices) return false;
  }
  return true;
}

}  // namespace

std::vector<int> choose_gpus(const Machine& machine, const std::vector<int>& free, int count) {
  const auto n = static_cast<std::size_t>(count);
  if (n == 0) return {};
  if (n >= free.size()) return free;
  const Chooser chooser(machine, free);
  // Declared GPUs, and boards with a switch between all of them: there is nothing to weigh.
  if (chooser.uniform()) return {free.begin(), free.begin() + count};
  return few_choices(free.size(), n) ? chooser.exact(n) : chooser.greedy(n);
}

}  // namespace ebb::engine

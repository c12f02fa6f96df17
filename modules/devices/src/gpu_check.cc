#include "ebb/devices/gpu_check.h"

#include <algorithm>

#include "numbers.h"

namespace ebb::devices {
namespace {

// What an idle GPU may have in use to be believed when its baseline is first taken. Idle ones show a few MiB,
// some hundred where the driver's own share is counted in; a process that we cannot see has more.
constexpr std::int64_t kMostIdleMib = 256;
constexpr std::int64_t kMostIdleWithReservedMib = 2048;

bool ignored(const GpuRules& rules, pid_t pid, const ProcessFacts& facts) {
  return std::any_of(rules.ignore.begin(), rules.ignore.end(), [&](const std::string& pattern) {
    if (const auto number = parse_number<pid_t>(pattern)) return *number == pid;
    return matches(pattern, facts.name);
  });
}

// The processes on the GPU, told apart.
struct Sorted {
  std::vector<pid_t> job;
  std::vector<pid_t> ended;  // gone, or a zombie: the driver is still taking its context down
  std::vector<model::OutsideUse> outside;
  std::int64_t job_mib = 0;
  std::int64_t outside_mib = 0;
  std::int64_t ignored_mib = 0;
};

Sorted sort(const GpuUsage& usage, const GpuRules& rules, const std::function<bool(pid_t)>& belongs_to_job,
            const std::function<ProcessFacts(pid_t)>& facts_of) {
  Sorted sorted;
  for (const GpuProcess& process : usage.processes) {
    const std::int64_t mib = process.mib.value_or(0);
    const ProcessFacts facts = facts_of(process.pid);
    // A pid that has ended may still be asked about, but it may also be a newer process's by now; either way
    // its memory is what counts, and the next look will tell.
    if (facts.life == ProcessFacts::Life::ended) {
      sorted.ended.push_back(process.pid);
    } else if (belongs_to_job && belongs_to_job(process.pid)) {
      sorted.job.push_back(process.pid);
      sorted.job_mib += mib;
    } else if (ignored(rules, process.pid, facts)) {
      sorted.ignored_mib += mib;
    } else {
      sorted.outside.push_back({.pid = process.pid, .user = facts.user, .mib = mib});
      sorted.outside_mib += mib;
    }
  }
  return sorted;
}

std::string memory_text(const GpuVerdict& verdict) {
  return std::to_string(verdict.used_mib) + " MiB used, " +
         (verdict.baseline_mib ? "baseline " + std::to_string(*verdict.baseline_mib) : "no baseline yet");
}

std::string list_pids(const std::vector<pid_t>& pids) {
  std::string text;
  for (std::size_t i = 0; i < pids.size() && i < 8; ++i)
    text += (i == 0 ? "" : " ") + std::to_string(pids[i]);
  return pids.size() > 8 ? text + " …" : text;
}

std::string count_of(std::size_t count, const std::string& what) {
  return std::to_string(count) + (count == 1 ? " process" : " processes") + what;
}

class Judge {
 public:
  Judge(const GpuUsage& usage, CheckPurpose purpose, const GpuRules& rules, BaselineTable& baselines)
      : usage_(usage), purpose_(purpose), rules_(rules), baselines_(baselines) {
    verdict_.used_mib = usage.used_mib;
  }

  // Outside the initial PID namespace the pids that NVML tells are not ours: memory alone decides.
  GpuVerdict by_memory() {
    take_baseline(usage_.used_mib);
    const std::string suffix = "; pids not compared: not in the initial PID namespace";
    if (at_baseline(usage_.used_mib)) return conclude(GpuVerdict::Kind::free, memory_text(verdict_) + suffix);
    return too_much(usage_.used_mib, suffix);
  }

  GpuVerdict by_processes(Sorted sorted) {
    // What an ignored process has does not count, neither now nor in the baseline.
    const std::int64_t counted = std::max<std::int64_t>(0, usage_.used_mib - sorted.ignored_mib);
    if (sorted.job.empty() && sorted.ended.empty() && sorted.outside.empty()) {
      take_baseline(counted);
    } else {
      verdict_.baseline_mib = baselines_.find(usage_.uuid, usage_.driver);
    }
    if (!sorted.job.empty() || (!sorted.ended.empty() && purpose_ == CheckPurpose::at_release)) {
      return still_the_job(std::move(sorted));
    }
    if (!sorted.outside.empty()) return others(std::move(sorted));
    if (!sorted.ended.empty()) {
      return conclude(GpuVerdict::Kind::outside, count_of(sorted.ended.size(), " that ended (pid ") +
                                                     list_pids(sorted.ended) + ") still listed, " +
                                                     memory_text(verdict_));
    }
    if (!at_baseline(counted)) return too_much(counted, {});
    return conclude(GpuVerdict::Kind::free, nobody() + memory_text(verdict_));
  }

 private:
  void take_baseline(std::int64_t counted) {
    const std::int64_t most = usage_.includes_reserved ? kMostIdleWithReservedMib : kMostIdleMib;
    if (counted <= most) {
      verdict_.baseline_changed = baselines_.observe(usage_.uuid, usage_.driver, counted);
    }
    verdict_.baseline_mib = baselines_.find(usage_.uuid, usage_.driver);
  }

  bool at_baseline(std::int64_t counted) const {
    return verdict_.baseline_mib && counted <= *verdict_.baseline_mib + rules_.free_memory_mib;
  }

  std::string nobody() const {
    return purpose_ == CheckPurpose::at_release ? "0 processes of the job, " : "0 processes, ";
  }

  GpuVerdict too_much(std::int64_t counted, const std::string& suffix) {
    const std::int64_t over = counted - verdict_.baseline_mib.value_or(0);
    const std::string text = nobody() + memory_text(verdict_) + ": " + std::to_string(over) +
                             " MiB are held by no visible process";
    return conclude(
        purpose_ == CheckPurpose::at_release ? GpuVerdict::Kind::by_job : GpuVerdict::Kind::outside,
        (suffix.empty() ? text : memory_text(verdict_)) + suffix);
  }

  GpuVerdict still_the_job(Sorted sorted) {
    std::string text = count_of(sorted.job.size(), " of the job");
    if (!sorted.job.empty()) {
      text += " (pid " + list_pids(sorted.job) + ", " + std::to_string(sorted.job_mib) + " MiB)";
    }
    if (!sorted.ended.empty()) {
      text += ", " + count_of(sorted.ended.size(), " that ended (pid ") + list_pids(sorted.ended) +
              ") still listed";
    }
    verdict_.pids = std::move(sorted.job);
    return conclude(GpuVerdict::Kind::by_job, text + ", " + memory_text(verdict_));
  }

  GpuVerdict others(Sorted sorted) {
    std::string text = nobody();
    if (purpose_ == CheckPurpose::before_lease) text.clear();
    text += memory_text(verdict_) + "; " + count_of(sorted.outside.size(), " from outside with ") +
            std::to_string(sorted.outside_mib) + " MiB (pid ";
    std::vector<pid_t> pids;
    for (const auto& use : sorted.outside) pids.push_back(use.pid);
    text += list_pids(pids) + ")";
    verdict_.outside = std::move(sorted.outside);
    return conclude(GpuVerdict::Kind::outside, text);
  }

  GpuVerdict conclude(GpuVerdict::Kind kind, const std::string& text) {
    verdict_.kind = kind;
    verdict_.text = "nvml: " + text;
    return std::move(verdict_);
  }

  const GpuUsage& usage_;
  CheckPurpose purpose_;
  const GpuRules& rules_;
  BaselineTable& baselines_;
  GpuVerdict verdict_;
};

}  // namespace

bool matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;  // the last '*', and where its match began
  std::size_t from = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      from = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++from;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

GpuVerdict judge(const GpuUsage& usage, CheckPurpose purpose, const GpuRules& rules, BaselineTable& baselines,
                 const std::function<bool(pid_t)>& belongs_to_job,
                 const std::function<ProcessFacts(pid_t)>& facts) {
  Judge judge(usage, purpose, rules, baselines);
  if (!rules.compare_pids) return judge.by_memory();
  return judge.by_processes(sort(usage, rules, belongs_to_job, facts ? facts : process_facts));
}

GpuVerdict unknown(const Error& error) {
  GpuVerdict verdict;
  verdict.text = "nvml: " + error.message;
  return verdict;
}

GpuVerdict declared_free() {
  GpuVerdict verdict;
  verdict.kind = GpuVerdict::Kind::free;
  verdict.text = "declared: lock";
  return verdict;
}

}  // namespace ebb::devices

#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string_view>

#include "ebb/base/units.h"
#include "ebb/lifecycle/blocking.h"
#include "thread_name.h"

namespace ebb::flow {
namespace {

constexpr Duration kPeriod = std::chrono::milliseconds(500);
constexpr std::string_view kErase = "\r\x1b[K";

bool env_says_so() {
  const char* value = std::getenv("EBB_PROGRESS");
  return value != nullptr && std::string_view(value) == "1";
}

void put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0) return;  // nobody reads it
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// What came in at the sources and arrived at the sinks.
std::pair<std::uint64_t, std::uint64_t> in_and_out(const PipelineReport& report) {
  std::set<std::string_view> fed, feeding;
  for (const EdgeReport& edge : report.edges) {
    feeding.insert(edge.from);
    fed.insert(edge.to);
  }
  std::uint64_t in = 0, out = 0;
  for (const OperatorReport& op : report.operators) {
    if (!fed.contains(op.name)) in += op.in;
    if (!feeding.contains(op.name)) out += op.in;
  }
  return {in, out};
}

double busy_share(const StageReport& stage) {
  const Duration all = stage.busy + stage.blocked + stage.waiting;
  return all <= Duration::zero() ? 0
                                 : static_cast<double>(stage.busy.count()) / static_cast<double>(all.count());
}

}  // namespace

std::unique_ptr<ProgressThread> ProgressThread::make(const SubmitOptions& options, Ask ask) {
  const Progress& wanted = options.progress;
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto made = [&](Style style, Duration period) {
    return std::unique_ptr<ProgressThread>(new ProgressThread(style, period, options, std::move(ask)));
  };
  if (wanted.callback) return made(Style::callback, kPeriod);
  if (!wanted.shown.value_or(env_says_so() && terminal)) return nullptr;
  return terminal ? made(Style::in_place, kPeriod) : made(Style::lines, options.watchdog);
}

ProgressThread::ProgressThread(Style style, Duration period, const SubmitOptions& options, Ask ask)
    : style_(style),
      period_(period),
      callback_(options.progress.callback),
      ask_(std::move(ask)),
      thread_([this] {
        name_thread("ebb-progress");
        work();
      }) {}

ProgressThread::~ProgressThread() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    news_.notify_all();
  }
  thread_.join();
  if (style_ == Style::in_place) put(kErase);
}

void ProgressThread::work() {
  std::unique_lock lock(mutex_);
  while (!news_.wait_for(lock, period_, [this] { return ends_; })) {
    lock.unlock();
    const PipelineReport report = ask_();
    if (style_ == Style::callback) call(report);
    lock.lock();
    if (!ends_ && style_ != Style::callback) tell(report);
  }
}

void ProgressThread::call(const PipelineReport& report) {
  try {
    callback_(report);
  } catch (...) {
    say("ebb: progress of pipeline '" + report.name + "': " + lifecycle::text_of(std::current_exception()));
  }
}

// Under the mutex, for the sake of say().
void ProgressThread::tell(const PipelineReport& report) {
  const auto [in, out] = in_and_out(report);
  const double seconds = std::chrono::duration<double>(report.took - took_).count();
  std::string line =
      fmt::format("ebb: {} {}: {} in ({:.0f}/s), {} out", report.name, format_duration(report.took), in,
                  seconds > 0 ? static_cast<double>(in - before_) / seconds : 0.0, out);
  before_ = in;
  took_ = report.took;
  const auto busiest = std::max_element(
      report.stages.begin(), report.stages.end(),
      [](const StageReport& a, const StageReport& b) { return busy_share(a) < busy_share(b); });
  if (busiest != report.stages.end()) {
    line += fmt::format(", '{}' {:.0f} % busy", busiest->operators.front(), 100 * busy_share(*busiest));
  }
  const auto up = std::count_if(report.services.begin(), report.services.end(),
                                [](const ServiceReport& service) { return service.running; });
  if (!report.services.empty()) line += fmt::format(", {} of {} services up", up, report.services.size());
  if (style_ == Style::lines) return put(line + '\n');
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) {
    line.resize(std::min<std::size_t>(line.size(), size.ws_col - 1));  // a longer one would wrap
  }
  put(std::string(kErase) + line);
}

void ProgressThread::say(const std::string& line) {
  const std::lock_guard lock(mutex_);
  put((style_ == Style::in_place ? std::string(kErase) : std::string()) + line + '\n');
}

}  // namespace ebb::flow

#include "ebb/model/report.h"

#include <algorithm>
#include <cmath>

#include "ebb/base/text.h"
#include "ebb/base/units.h"
#include "ebb/model/json.h"

namespace ebb::model {
namespace {

constexpr std::string_view kBetween = " · ";

Duration from_ms(double ms) { return Duration(std::llround(std::clamp(ms, 0.0, 1e12) * 1e3)); }

// From the moment when the end was asked for; where nobody asked, all releases one after another.
Duration took(const Report& report) {
  if (report.stop_requested_at && *report.stop_requested_at <= report.released_at) {
    return report.released_at - *report.stop_requested_at;
  }
  double sum = 0;
  for (const ReleaseRecord& release : report.releases) sum += release.took_ms;
  return from_ms(sum);
}

// Tenths of a millisecond tell a person nothing once there are ten of them.
Duration rounded(Duration duration) {
  using std::chrono::milliseconds;
  return duration < milliseconds(10) ? duration : std::chrono::round<milliseconds>(duration);
}

std::string counted(std::int64_t count, std::string_view one, std::string_view many) {
  return std::to_string(count) + " " + std::string(count == 1 ? one : many);
}

std::string outside_text(const ReleaseRecord& release) {
  std::string text = "GPU " + printable(release.target) + " is used from outside by";
  const char* before = " ";
  for (const OutsideUse& use : *release.outside) {
    text += before + printable(use.user) + "'s process " + std::to_string(use.pid) + " (" +
            std::to_string(use.mib) + " MiB)";
    before = ", ";
  }
  return text;
}

// "GPU 0 1 verified free": devices of one kind share a phrase.
std::string joined(const std::vector<const ReleaseRecord*>& all, std::string_view before,
                   std::string_view after) {
  std::string text(before);
  for (const ReleaseRecord* release : all) text += " " + printable(release->target);
  return text + " " + std::string(after);
}

// What to say of the things of one kind that came free; empty where that would be noise.
std::string released_text(ReleaseKind kind, const std::vector<const ReleaseRecord*>& all) {
  std::int64_t count = 0;
  for (const ReleaseRecord* release : all) count += release->count.value_or(0);
  switch (kind) {
    case ReleaseKind::processes:
      return count == 0 ? "no process left" : counted(count, "process ended", "processes ended");
    case ReleaseKind::gpu:
      return joined(all, "GPU", "verified free");
    case ReleaseKind::port:
      return joined(all, all.size() == 1 ? "port" : "ports", "free");
    case ReleaseKind::ipc:
      return count == 0 ? "" : counted(count, "IPC object removed", "IPC objects removed");
    case ReleaseKind::ray:
      return count == 0 ? "" : counted(count, "Ray actor ended", "Ray actors ended");
    case ReleaseKind::mount:
      return count == 0 ? "" : counted(count, "mount removed", "mounts removed");
    case ReleaseKind::scratch:
      return "scratch removed";
    case ReleaseKind::service:
      return joined(all, all.size() == 1 ? "service" : "services", "stopped");
    case ReleaseKind::sidecar:
      return joined(all, all.size() == 1 ? "sidecar" : "sidecars", "stopped");
  }
  return {};
}

std::string thing(const ReleaseRecord& release) {
  switch (release.kind) {
    case ReleaseKind::gpu:
      return "GPU " + printable(release.target);
    case ReleaseKind::processes:
      return release.count ? counted(*release.count, "process", "processes") : "processes";
    default:
      return std::string(name_of(release.kind)) + " " + printable(release.target);
  }
}

// "NOT RELEASED, quarantined: GPU 1 (pid 77 still uses it)"
void append_trouble(std::vector<std::string>& parts, const Report& report, Outcome outcome,
                    std::string_view headline) {
  std::string text;
  for (const ReleaseRecord& release : report.releases) {
    if (release.outcome != outcome) continue;
    text += text.empty() ? std::string(headline) + " " : ", ";
    text += thing(release);
    if (release.error) text += " (" + printable(*release.error) + ")";
  }
  if (!text.empty()) parts.push_back(std::move(text));
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += kBetween;
    text += part;
  }
  return text;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

// A bar from `begin` to `end`, both as shares of the whole, at least one cell wide.
std::string bar(double begin, double end) {
  constexpr std::size_t kCells = 20;
  const auto cell = [](double share) {
    return static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * double(kCells));
  };
  const std::size_t first = std::min(cell(begin), kCells - 1);
  const std::size_t last =
      std::max(first + 1, static_cast<std::size_t>(std::ceil(std::clamp(end, 0.0, 1.0) * double(kCells))));
  std::string text(first, ' ');
  for (std::size_t i = first; i < last; ++i) text += "█";
  text.append(kCells - last, ' ');
  return text;
}

}  // namespace

std::string one_line(const Report& report) {
  std::vector<std::string> trouble;
  append_trouble(trouble, report, Outcome::quarantined, "NOT RELEASED, quarantined:");
  append_trouble(trouble, report, Outcome::failed, "FAILED:");
  std::vector<std::string> parts;
  for (const ReleaseKind kind :
       {ReleaseKind::processes, ReleaseKind::ray, ReleaseKind::service, ReleaseKind::sidecar,
        ReleaseKind::gpu, ReleaseKind::port, ReleaseKind::ipc, ReleaseKind::mount, ReleaseKind::scratch}) {
    std::vector<const ReleaseRecord*> free, used;
    for (const ReleaseRecord& release : report.releases) {
      if (release.kind != kind || release.outcome != Outcome::released) continue;
      (release.outside && !release.outside->empty() ? used : free).push_back(&release);
    }
    if (!free.empty()) {
      if (std::string text = released_text(kind, free); !text.empty()) parts.push_back(std::move(text));
    }
    for (const ReleaseRecord* release : used) parts.push_back(outside_text(*release));
  }
  if (report.releases.empty()) return "ended before it started: it held nothing";
  std::string text = join(trouble);
  if (!parts.empty()) {
    if (!text.empty()) text += kBetween;
    text += "released in " + format_duration(rounded(took(report))) + ": " + join(parts);
  } else if (trouble.empty()) {
    text = "released in " + format_duration(rounded(took(report)));
  }
  return text;
}

std::string waterfall(const Report& report) {
  std::string text = one_line(report) + "\n";
  double whole = 0;
  std::size_t widest = 0;
  for (const ReleaseRecord& release : report.releases) {
    whole += release.took_ms;
    widest = std::max(widest, thing(release).size());
  }
  double begin = 0;
  for (const ReleaseRecord& release : report.releases) {
    const double end = begin + release.took_ms;
    text += "  " + padded(thing(release), widest) + " |" +
            (whole > 0 ? bar(begin / whole, end / whole) : bar(0, 0)) + "| " +
            padded(format_duration(from_ms(release.took_ms)), 8) + " " +
            std::string(name_of(release.outcome));
    if (release.action) text += ", " + printable(*release.action);
    if (release.verified_by) text += "; verified by " + printable(*release.verified_by);
    if (release.error) text += "; " + printable(*release.error);
    text += "\n";
    begin = end;
  }
  return text;
}

}  // namespace ebb::model

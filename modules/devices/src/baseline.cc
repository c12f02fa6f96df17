#include "ebb/base/text.h"
#include "ebb/devices/gpu_check.h"
#include "errors.h"
#include "numbers.h"

namespace ebb::devices {
namespace {

constexpr std::string_view kHeader = "ebb-baselines 1\n";

bool is_plain(std::string_view text) {
  return !text.empty() && text.size() <= 128 && text.find_first_of("\t\n") == std::string_view::npos;
}

}  // namespace

std::optional<std::int64_t> BaselineTable::find(const std::string& uuid, const std::string& driver) const {
  const auto found = mib_.find({uuid, driver});
  return found == mib_.end() ? std::nullopt : std::optional(found->second);
}

bool BaselineTable::observe(const std::string& uuid, const std::string& driver, std::int64_t mib) {
  const auto found = mib_.find({uuid, driver});
  if (found != mib_.end()) {
    if (mib >= found->second) return false;
    found->second = mib;
    return true;
  }
  if (mib_.size() >= kMaxEntries || mib < 0 || !is_plain(uuid) || !is_plain(driver)) return false;
  mib_.emplace(std::pair(uuid, driver), mib);
  return true;
}

std::string BaselineTable::write() const {
  std::string out(kHeader);
  for (const auto& [key, mib] : mib_) {
    out += key.first + '\t' + key.second + '\t' + std::to_string(mib) + '\n';
  }
  return out;
}

Result<BaselineTable> BaselineTable::parse(std::string_view text) {
  const auto wrong = [](std::string_view what) {
    return fail(Errc::corrupt, "the table of GPU baselines does not read: " + printable(what.substr(0, 80)));
  };
  if (!text.starts_with(kHeader)) return wrong("no 'ebb-baselines 1' at its beginning");
  text.remove_prefix(kHeader.size());
  BaselineTable table;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (end == std::string_view::npos) return wrong(line);
    text.remove_prefix(end + 1);
    const auto fields = split(line, '\t');
    const auto mib = fields.size() == 3 ? parse_number<std::int64_t>(fields[2]) : std::nullopt;
    if (!mib || !table.observe(std::string(fields[0]), std::string(fields[1]), *mib)) return wrong(line);
  }
  return table;
}

}  // namespace ebb::devices

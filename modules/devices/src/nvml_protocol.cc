#include "ebb/devices/nvml_protocol.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "ebb/base/text.h"
#include "errors.h"
#include "numbers.h"

namespace ebb::devices::nvml {
namespace {

constexpr std::string_view kGreeting = "ebb-nvml 1 ";
constexpr std::string_view kEnd = "end\n";

// The driver's strings must not end a field or a line.
std::string field(std::string_view text) {
  std::string safe = printable(text);
  std::replace(safe.begin(), safe.end(), '\n', ' ');
  std::replace(safe.begin(), safe.end(), '\t', ' ');
  return safe;
}

void append_gpu(std::string& out, const Gpu& gpu) {
  out += gpu.kind == GpuKind::mig ? "mig" : "gpu";
  for (const std::string& part :
       {std::to_string(gpu.id), field(gpu.uuid), field(gpu.name), field(gpu.pci),
        std::to_string(gpu.memory_mib), std::to_string(gpu.numa_node), std::to_string(gpu.minor),
        field(gpu.refused), std::to_string(gpu.parent)}) {
    out += '\t';
    out += part;
  }
  out += '\n';
}

void append(std::string& out, const NvmlList& list) {
  out += "driver\t" + field(list.driver) + '\n';
  for (const Gpu& gpu : list.gpus) append_gpu(out, gpu);
  for (std::size_t a = 0; a < list.closeness.size(); ++a) {
    for (std::size_t b = a + 1; b < list.closeness[a].size(); ++b) {
      const int near = list.closeness[a][b];
      if (near == 0) continue;
      out += "near\t" + std::to_string(a) + '\t' + std::to_string(b) + '\t' + std::to_string(near) + '\n';
    }
  }
}

void append(std::string& out, const GpuUsage& usage) {
  out += "usage\t" + field(usage.uuid) + '\t' + field(usage.driver) + '\n';
  out += "memory\t" + std::to_string(usage.used_mib) + '\t' + std::to_string(usage.total_mib) + '\t' +
         (usage.includes_reserved ? "1" : "0") + '\n';
  for (const GpuProcess& process : usage.processes) {
    out += "process\t" + std::to_string(process.pid) + '\t' +
           (process.mib ? std::to_string(*process.mib) : "-") + '\n';
  }
}

using Fields = std::vector<std::string_view>;

Error corrupt(std::string_view line) {
  return fail(Errc::corrupt, "ebb-nvml answered what this daemon does not understand (\"" +
                                 printable(line.substr(0, 80)) +
                                 "\"); reinstall Ebb, its programs are of "
                                 "different versions");
}

bool read_gpu(const Fields& fields, NvmlList& list) {
  if (fields.size() != 10 || list.gpus.size() >= kMaxGpus) return false;
  const auto id = parse_number<int>(fields[1]);
  const auto memory = parse_number<std::int64_t>(fields[5]);
  const auto numa = parse_number<int>(fields[6]);
  const auto minor = parse_number<int>(fields[7]);
  const auto parent = parse_number<int>(fields[9]);
  if (!id || *id < 0 || !memory || !numa || !minor || !parent) return false;
  Gpu gpu;
  gpu.id = *id;
  gpu.kind = fields[0] == "mig" ? GpuKind::mig : GpuKind::physical;
  gpu.uuid = fields[2];
  gpu.name = fields[3];
  gpu.pci = fields[4];
  gpu.memory_mib = *memory;
  gpu.numa_node = *numa;
  gpu.minor = *minor;
  gpu.refused = fields[8];
  gpu.parent = *parent;
  list.gpus.push_back(std::move(gpu));
  return true;
}

bool read_near(const Fields& fields, NvmlList& list) {
  if (fields.size() != 4) return false;
  const auto a = parse_number<std::size_t>(fields[1]);
  const auto b = parse_number<std::size_t>(fields[2]);
  const auto near = parse_number<int>(fields[3]);
  const std::size_t count = list.gpus.size();
  if (!a || !b || !near || *a >= count || *b >= count || *a == *b || *near < 0) return false;
  list.closeness.resize(count);
  for (auto& row : list.closeness) row.resize(count);
  list.closeness[*a][*b] = list.closeness[*b][*a] = *near;
  return true;
}

bool read_list(const Fields& fields, NvmlList& list) {
  if (fields[0] == "gpu" || fields[0] == "mig") return list.closeness.empty() && read_gpu(fields, list);
  return fields[0] == "near" && read_near(fields, list);
}

bool read_usage(const Fields& fields, GpuUsage& usage) {
  if (fields[0] == "memory" && fields.size() == 4) {
    const auto used = parse_number<std::int64_t>(fields[1]);
    const auto total = parse_number<std::int64_t>(fields[2]);
    if (!used || !total || *used < 0 || *total < 0 || (fields[3] != "0" && fields[3] != "1")) return false;
    usage.used_mib = *used;
    usage.total_mib = *total;
    usage.includes_reserved = fields[3] == "1";
    return true;
  }
  if (fields[0] != "process" || fields.size() != 3) return false;
  const auto pid = parse_number<pid_t>(fields[1]);
  const auto mib = parse_number<std::int64_t>(fields[2]);
  if (!pid || *pid < 0 || (fields[2] != "-" && (!mib || *mib < 0))) return false;
  usage.processes.push_back({.pid = *pid, .mib = mib});
  return true;
}

// The lines between the first and the last.
Result<Payload> read_records(std::string_view text) {
  std::optional<Payload> payload;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    const Fields fields = split(line, '\t');
    bool understood = false;
    if (!payload) {
      if (fields[0] == "driver" && fields.size() == 2) {
        payload = NvmlList{.driver = std::string(fields[1]), .gpus = {}, .closeness = {}};
        understood = true;
      } else if (fields[0] == "usage" && fields.size() == 3) {
        GpuUsage usage;
        usage.uuid = fields[1];
        usage.driver = fields[2];
        payload = std::move(usage);
        understood = true;
      }
    } else if (auto* list = std::get_if<NvmlList>(&*payload)) {
      understood = read_list(fields, *list);
    } else {
      understood = read_usage(fields, std::get<GpuUsage>(*payload));
    }
    if (!understood) return corrupt(line);
  }
  if (!payload) return corrupt("nothing");
  if (auto* list = std::get_if<NvmlList>(&*payload)) {
    list->closeness.resize(list->gpus.size());
    for (auto& row : list->closeness) row.resize(list->gpus.size());
  }
  return std::move(*payload);
}

}  // namespace

std::string write_request(const Request& request) {
  return std::to_string(request.id) + (request.uuid.empty() ? " list\n" : " usage " + request.uuid + "\n");
}

Result<Request> parse_request(std::string_view line) {
  const auto parts = split(line, ' ');
  const auto id = parse_number<std::uint64_t>(parts[0]);
  if (id && parts.size() == 2 && parts[1] == "list") return Request{.id = *id, .uuid = {}};
  if (id && parts.size() == 3 && parts[1] == "usage" && !parts[2].empty() && parts[2].size() <= 128 &&
      std::all_of(parts[2].begin(), parts[2].end(),
                  [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '/'; })) {
    return Request{.id = *id, .uuid = std::string(parts[2])};
  }
  return fail(Errc::invalid, "no request: \"" + printable(line.substr(0, 80)) + "\"");
}

std::string write_answer(std::uint64_t id, const Payload& payload) {
  std::string out = std::string(kGreeting) + std::to_string(id) + " ok\n";
  std::visit([&](const auto& value) { append(out, value); }, payload);
  out += kEnd;
  return out;
}

std::string write_error(std::uint64_t id, const Error& error) {
  return std::string(kGreeting) + std::to_string(id) + " error " +
         std::to_string(static_cast<int>(error.code)) + ' ' + field(error.message) + '\n';
}

bool is_complete(std::string_view text) {
  if (!text.ends_with('\n')) return false;
  const std::string_view first = text.substr(0, text.find('\n'));
  // An answer that begins wrongly is complete as it is: parse_answer() says so at once.
  return !first.ends_with(" ok") || text.ends_with("\nend\n");
}

Result<Answer> parse_answer(std::string_view text) {
  const std::size_t length = text.find('\n');
  const std::string_view first = text.substr(0, length);
  if (length == std::string_view::npos || !first.starts_with(kGreeting) || !is_complete(text)) {
    return corrupt(first);
  }
  const std::string_view rest = first.substr(kGreeting.size());
  const std::size_t space = rest.find(' ');
  const auto id = parse_number<std::uint64_t>(rest.substr(0, space));
  if (!id || space == std::string_view::npos) return corrupt(first);
  const std::string_view kind = rest.substr(space + 1);
  std::string_view body = text.substr(length + 1);
  if (kind == "ok") {
    body.remove_suffix(kEnd.size());
    auto payload = read_records(body);
    if (!payload) return std::move(payload).error();
    return Answer{.id = *id, .payload = std::move(payload)};
  }
  if (!kind.starts_with("error ") || !body.empty()) return corrupt(first);
  const std::string_view error = kind.substr(6);
  const std::size_t gap = error.find(' ');
  const auto code = parse_number<int>(error.substr(0, gap));
  if (gap == std::string_view::npos || !code || *code < 0 || *code > static_cast<int>(Errc::internal)) {
    return corrupt(first);
  }
  return Answer{.id = *id, .payload = fail(static_cast<Errc>(*code), std::string(error.substr(gap + 1)))};
}

}  // namespace ebb::devices::nvml

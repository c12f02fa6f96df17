#include "ebb/process/end_record.h"

#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "ebb/base/files.h"

namespace ebb::process {

Moment moment_now() noexcept { return {.boot = system_clock().boot(), .wall = system_clock().wall()}; }

std::string_view end_cause_text(EndCause cause) {
  switch (cause) {
    case EndCause::leader_exit:
      return "the leader ended";
    case EndCause::start_failure:
      return "the command could not be started";
    case EndCause::stop:
      return "stopped by the daemon";
    case EndCause::time_limit:
      return "the time limit passed";
    case EndCause::daemon_gone:
      return "no daemon answered in time";
    case EndCause::owner_gone:
      return "the owner's process ended";
    case EndCause::keeper_ended:
      return "the keeper was told to end by SIGTERM";
  }
  return "unknown";
}

std::string encode(const EndRecord& record) {
  WireWriter out;
  out.number(EndRecord::kVersion);
  out.bytes(record.label);
  out.bytes(record.boot_id);
  out.number(static_cast<std::uint64_t>(record.cause));
  out.optional(record.start_failure, [&](const StartFailure& failure) {
    out.signed_number(failure.exit_code);
    out.bytes(failure.message);
  });
  out.optional(record.wait_status, [&](int status) { out.signed_number(status); });
  out.bytes(record.stop_reason);
  put_optional(out, record.started);
  put_optional(out, record.stop_requested);
  put_optional(out, record.leader_exited);
  put_optional(out, record.ended);
  out.boolean(record.oom);
  out.number(record.processes);
  out.number(record.survivors.size());
  for (const Survivor& survivor : record.survivors) {
    out.signed_number(survivor.pid);
    out.bytes(survivor.comm);
  }
  out.boolean(record.complete);
  out.bytes(record.tier);
  out.bytes(record.action);
  out.bytes(record.verified_by);
  out.number(record.log_bytes);
  out.number(record.log_dropped);
  return out.take();
}

Result<EndRecord> parse_end_record(std::string_view data) {
  WireReader in(data);
  const std::uint64_t version = in.number();
  if (in.ok() && version != EndRecord::kVersion) {
    return wire_error(Errc::conflict, "end record of version " + std::to_string(version) +
                                          "; this program reads " + std::to_string(EndRecord::kVersion));
  }
  EndRecord record;
  record.label = in.bytes(EndRecord::kMaxText);
  record.boot_id = in.bytes(64);
  record.cause = static_cast<EndCause>(in.number(static_cast<std::uint64_t>(EndCause::keeper_ended)));
  record.start_failure = in.optional([&] {
    const int code = in.small_number();
    return StartFailure{.exit_code = code, .message = std::string(in.bytes(EndRecord::kMaxText))};
  });
  record.wait_status = in.optional([&] { return in.small_number(); });
  record.stop_reason = in.bytes(EndRecord::kMaxReason);
  record.started = get_optional_moment(in);
  record.stop_requested = get_optional_moment(in);
  record.leader_exited = get_optional_moment(in);
  record.ended = get_optional_moment(in);
  record.oom = in.boolean();
  record.processes = in.number();
  const std::size_t survivors = in.count(EndRecord::kMaxSurvivors);
  for (std::size_t i = 0; i < survivors; ++i) {
    const pid_t pid = in.small_number();
    record.survivors.push_back({.pid = pid, .comm = std::string(in.bytes(256))});
  }
  record.complete = in.boolean();
  record.tier = in.bytes(EndRecord::kMaxText);
  record.action = in.bytes(EndRecord::kMaxText);
  record.verified_by = in.bytes(EndRecord::kMaxText);
  record.log_bytes = in.number();
  record.log_dropped = in.number();
  if (!in.complete()) return wire_error(Errc::corrupt, "an end record is cut off or damaged");
  return record;
}

Result<EndRecord> read_end_record(const std::string& attempt_dir) {
  const std::string path = attempt_dir + "/end";
  if (::access(path.c_str(), F_OK) != 0) return wire_error(Errc::not_found, "no end record at " + path);
  auto data = read_file(path, 1 << 20);
  if (!data) return std::move(data).error();
  auto record = parse_end_record(*data);
  if (!record) return wire_error(record.error().code, path + ": " + record.error().message);
  return record;
}

}  // namespace ebb::process

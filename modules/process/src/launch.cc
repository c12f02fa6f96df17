#include "ebb/process/launch.h"

#include "codec.h"

namespace ebb::process {
namespace {

constexpr std::uint64_t kMaxPath = 64 << 10;

void put(WireWriter& out, const Limit& limit) {
  out.number(limit.value);
  out.number(static_cast<std::uint64_t>(limit.mechanism));
  out.bytes(limit.cgroup1);
}

Limit get_limit(WireReader& in) {
  Limit limit;
  limit.value = in.number();
  limit.mechanism =
      static_cast<LimitMechanism>(in.number(static_cast<std::uint64_t>(LimitMechanism::pid_max)));
  limit.cgroup1 = in.bytes(kMaxPath);
  return limit;
}

void put(WireWriter& out, const Identity& identity) {
  out.number(identity.uid);
  out.number(identity.gid);
  out.number(identity.groups.size());
  for (const gid_t group : identity.groups) out.number(group);
}

Identity get_identity(WireReader& in) {
  Identity identity;
  identity.uid = static_cast<uid_t>(in.number(UINT32_MAX));
  identity.gid = static_cast<gid_t>(in.number(UINT32_MAX));
  const std::size_t count = in.count(LaunchSpec::kMaxGroups);
  for (std::size_t i = 0; i < count; ++i)
    identity.groups.push_back(static_cast<gid_t>(in.number(UINT32_MAX)));
  return identity;
}

Error refuse(std::string message) { return wire_error(Errc::invalid, std::move(message)); }

bool absolute(std::string_view path) {
  return path.starts_with('/') && path.find('\0') == std::string_view::npos && path.size() <= kMaxPath;
}

Result<void> check_limit(const Limit& limit, const LaunchSpec& spec, std::string_view what) {
  if (limit.value == 0) return {};
  switch (limit.mechanism) {
    case LimitMechanism::none:
      return refuse(std::string(what) + " limit without a mechanism");
    case LimitMechanism::cgroup2:
      if (!spec.tiers.cgroup) return refuse(std::string(what) + " limit by cgroup v2, but without a cgroup");
      return {};
    case LimitMechanism::cgroup1:
      if (!absolute(limit.cgroup1)) return refuse(std::string(what) + " limit by cgroup v1 without its path");
      return {};
    case LimitMechanism::pid_max:
      if (!spec.tiers.pidns) return refuse(std::string(what) + " limit by pid_max without a PID namespace");
      return {};
  }
  return refuse(std::string(what) + " limit by an unknown mechanism");
}

}  // namespace

std::string tier_text(Tiers tiers) {
  std::string text;
  const auto add = [&](bool on, std::string_view name) {
    if (!on) return;
    if (!text.empty()) text += '+';
    text += name;
  };
  add(tiers.cgroup, "cgroup");
  add(tiers.pidns, "pidns");
  add(tiers.subreaper, "subreaper");
  return text;
}

std::string encode(const LaunchSpec& spec) {
  WireWriter out;
  out.number(LaunchSpec::kVersion);
  out.bytes(spec.label);
  put(out, spec.argv);
  put(out, spec.env);
  out.bytes(spec.workdir);
  out.optional(spec.identity, [&](const Identity& identity) { put(out, identity); });
  out.number(spec.umask);
  out.number(spec.rlimits.size());
  for (const ResourceLimit& limit : spec.rlimits) {
    out.signed_number(limit.resource);
    out.number(limit.soft);
  }
  out.signed_number(spec.nice);
  out.signed_number(spec.oom_score_adj);
  out.bytes(spec.attempt_dir);
  out.bytes(spec.log_dir);
  out.number(spec.log_limit_bytes);
  out.boolean(spec.tiers.cgroup);
  out.boolean(spec.tiers.pidns);
  out.boolean(spec.tiers.subreaper);
  out.boolean(spec.user_namespace);
  out.bytes(spec.cgroup);
  out.bytes(spec.cgroup_root);
  put(out, spec.memory);
  put(out, spec.processes);
  out.boolean(spec.share_ipc);
  put(out, spec.hide);
  put(out, spec.reachable);
  put(out, spec.mask_devices);
  put_optional(out, spec.time_limit);
  put(out, spec.grace);
  put(out, spec.kill_timeout);
  put_optional(out, spec.daemon_gone);
  out.boolean(spec.wait_for_ack);
  return out.take();
}

Result<LaunchSpec> parse_launch_spec(std::string_view data) {
  WireReader in(data);
  const std::uint64_t version = in.number();
  if (in.ok() && version != LaunchSpec::kVersion) {
    return wire_error(Errc::conflict, "launch spec of version " + std::to_string(version) +
                                          "; this program reads " + std::to_string(LaunchSpec::kVersion));
  }
  const auto duration = [&] { return get_duration(in); };
  LaunchSpec spec;
  spec.label = in.bytes(kMaxPath);
  spec.argv = get_strings(in, LaunchSpec::kMaxStrings, LaunchSpec::kMaxBytes);
  spec.env = get_strings(in, LaunchSpec::kMaxStrings, LaunchSpec::kMaxBytes);
  spec.workdir = in.bytes(kMaxPath);
  spec.identity = in.optional([&] { return get_identity(in); });
  spec.umask = static_cast<mode_t>(in.number(0777));
  const std::size_t limits = in.count(64);
  for (std::size_t i = 0; i < limits; ++i) {
    const int resource = in.small_number();
    spec.rlimits.push_back({.resource = resource, .soft = in.number()});
  }
  spec.nice = in.small_number();
  spec.oom_score_adj = in.small_number();
  spec.attempt_dir = in.bytes(kMaxPath);
  spec.log_dir = in.bytes(kMaxPath);
  spec.log_limit_bytes = in.number();
  spec.tiers.cgroup = in.boolean();
  spec.tiers.pidns = in.boolean();
  spec.tiers.subreaper = in.boolean();
  spec.user_namespace = in.boolean();
  spec.cgroup = in.bytes(kMaxPath);
  spec.cgroup_root = in.bytes(kMaxPath);
  spec.memory = get_limit(in);
  spec.processes = get_limit(in);
  spec.share_ipc = in.boolean();
  spec.hide = get_strings(in, LaunchSpec::kMaxPaths, kMaxPath);
  spec.reachable = get_strings(in, LaunchSpec::kMaxPaths, kMaxPath);
  spec.mask_devices = get_strings(in, LaunchSpec::kMaxPaths, kMaxPath);
  spec.time_limit = in.optional(duration);
  spec.grace = get_duration(in);
  spec.kill_timeout = get_duration(in);
  spec.daemon_gone = in.optional(duration);
  spec.wait_for_ack = in.boolean();
  if (!in.complete()) return wire_error(Errc::corrupt, "a launch spec is cut off or damaged");
  return spec;
}

Result<void> check(const LaunchSpec& spec) {
  if (spec.argv.empty() || spec.argv.front().empty()) return refuse("no command to run");
  if (spec.argv.size() > LaunchSpec::kMaxStrings || spec.env.size() > LaunchSpec::kMaxStrings) {
    return refuse("too many arguments or variables");
  }
  for (const auto* list : {&spec.argv, &spec.env}) {
    for (const std::string& text : *list) {
      if (text.find('\0') != std::string::npos) return refuse("an argument or a variable has a NUL byte");
    }
  }
  if (!absolute(spec.workdir))
    return refuse("the working directory is not an absolute path: " + spec.workdir);
  if (!absolute(spec.attempt_dir)) return refuse("the attempt's folder is not an absolute path");
  if (!spec.log_dir.empty() && !absolute(spec.log_dir))
    return refuse("the log's folder is not an absolute path");
  for (const auto* list : {&spec.hide, &spec.reachable, &spec.mask_devices}) {
    if (list->size() > LaunchSpec::kMaxPaths) return refuse("too many paths to hide, keep or mask");
    if (!list->empty() && !spec.tiers.pidns)
      return refuse("hidden folders or devices without a mount namespace");
    for (const std::string& path : *list) {
      if (!absolute(path)) return refuse("not an absolute path: " + path);
    }
  }
  if (!spec.tiers.cgroup && !spec.tiers.pidns && !spec.tiers.subreaper)
    return refuse("no containment at all");
  if (spec.tiers.cgroup && !absolute(spec.cgroup)) return refuse("the cgroup is not an absolute path");
  if (spec.grace < Duration{} || spec.kill_timeout < Duration{} ||
      spec.time_limit.value_or(Duration{}) < Duration{} ||
      spec.daemon_gone.value_or(Duration{}) < Duration{}) {
    return refuse("a negative duration");
  }
  if (auto ok = check_limit(spec.memory, spec, "memory"); !ok) return ok;
  return check_limit(spec.processes, spec, "process");
}

}  // namespace ebb::process

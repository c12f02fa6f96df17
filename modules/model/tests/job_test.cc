#include "ebb/model/job.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ebb/model/api.h"

namespace ebb::model {
namespace {

using namespace std::chrono_literals;
using Env = std::map<std::string, std::string>;

JobRequest request() {
  JobRequest r;
  r.command = {"true"};
  return r;
}

template <typename Change>
Error refused(Change&& change) {
  JobRequest r = request();
  change(r);
  auto spec = resolve(r, {});
  EXPECT_FALSE(spec);
  if (spec) return {};
  EXPECT_EQ(spec.error().code, Errc::invalid);
  EXPECT_FALSE(spec.error().message.empty());
  return spec.error();
}

template <typename Change>
JobSpec accepted(Change&& change) {
  JobRequest r = request();
  change(r);
  auto spec = resolve(r, {});
  EXPECT_TRUE(spec) << spec.error().message;
  return spec ? *spec : JobSpec{};
}

TEST(Resolve, FillsInTheDefaults) {
  JobDefaults defaults;
  defaults.gpus = 2;
  defaults.ports = 1;
  defaults.time = 90s;
  defaults.memory_bytes = 1 << 30;
  defaults.owner_lease = 3s;
  defaults.ready_timeout = 7s;
  defaults.share_ipc = true;
  JobRequest r = request();
  r.ready = Ready{.path = "/health", .timeout_s = {}};
  r.owner = OwnerRequest{};
  auto spec = resolve(r, defaults);
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->gpus, 2);
  EXPECT_EQ(spec->ports, 1);
  EXPECT_EQ(spec->time, Duration(90s));
  EXPECT_EQ(spec->grace, Duration(10s));
  EXPECT_EQ(spec->memory_bytes, 1 << 30);
  EXPECT_EQ(spec->owner_lease, Duration(3s));
  EXPECT_EQ(spec->ready->timeout, Duration(7s));
  EXPECT_EQ(spec->log_limit_bytes, 1 << 30);
  EXPECT_TRUE(spec->share_ipc);
  EXPECT_TRUE(spec->expand);
  EXPECT_FALSE(resolve(request(), {})->owner_lease);
}

TEST(Resolve, DescribesItsOwnResultSoThatItResolvesToTheSame) {
  JobRequest r = request();
  r.command = {"python3", "train.py", "{port}"};
  r.gpu_ids = {3, 1};
  r.ports = 2;
  r.cpus = 1.5;
  r.memory_bytes = 5 << 20;
  r.time_s = 0.123456;
  r.grace_s = 2.5;
  r.priority = -7;
  r.name = "näme";
  r.group = "g";
  r.env = Env{{"A", "1=2"}, {"B", ""}};
  r.clean_env = true;
  r.workdir = "/tmp";
  r.ready = Ready{.path = "/h?x=1", .timeout_s = 0.25};
  r.owner = OwnerRequest{.lease_s = 1.000001};
  r.log_limit_bytes = 4096;
  r.share_ipc = true;
  r.expand = false;
  auto spec = resolve(r, {});
  ASSERT_TRUE(spec) << spec.error().message;
  EXPECT_EQ(spec->gpu_ids, (std::vector<int>{1, 3}));
  EXPECT_EQ(spec->gpus, 2);
  EXPECT_EQ(spec->time, Duration(123456us));
  EXPECT_EQ(spec->owner_lease, Duration(1000001us));
  auto again = resolve(describe(*spec, true), {});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *spec);
}

TEST(Describe, ShowsOthersResourcesOnly) {
  const JobSpec spec = accepted([](JobRequest& r) {
    r.command = {"secret"};
    r.env = Env{{"TOKEN", "x"}};
    r.workdir = "/home/alice";
    r.gpus = 3;
    r.name = "n";
  });
  const JobRequest shown = describe(spec, false);
  EXPECT_EQ(shown.gpus, 3);
  EXPECT_EQ(shown.cpus, 1);
  EXPECT_FALSE(shown.command);
  EXPECT_FALSE(shown.env);
  EXPECT_FALSE(shown.workdir);
  EXPECT_FALSE(shown.group);
}

TEST(Resolve, RefusesBadCommands) {
  EXPECT_EQ(refused([](auto& r) { r.command.reset(); }).pointer, "/command");
  EXPECT_EQ(refused([](auto& r) { r.command.emplace(); }).pointer, "/command");
  EXPECT_EQ(refused([](auto& r) { r.command = {""}; }).pointer, "/command/0");
  EXPECT_EQ(refused([](auto& r) { r.command = {"a", std::string("b\0c", 3)}; }).pointer, "/command/1");
  accepted([](auto& r) { r.command = {"a", std::string(131'071, 'x'), ""}; });
  const Error long_word = refused([](auto& r) { r.command = {"a", std::string(131'072, 'x')}; });
  EXPECT_EQ(long_word.pointer, "/command/1");
  EXPECT_NE(long_word.message.find("131071"), std::string::npos);
  EXPECT_NE(refused([](auto& r) {
              r.command = std::vector<std::string>(300'000, "x");
            }).message.find("the kernel takes at most 2 MiB"),
            std::string::npos);
}

TEST(Resolve, RefusesBadVariables) {
  EXPECT_EQ(refused([](auto& r) { r.env = Env{{"", "x"}}; }).pointer, "/env/");
  EXPECT_EQ(refused([](auto& r) { r.env = Env{{"A=B", "x"}}; }).pointer, "/env/A=B");
  EXPECT_EQ(refused([](auto& r) { r.env = Env{{"A/~", std::string("x\0", 2)}}; }).pointer, "/env/A~1~0");
  EXPECT_EQ(refused([](auto& r) { r.env = Env{{"A", std::string(131'070, 'x')}}; }).pointer, "/env/A");
  accepted([](auto& r) { r.env = Env{{"A", std::string(131'069, 'x')}, {"odd name-1", ""}}; });
  EXPECT_EQ(refused([](auto& r) {
              r.env.emplace();
              for (int i = 0; i < 100'000; ++i) {
                r.env->emplace("VARIABLE_NUMBER_" + std::to_string(i), "some value");
              }
            }).pointer,
            "/env");
}

TEST(Resolve, RefusesBadGpus) {
  EXPECT_NE(refused([](auto& r) { r.gpus = -1; }).message.find("gpus must be 0 to 4096, not -1"),
            std::string::npos);
  EXPECT_EQ(refused([](auto& r) { r.gpus = 5000; }).pointer, "/gpus");
  EXPECT_EQ(refused([](auto& r) { r.gpu_ids = {0, -1}; }).pointer, "/gpu_ids/1");
  EXPECT_EQ(refused([](auto& r) { r.gpu_ids = {2, 2}; }).message, "gpu_ids names GPU 2 twice");
  EXPECT_EQ(refused([](auto& r) {
              r.gpu_ids = {2, 3};
              r.gpus = 1;
            }).pointer,
            "/gpus");
  EXPECT_EQ(accepted([](auto& r) {
              r.gpu_ids = {2, 3};
              r.gpus = 2;
            }).gpus,
            2);
  EXPECT_EQ(accepted([](auto& r) { r.gpu_ids.emplace(); }).gpus, 0);
}

TEST(Resolve, RefusesNumbersOutOfRange) {
  const double nan = std::nan(""), inf = HUGE_VAL;
  EXPECT_EQ(refused([](auto& r) { r.ports = -1; }).pointer, "/ports");
  EXPECT_EQ(refused([](auto& r) { r.ports = 101; }).pointer, "/ports");
  EXPECT_EQ(refused([](auto& r) { r.cpus = 0; }).pointer, "/cpus");
  EXPECT_EQ(refused([&](auto& r) { r.cpus = nan; }).pointer, "/cpus");
  EXPECT_EQ(refused([](auto& r) { r.memory_bytes = -1; }).pointer, "/memory_bytes");
  EXPECT_EQ(refused([](auto& r) { r.memory_bytes = 512; }).pointer, "/memory_bytes");
  EXPECT_EQ(refused([](auto& r) { r.time_s = 0; }).pointer, "/time_s");
  EXPECT_EQ(refused([&](auto& r) { r.time_s = inf; }).pointer, "/time_s");
  EXPECT_EQ(refused([](auto& r) { r.grace_s = -0.5; }).pointer, "/grace_s");
  EXPECT_EQ(refused([](auto& r) { r.grace_s = 1e300; }).pointer, "/grace_s");
  EXPECT_EQ(refused([](auto& r) { r.priority = 1001; }).pointer, "/priority");
  EXPECT_EQ(refused([](auto& r) { r.priority = -1001; }).pointer, "/priority");
  EXPECT_EQ(refused([](auto& r) { r.owner = OwnerRequest{.lease_s = 0}; }).pointer, "/owner/lease_s");
  EXPECT_EQ(refused([](auto& r) { r.log_limit_bytes = 0; }).pointer, "/log_limit_bytes");
  EXPECT_EQ(accepted([](auto& r) { r.grace_s = 0; }).grace, Duration(0));
}

TEST(Resolve, RefusesBadNamesPathsAndChecks) {
  EXPECT_EQ(refused([](auto& r) { r.name = std::string(129, 'n'); }).pointer, "/name");
  EXPECT_EQ(refused([](auto& r) { r.name = "a\x1b[2J"; }).pointer, "/name");
  EXPECT_EQ(refused([](auto& r) { r.group = "a\xff"; }).pointer, "/group");
  EXPECT_EQ(refused([](auto& r) { r.workdir = "here"; }).pointer, "/workdir");
  EXPECT_EQ(refused([](auto& r) { r.workdir = ""; }).pointer, "/workdir");
  EXPECT_EQ(refused([](auto& r) { r.workdir = "/" + std::string(4095, 'd'); }).pointer, "/workdir");
  const auto ready = [](std::string path) {
    return [path = std::move(path)](JobRequest& r) {
      r.ports = 1;
      r.ready = Ready{.path = path, .timeout_s = {}};
    };
  };
  EXPECT_EQ(accepted(ready("/health?a=b")).ready->timeout, Duration(60s));
  for (const char* path : {"", "health", "/a b", "/a\r\nHost: x", "/\xc3\xa9", "http://x/"}) {
    EXPECT_EQ(refused(ready(path)).pointer, "/ready/path") << path;
  }
  EXPECT_EQ(refused(ready("/" + std::string(1024, 'x'))).pointer, "/ready/path");
  EXPECT_EQ(refused([&](JobRequest& r) {
              ready("/")(r);
              r.ready->timeout_s = 0;
            }).pointer,
            "/ready/timeout_s");
  EXPECT_NE(refused([](auto& r) {
              r.ready = Ready{.path = "/health", .timeout_s = {}};
            }).message.find("add --ports 1"),
            std::string::npos);
}

TEST(Resolve, SaysWhatAQuotedCommandWasMeantToBe) {
  const Error error = quoted_command_error("python3 train.py");
  EXPECT_TRUE(error.message.starts_with(kCommandNotFound));
  EXPECT_NE(error.message.find("-c 'python3 train.py'"), std::string::npos);
  EXPECT_EQ(error.pointer, "/command/0");
}

TEST(Reasons, LeadToTheStateAndStatusOfTheContract) {
  struct Row {
    StopKind kind;
    Exit exit;
    std::optional<std::string> detail;
    JobState state;
    int status;
  };
  const Exit code3{.code = 3, .signal = {}}, segv{.code = {}, .signal = 11}, none{},
      zero{.code = 0, .signal = {}};
  const Row rows[] = {
      {StopKind::completed, zero, {}, JobState::completed, 0},
      {StopKind::failed, code3, {}, JobState::failed, 3},
      {StopKind::failed, segv, {}, JobState::failed, 139},
      {StopKind::failed, none, {}, JobState::failed, 1},
      {StopKind::start_failed, none, "port 38001 is not free", JobState::failed, 125},
      {StopKind::start_failed, none, "command not found: x", JobState::failed, 127},
      {StopKind::start_failed, none, "not executable: /tmp", JobState::failed, 126},
      {StopKind::start_failed, {.code = 127, .signal = {}}, "x: No such file", JobState::failed, 127},
      {StopKind::timeout, segv, {}, JobState::failed, 124},
      {StopKind::oom, segv, {}, JobState::failed, 137},
      {StopKind::cancelled, zero, {}, JobState::cancelled, 143},
      {StopKind::owner_lost, none, {}, JobState::cancelled, 143},
      {StopKind::preempted, none, {}, JobState::cancelled, 143},
      {StopKind::daemon_stopped, none, {}, JobState::cancelled, 143},
      {StopKind::dependency_failed, none, {}, JobState::cancelled, 143},
      {StopKind::keeper_lost, none, {}, JobState::failed, 125},
      {StopKind::reboot, none, {}, JobState::failed, 125},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(terminal_state(row.kind), row.state) << int(row.kind);
    EXPECT_EQ(exit_status(row.kind, row.exit, row.detail), row.status) << int(row.kind);
  }
}

TEST(Problem, HasTheStatusOfItsTypeElseOfItsCode) {
  const auto status = [](Errc code, std::string type) {
    return to_problem({.code = code, .message = "m", .pointer = {}, .type = std::move(type)}).status;
  };
  EXPECT_EQ(status(Errc::not_found, "no-such-job"), 404);
  EXPECT_EQ(status(Errc::forbidden, "not-yours"), 403);
  EXPECT_EQ(status(Errc::impossible, ""), 422);
  EXPECT_EQ(status(Errc::invalid, "unknown-field"), 422);
  EXPECT_EQ(status(Errc::invalid, "malformed-json"), 400);
  EXPECT_EQ(status(Errc::exhausted, "queue-full"), 429);
  EXPECT_EQ(status(Errc::exhausted, "over-quota"), 429);
  EXPECT_EQ(status(Errc::unavailable, "draining"), 503);
  EXPECT_EQ(status(Errc::too_large, ""), 413);
  EXPECT_EQ(status(Errc::unauthenticated, ""), 401);
  EXPECT_EQ(status(Errc::conflict, "a-new-type"), 409);
  EXPECT_EQ(status(Errc::internal, ""), 500);
  EXPECT_EQ(to_problem({.code = Errc::impossible, .message = {}, .pointer = {}, .type = {}}).type,
            "impossible-request");
}

TEST(Problem, ComesBackAsTheErrorItStoodFor) {
  for (const Errc code : {Errc::invalid, Errc::impossible, Errc::unauthenticated, Errc::forbidden,
                          Errc::not_found, Errc::conflict, Errc::too_large, Errc::exhausted,
                          Errc::unavailable, Errc::timeout, Errc::io, Errc::corrupt, Errc::internal}) {
    const Error back = to_error(to_problem({.code = code, .message = "what", .pointer = "/p", .type = {}}));
    EXPECT_EQ(back.code, code);
    EXPECT_EQ(back.message, "what");
    EXPECT_EQ(back.pointer, "/p");
  }
  EXPECT_EQ(
      to_error({.type = "from-the-future", .title = "t", .status = 403, .detail = "", .pointer = {}}).code,
      Errc::forbidden);
  EXPECT_EQ(
      to_error({.type = "about:blank", .title = "Bad Gateway", .status = 502, .detail = "", .pointer = {}})
          .message,
      "Bad Gateway");
}

}  // namespace
}  // namespace ebb::model

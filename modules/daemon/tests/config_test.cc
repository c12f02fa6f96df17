#include "ebb/daemon/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ebb::daemon {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Result<Config> parse(std::string_view text) { return parse_config(text, "ebb.toml", default_config(0)); }

std::string error_of(std::string_view text) {
  auto config = parse(text);
  EXPECT_FALSE(config.ok()) << text;
  return config ? std::string() : config.error().message;
}

constexpr std::string_view kEverything = R"(
[server]
socket = "/tmp/x.sock"
listen = "[::1]:9000"
registration = true
max_body = "64KiB"
[state]
dir = "/tmp/state"
[gpus]
use = "declared:4"
ignore = ["Xorg", "it's \"quoted\""]
free_memory_mib = 10
[ports]
range = "28000-28009"
[jobs]
bind = "0.0.0.0"
advertise = "gpu.example.org"
scratch = "/tmp/scratch"
account = "jobs"
allow_root = true
on_stop = "keep"
daemon_gone = "90s"
kill_timeout = "1500ms"
gpu_release_timeout = "2s"
[queue]
max_running = 3
max_queued = 4
max_per_user = 5
overtake = "7s"
[history]
jobs = 12
max_age = "30d"
min_age = "2s"
logs = "3GiB"
[defaults]
gpus = 1
ports = 2
cpus = 0.5
memory = "1GiB"
time = "1h30min"
grace = "3s"
priority = -5
ready_timeout = "11s"
owner_lease = "12s"
log_limit = "10MiB"
share_ipc = true
clean_env = true
[templates.inference]
command = ["vllm", "serve", "{model_path}", ["--max-model-len", "{max_model_len}"]]
gpus = 2
ports = 1
ready = { path = "/health", timeout = "300s" }
owner = "connection"
workdir = "/srv"
env = { A = "1", "B C" = "tab\tquote\"" }
[compat]
auth = false
cors_origins = ["http://localhost:8081"]
)";

TEST(Config, ReadsEveryKey) {
  auto config = parse(kEverything);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->server.socket, "/tmp/x.sock");
  EXPECT_EQ(config->server.listen, "[::1]:9000");
  EXPECT_TRUE(config->server.registration);
  EXPECT_EQ(config->server.max_body, 64 << 10);
  EXPECT_EQ(config->gpus.ignore, (std::vector<std::string>{"Xorg", "it's \"quoted\""}));
  EXPECT_EQ(config->ports.range, "28000-28009");
  EXPECT_TRUE(config->jobs.keep_on_stop);
  EXPECT_EQ(config->jobs.kill_timeout, 1500ms);
  EXPECT_EQ(config->queue.max_per_user, 5);
  EXPECT_EQ(config->history.jobs, 12);
  EXPECT_EQ(config->history.max_age, Duration(24h * 30));
  EXPECT_EQ(config->history.min_age, 2s);
  EXPECT_EQ(config->history.logs, std::int64_t{3} << 30);
  EXPECT_EQ(config->defaults.memory_bytes, std::int64_t{1} << 30);
  EXPECT_EQ(config->defaults.time, Duration(90min));
  EXPECT_EQ(config->defaults.cpus, 0.5);
  const JobTemplate& job = config->templates.at("inference");
  ASSERT_EQ(job.command.size(), 4U);
  EXPECT_EQ(std::get<std::vector<std::string>>(job.command[3]).at(1), "{max_model_len}");
  EXPECT_EQ(job.gpus, 2);
  EXPECT_EQ(job.ready->timeout, Duration(300s));
  EXPECT_TRUE(job.owner_is_connection);
  EXPECT_EQ(job.env.at("B C"), "tab\tquote\"");
  EXPECT_FALSE(config->compat.auth);
}

TEST(Config, PrintsWhatItReadsBack) {
  for (const Config& config : {default_config(0), *parse(kEverything)}) {
    const std::string printed = print_config(config);
    auto again = parse_config(printed, "printed", default_config(0));
    ASSERT_TRUE(again.ok()) << again.error().message << "\n" << printed;
    EXPECT_EQ(print_config(*again), printed);
  }
}

TEST(Config, PrintsEveryKeyOfTheContract) {
  const std::string printed = print_config(default_config(0));
  for (const char* line : {"socket = \"/run/ebb/ebb.sock\"",
                           "listen = \"127.0.0.1:8765\"",
                           "registration = false",
                           "max_body = \"1MiB\"",
                           "dir = \"/var/lib/ebb\"",
                           "use = \"auto\"",
                           "ignore = []",
                           "free_memory_mib = 64",
                           "range = \"auto\"",
                           "bind = \"127.0.0.1\"",
                           "scratch = \"/var/tmp/ebb-0\"",
                           "account = \"\"",
                           "allow_root = false",
                           "on_stop = \"end\"",
                           "daemon_gone = \"60s\"",
                           "kill_timeout = \"5s\"",
                           "gpu_release_timeout = \"10s\"",
                           "max_running = 256",
                           "max_queued = 1000000",
                           "max_per_user = 200000",
                           "overtake = \"60s\"",
                           "jobs = 100000",
                           "max_age = \"none\"",
                           "min_age = \"60s\"",
                           "logs = \"20480MiB\"",
                           "grace = \"10s\"",
                           "owner_lease = \"15s\"",
                           "auth = true",
                           "cors_origins = []"}) {
    EXPECT_THAT(printed, HasSubstr(std::string("\n") + line + "\n"));
  }
}

TEST(Config, NamesFileLineAndKeyOfAnUnknownKey) {
  EXPECT_EQ(error_of("[server]\n\nsockt = \"/x\"\n"),
            "ebb.toml:3: server.sockt: unknown key; did you mean 'socket'?");
  EXPECT_THAT(error_of("[serve]\nx=1"), HasSubstr("ebb.toml:1: serve: unknown key; did you mean 'server'?"));
  EXPECT_THAT(error_of("[jobs]\nfrobnicate=1"), HasSubstr("'ebb config print' lists all"));
  EXPECT_THAT(error_of("[templates.a]\ncommand=[\"x\"]\ngpu=1"),
              HasSubstr("ebb.toml:3: templates.a.gpu: unknown key"));
}

TEST(Config, NamesFileLineAndKeyOfAWrongType) {
  EXPECT_EQ(error_of("[server]\nregistration = \"yes\"\n"),
            "ebb.toml:2: server.registration: must be true or false, not a string");
  EXPECT_EQ(error_of("[queue]\nmax_running = 2.5\n"),
            "ebb.toml:2: queue.max_running: must be an integer, not a number with a fraction");
  EXPECT_THAT(error_of("server = 3\n"), HasSubstr("ebb.toml:1: server: must be a table"));
  EXPECT_THAT(error_of("[jobs]\ndaemon_gone = 60\n"),
              HasSubstr("ebb.toml:2: jobs.daemon_gone: must be a string with a unit"));
  EXPECT_THAT(error_of("[gpus]\nignore = [1]\n"),
              HasSubstr("ebb.toml:2: gpus.ignore: element 1 must be a string"));
  EXPECT_THAT(error_of("[server]\nsocket = \"x"), HasSubstr("ebb.toml:2: "));
  EXPECT_THAT(error_of("[templates.a]\ncommand = [[\"x\"]]"), HasSubstr("must begin with the program"));
  EXPECT_THAT(error_of("[templates.a]\nports = 1"), HasSubstr("needs a command"));
  EXPECT_THAT(error_of("[templates.a]\ncommand = [\"x\"]\nready = { path = \"/h\" }"), HasSubstr("no port"));
}

TEST(Config, RefusesValuesOutOfRange) {
  EXPECT_THAT(error_of("[queue]\nmax_running = 0\n"), HasSubstr("0 is out of range; 1 to"));
  EXPECT_THAT(error_of("[defaults]\npriority = 1001\n"), HasSubstr("out of range; -1000 to 1000"));
  EXPECT_THAT(error_of("[state]\ndir = \"relative\"\n"), HasSubstr("not an absolute path"));
  EXPECT_THAT(error_of("[server]\nlisten = \"localhost\"\n"), HasSubstr("127.0.0.1:8765"));
  EXPECT_THAT(error_of("[jobs]\nbind = \"example.org\"\n"), HasSubstr("no IP address"));
  EXPECT_FALSE(parse("[ports]\nrange = \"39000-38000\"\n").ok());
  EXPECT_FALSE(parse("[ports]\nrange = \"80-90\"\n").ok());
  EXPECT_FALSE(parse("[gpus]\nuse = \"-1\"\n").ok());
}

TEST(Config, RefusesOpenAccessFromElsewhere) {
  auto open = parse("[server]\nlisten = \"0.0.0.0:8765\"\n[compat]\nauth = false\n");
  ASSERT_TRUE(open.ok());
  EXPECT_FALSE(check_config(*open).ok());
  auto local = parse("[compat]\nauth = false\n");
  ASSERT_TRUE(local.ok());
  EXPECT_TRUE(check_config(*local).ok());
  auto star = parse("[compat]\ncors_origins = [\"*\"]\n");
  ASSERT_TRUE(star.ok());
  EXPECT_FALSE(check_config(*star).ok());
}

TEST(Config, SocketFollowsTheStateDirectoryThatItLiesIn) {
  Config config = default_config(0);
  config.server.socket = config.state.dir / "ebb.sock";
  auto moved = parse_config("[state]\ndir = \"/tmp/s\"\n", "f", config);
  ASSERT_TRUE(moved.ok());
  EXPECT_EQ(moved->server.socket, "/tmp/s/ebb.sock");
  set_state_dir(*moved, "/tmp/t");
  EXPECT_EQ(moved->server.socket, "/tmp/t/ebb.sock");
  auto said = parse_config("[state]\ndir = \"/tmp/s\"\n[server]\nsocket = \"/x\"\n", "f", config);
  ASSERT_TRUE(said.ok());
  EXPECT_EQ(said->server.socket, "/x");
}

TEST(Config, SocketInTheStateDirectoryLiesInAFolderThatJobsKeep) {
  Config config;
  config.state.dir = "/home/alice/.local/state/ebb";
  config.server.socket = "/home/alice/.local/state/ebb/ebb.sock";
  EXPECT_EQ(socket_place(config), "/home/alice/.local/state/ebb/run/ebb.sock");
  config.server.socket = "/home/alice/.local/state/../state/ebb/a/b.sock";
  EXPECT_EQ(socket_place(config), "/home/alice/.local/state/../state/ebb/a/run/b.sock");
  for (const char* outside : {"/run/ebb/ebb.sock", "/home/alice/.local/state/ebb.sock",
                              "/home/alice/.local/state/ebb-2/ebb.sock"}) {
    config.server.socket = outside;
    EXPECT_EQ(socket_place(config), outside);
  }
}

TEST(ListenAddress, TakesBothFamilies) {
  EXPECT_EQ(parse_listen("127.0.0.1:8765")->port, 8765);
  EXPECT_EQ(parse_listen("[::1]:0")->host, "::1");
  EXPECT_TRUE(parse_listen("[::1]:0")->loopback());
  EXPECT_FALSE(parse_listen("0.0.0.0:1")->loopback());
  for (const char* bad :
       {"", ":", "8765", "::1:80", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:-1", "[::1]", "x:80"}) {
    EXPECT_FALSE(parse_listen(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace ebb::daemon

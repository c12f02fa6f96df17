#include "program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "ebb/process/proc.h"

extern char** environ;

namespace ebb::cli {
namespace {

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  list.reserve(words.size() + 1);
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

Result<Program> Program::start(const std::filesystem::path& file, std::vector<std::string> words,
                               const std::map<std::string, std::string>& set, int out) {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    if (!set.contains(text.substr(0, text.find('=')))) environment.push_back(text);
  }
  for (const auto& [name, value] : set) environment.push_back(name + "=" + value);
  words.insert(words.begin(), file.string());
  const std::vector<char*> argv = pointers(words), envp = pointers(environment);
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (out < 0) out = null.get();
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error(errno, "cannot start " + file.string());
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) std::_Exit(127);
    ::dup2(null.get(), STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::execve(file.c_str(), argv.data(), envp.data());
    std::_Exit(127);
  }
  auto pidfd = process::open_pidfd(pid);
  if (!pidfd) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return std::move(pidfd).error();
  }
  return Program(pid, std::move(*pidfd));
}

Program::Program(Program&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}
Program& Program::operator=(Program&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  return *this;
}
Program::~Program() {
  if (pid_ == 0) return;
  signal(SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Program::signal(int number) const noexcept {
  if (pid_ != 0) ::kill(pid_, number);
}

bool Program::wait(Duration limit) {
  if (pid_ == 0) return true;
  if (!wait_readable(pidfd_.get(), BootClock::now() + limit)) return false;
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
  return true;
}

bool wait_readable(int fd, BootTime deadline) {
  constexpr std::int64_t kLongestMs = 60'000;  // poll() takes an int
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - BootClock::now()).count();
    pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, kLongestMs)));
    if (ready > 0) return true;
    if (ready == 0 && left <= 0) return false;
  }
}

bool wait_for_all(const std::vector<UniqueFd>& fds, BootTime deadline) {
  return std::ranges::all_of(fds, [&](const UniqueFd& fd) { return wait_readable(fd.get(), deadline); });
}

}  // namespace ebb::cli

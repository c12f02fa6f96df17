#include "process_facts.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <vector>

#include "ebb/base/files.h"
#include "ebb/base/text.h"
#include "ebb/devices/gpu_check.h"

namespace ebb::devices {
namespace {

std::string proc(pid_t pid, const char* file) { return "/proc/" + std::to_string(pid) + file; }

// The inode that the kernel gives the first PID namespace (PROC_PID_INIT_INO).
constexpr ino_t kInitialPidNamespace = 0xEFFFFFFC;

}  // namespace

std::string user_name(uid_t uid) {
  std::vector<char> buffer(16 << 10);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return printable(found->pw_name);
  }
  return std::to_string(uid);
}

std::string process_name(pid_t pid) {
  auto comm = read_file(proc(pid, "/comm"), 4096);
  if (!comm) return {};
  if (comm->ends_with('\n')) comm->pop_back();
  return printable(*comm);
}

std::string process_user(pid_t pid) {
  struct stat info{};
  return ::stat(proc(pid, "").c_str(), &info) == 0 ? user_name(info.st_uid) : std::string();
}

bool in_initial_pid_namespace() {
  struct stat info{};
  return ::stat("/proc/self/ns/pid", &info) == 0 && info.st_ino == kInitialPidNamespace;
}

ProcessFacts process_facts(pid_t pid) {
  ProcessFacts facts;
  // Not by /proc: mounted with hidepid it hides processes that are there.
  if (pid <= 0 || (::kill(pid, 0) != 0 && errno == ESRCH)) {
    facts.life = ProcessFacts::Life::ended;
    return facts;
  }
  facts.name = process_name(pid);
  facts.user = process_user(pid);
  const auto stat = read_file(proc(pid, "/stat"), 64 << 10);
  const std::size_t after_name = stat ? stat->rfind(") ") : std::string::npos;
  if (after_name != std::string::npos && after_name + 2 < stat->size()) {
    const char state = (*stat)[after_name + 2];
    if (state == 'Z' || state == 'X') facts.life = ProcessFacts::Life::ended;
  }
  return facts;
}

}  // namespace ebb::devices

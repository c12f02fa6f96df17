// marked_job RECORDS NAME TREE: the job of a fault run. It proves from inside what Ebb promises, by means
// that Ebb knows nothing of:
//
// - RECORDS/journal gets one line, by one O_APPEND write, for each start and end, with the monotonic time,
// the GPUs
//   and the ports that it was given;
// - for each GPU and port it takes flock(LOCK_NB) on a file of its own in RECORDS, which every process of its
// tree
//   inherits: a `conflict` line says that another job's tree was still there;
// - it leaves what a job may leave: with TREE `deep`, a daemonized grandchild in a session of its own, System
// V
//   shared memory and, where EBB_FAULTS_SHM says so, a file in /dev/shm; with `stubborn` besides a child that
//   ignores SIGTERM.
//
// NAME `B` ends at once; any other answers HTTP on its port: `/ready` says 200, `/end` ends it with exit
// status 0.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <sstream>
#include <string>

namespace {

std::string records;
std::string name;

std::string variable(const char* key) {
  const char* value = std::getenv(key);
  return value != nullptr ? value : "";
}

// Words of a list such as "0,1"; one line per job in the journal has them with commas.
void note(const std::string& what, const std::string& more = "") {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  std::string line = what + ' ' + name + ' ' + variable("EBB_JOB_ID") + ' ' + variable("EBB_ATTEMPT") + ' ' +
                     std::to_string(now.tv_sec * 1'000'000'000LL + now.tv_nsec);
  if (!more.empty()) line += ' ' + more;
  line += '\n';
  const int file = ::open((records + "/journal").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0 || ::write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    std::perror("marked_job: no journal");
    std::_Exit(70);
  }
  ::close(file);
}

void take_locks(const std::string& kind, const std::string& list) {
  std::istringstream words(list);
  for (std::string id; std::getline(words, id, ',');) {
    const std::string path = records + "/" + kind + "-" + id;
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT, 0666);  // inherited, over exec too
    if (file < 0) note("broken", path);
    if (file >= 0 && ::flock(file, LOCK_EX | LOCK_NB) != 0) note("conflict", kind + "-" + id);
  }
}

void wait_for_ever() {
  for (;;) ::pause();
}

// Out of the session, the process group and the parent's sight.
void daemonize() {
  if (::fork() != 0) return;
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  wait_for_ever();
}

void ignore_term() {
  if (::fork() != 0) return;
  ::signal(SIGTERM, SIG_IGN);
  wait_for_ever();
}

void leave_shared_memory() {
  // The size is the mark by which the census knows a segment in the kernel's list.
  const auto size = static_cast<std::size_t>(std::atoll(variable("EBB_FAULTS_IPC").c_str()));
  if (size > 0 && ::shmget(IPC_PRIVATE, size, IPC_CREAT | 0600) < 0) note("conflict", "no-shared-memory");
  if (variable("EBB_FAULTS_SHM").empty()) return;
  const std::string path = "/dev/shm/ebb-faults-" + variable("EBB_FAULTS_MARK");
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file >= 0) ::close(file);
}

void say_lines(int from, int to) {
  for (int i = from; i <= to; ++i) std::printf("line %d\n", i);
  std::fflush(stdout);
}

void serve(int port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  const int yes = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 8) != 0) {
    note("conflict", "bind-" + std::to_string(port) + "-errno-" + std::to_string(errno));
    std::_Exit(71);
  }
  for (bool over = false; !over;) {
    const int peer = ::accept(listener, nullptr, nullptr);
    if (peer < 0) continue;
    char request[512] = {};
    const ssize_t got = ::read(peer, request, sizeof request - 1);
    over = got > 0 && std::string(request).starts_with("GET /end ");
    const std::string answer =
        "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\nmarked-job here";
    (void)!::write(peer, answer.data(), answer.size());
    ::close(peer);
  }
}

// Not by main()'s return, where LeakSanitizer would want to trace it, as the matrix does already.
[[noreturn]] void end() {
  note("end");
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  records = argv[1];
  name = argv[2];
  const std::string tree = argv[3];
  ::umask(0);  // its locks are for jobs of other users too
  take_locks("gpu", variable("EBB_GPUS"));
  take_locks("port", variable("EBB_PORTS"));
  note("start", variable("EBB_GPUS") + ' ' + variable("EBB_PORTS") + ' ' + std::to_string(::getpid()));
  if (name == "B") end();
  if (tree != "flat") {
    daemonize();
    leave_shared_memory();
  }
  if (tree == "stubborn") ignore_term();
  say_lines(1, 20);
  serve(std::atoi(variable("EBB_PORT").c_str()));
  say_lines(21, 40);
  end();
}

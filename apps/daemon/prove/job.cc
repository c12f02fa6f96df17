#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdlib>

#include "ebb/base/files.h"
#include "ebb/base/unique_fd.h"
#include "prove.h"

namespace ebb::cli {
namespace {

[[noreturn]] void stay(int ready) {
  (void)write_all(ready, "x");
  for (;;) ::pause();
}

UniqueFd listener_on(std::uint16_t port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;  // a lease does not wait for what is in TIME_WAIT only, nor do servers
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool listens =
      socket && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::listen(socket.get(), 1) == 0;
  return listens ? std::move(socket) : UniqueFd();
}

// Leaves shared memory behind, too. Returns where it cannot have them.
void stubborn(int ready, std::uint16_t port) {
  std::signal(SIGTERM, SIG_IGN);
  const UniqueFd listener = listener_on(port);
  const char* const job = std::getenv("EBB_JOB_ID");
  const std::string name = std::string("/ebb-prove-") + (job != nullptr ? job : "");
  const UniqueFd shared(::shm_open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (listener && shared) stay(ready);
  (void)write_all(ready, "-");
}

void escaped(int ready) {
  ::setsid();
  if (::fork() != 0) std::_Exit(0);
  ::setsid();
  stay(ready);
}

}  // namespace

int prove_job_main(Words words) {
  std::uint16_t port = 0;
  if (words.size() != 1 ||
      std::from_chars(words[0].data(), words[0].data() + words[0].size(), port).ec != std::errc()) {
    say("prove-job is a part of 'ebb audit --prove'");
    return kUsage;
  }
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return kRefused;
  if (::fork() == 0) return stubborn(ends[1], port), std::_Exit(kRefused), 0;
  if (::fork() == 0) escaped(ends[1]);
  ::close(ends[1]);
  for (int ready = 0; ready < 2; ++ready) {
    char byte = 0;
    if (::read(ends[0], &byte, 1) != 1) return kRefused;
    if (byte == '-') {
      (void)write_all(STDOUT_FILENO, "it cannot listen on its port, or has no shared memory\n");
      return kRefused;
    }
  }
  if (!write_all(STDOUT_FILENO, "ready\n")) return kRefused;
  for (;;) ::pause();
}

}  // namespace ebb::cli

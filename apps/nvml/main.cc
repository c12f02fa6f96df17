// ebb-nvml: asks NVML for the daemon, so that a driver that hangs, hangs only this process. It reads requests
// from stdin and answers on stdout (ebb/devices/nvml_protocol.h), and ends when the daemon does.

#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "ebb/base/files.h"
#include "ebb/devices/nvml_protocol.h"
#include "library.h"
#include "queries.h"

namespace {

using namespace ebb;
namespace protocol = ebb::devices::nvml;

// Loaded at the first request that succeeds, so that a driver that comes later is found without a restart.
std::optional<nvml::Library> loaded;

Result<protocol::Payload> ask(const protocol::Request& request) {
  if (!loaded) {
    const char* path = std::getenv("EBB_NVML_LIBRARY");
    auto library = nvml::Library::load(path != nullptr && *path != 0 ? path : "libnvidia-ml.so.1");
    if (!library) return std::move(library).error();
    loaded = *library;
  }
  if (request.uuid.empty()) {
    auto list = nvml::list(*loaded);
    if (!list) return std::move(list).error();
    return protocol::Payload(std::move(*list));
  }
  auto usage = nvml::usage(*loaded, request.uuid);
  if (!usage) return std::move(usage).error();
  return protocol::Payload(std::move(*usage));
}

bool serve(std::string_view line) {
  const auto request = protocol::parse_request(line);
  if (!request) return false;
  const auto payload = ask(*request);
  const std::string answer = payload ? protocol::write_answer(request->id, *payload)
                                     : protocol::write_error(request->id, payload.error());
  return write_all(STDOUT_FILENO, answer).ok();
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1 || ::isatty(STDIN_FILENO) == 1) {
    std::fputs(
        "ebb-nvml is started by 'ebb serve' and asks the GPU driver for it; it is not for people.\n"
        "'ebb devices' and 'ebb doctor' show what it finds.\n",
        stderr);
    return 2;
  }
  // A helper that is stuck in the driver for ever must not keep a lock or a socket that leaked into it.
  ::close_range(3, ~0U, 0);
  // The daemon's death ends us also in the middle of a call. It may have died before this line: then its end
  // of our stdin is closed already, and that is looked at only after the signal is armed.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  pollfd input{.fd = STDIN_FILENO, .events = 0, .revents = 0};
  if (::poll(&input, 1, 0) == 1 && (input.revents & POLLHUP) != 0) return 0;

  std::string pending;
  char buffer[512];
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    pending.append(buffer, static_cast<std::size_t>(got));
    for (std::size_t end = 0; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      if (!serve(std::string_view(pending).substr(0, end))) return 1;
    }
    if (pending.size() > protocol::kMaxRequest) return 1;
  }
}

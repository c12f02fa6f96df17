// Preloaded into a program: while the file that EBB_TEST_FSYNC_FAILS names is there, nothing reaches the
// disk.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace {

int sync_by(long call, int fd) {
  const char* const flag = std::getenv("EBB_TEST_FSYNC_FAILS");
  if (flag != nullptr && ::access(flag, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(call, fd));
}

}  // namespace

extern "C" int fsync(int fd) { return sync_by(SYS_fsync, fd); }
extern "C" int fdatasync(int fd) { return sync_by(SYS_fdatasync, fd); }

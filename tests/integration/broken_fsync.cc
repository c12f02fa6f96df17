// Preloaded into a program: while the file that EBB_TEST_FSYNC_FAILS names is there, nothing reaches the
// disk; where the one that EBB_TEST_FSYNC_HANGS names is there, the disk never answers again, and that file
// is no longer empty. While the one that EBB_TEST_FSYNC_SLOW names is there, each sync takes 10 s; then that
// file has a byte for each that was begun.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace {

// Empty, and so the name of no file, where the variable is not set.
const char* path_in(const char* variable) {
  const char* const path = std::getenv(variable);
  return path != nullptr ? path : "";
}

int sync_by(long call, int fd) {
  if (const int flag = ::open(path_in("EBB_TEST_FSYNC_HANGS"), O_WRONLY | O_CLOEXEC); flag >= 0) {
    (void)!::write(flag, "hangs\n", 6);
    for (;;) ::pause();
  }
  if (const int flag = ::open(path_in("EBB_TEST_FSYNC_SLOW"), O_WRONLY | O_APPEND | O_CLOEXEC); flag >= 0) {
    (void)!::write(flag, "s", 1);
    ::close(flag);
    ::sleep(10);
  }
  if (::access(path_in("EBB_TEST_FSYNC_FAILS"), F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(call, fd));
}

}  // namespace

extern "C" int fsync(int fd) { return sync_by(SYS_fsync, fd); }
extern "C" int fdatasync(int fd) { return sync_by(SYS_fdatasync, fd); }

// first_instruction FIFO: writes when it began (nanoseconds of the monotonic clock) and its pid, then waits to be
// ended. C, and static, so that nothing of a run-time library's start is measured.

#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char** argv) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (argc != 2) return 2;
  const int64_t stamp[2] = {(int64_t)now.tv_sec * 1000000000 + now.tv_nsec, getpid()};
  const int fifo = open(argv[1], O_WRONLY | O_CLOEXEC);
  if (fifo < 0 || write(fifo, stamp, sizeof stamp) != (ssize_t)sizeof stamp) return 1;
  for (;;) pause();
}

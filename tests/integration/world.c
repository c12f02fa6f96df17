/* Loaded in front of the C library (LD_PRELOAD), it shows a program what a test cannot make of a real machine:
   a wall clock that is set back or forward, and a network file system.

   EBB_TEST_CLOCK=FILE    eight bytes: how many seconds the wall clock is off, read anew each time
   EBB_TEST_NETWORK=PATH  this folder, and what lies in it, is on NFS */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static const long kNfs = 0x6969;

static const volatile int64_t* seconds_off(void) {
  static const volatile int64_t none = 0;
  static const volatile int64_t* off = NULL;
  if (off == NULL) {
    const char* path = getenv("EBB_TEST_CLOCK");
    const int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void* mapped = fd >= 0 ? mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    off = mapped != MAP_FAILED ? mapped : &none;
    if (fd >= 0) close(fd);
  }
  return off;
}

int clock_gettime(clockid_t clock, struct timespec* out) {
  const int done = (int)syscall(SYS_clock_gettime, clock, out);
  if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) out->tv_sec += *seconds_off();
  return done;
}

int gettimeofday(struct timeval* restrict out, void* restrict zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}

int statfs(const char* path, struct statfs* out) {
  const int done = (int)syscall(SYS_statfs, path, out);
  const char* network = getenv("EBB_TEST_NETWORK");
  if (done == 0 && network != NULL && strncmp(path, network, strlen(network)) == 0) out->f_type = kNfs;
  return done;
}

int statfs64(const char* path, struct statfs64* out) { return statfs(path, (struct statfs*)out); }

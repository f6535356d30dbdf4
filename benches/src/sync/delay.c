/* Preloaded: every durable write takes MUSTER_SYNC_NS nanoseconds and reaches no disk. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static int wait_as_long(void) {
  const char *text = getenv("MUSTER_SYNC_NS");
  long long ns = text ? atoll(text) : 0;
  struct timespec until;
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* of this thread; it is 50 us by default */
  clock_gettime(CLOCK_MONOTONIC, &until);
  ns += until.tv_nsec;
  until.tv_sec += ns / 1000000000;
  until.tv_nsec = ns % 1000000000;
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0) == EINTR) {
  }
  return 0;
}

int fsync(int fd) { (void)fd; return wait_as_long(); }
int fdatasync(int fd) { (void)fd; return wait_as_long(); }

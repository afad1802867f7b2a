/* LD_PRELOAD: a wall clock that is set back and forth all the time. Every look at it is an hour or more off the one
 * before, now in the past, now in the future. The monotonic clock is left alone. */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/time.h>
#include <time.h>

static time_t off(void)
{
  static time_t hours;

  hours++;
  return (hours % 2 ? hours : -hours) * 3600;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
  static int (*real)(clockid_t, struct timespec *);
  int status;

  if (!real)
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  status = real(clock, now);
  if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    now->tv_sec += off();
  return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
  struct timespec precise;

  (void)zone;
  clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *where)
{
  struct timespec now;

  clock_gettime(CLOCK_REALTIME, &now);
  if (where)
    *where = now.tv_sec;
  return now.tv_sec;
}

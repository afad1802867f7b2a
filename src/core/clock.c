#include "clock.h"

#include <time.h>

int64_t hsa_now(void)
{
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * HSA_SECOND + ts.tv_nsec / 1000;
}

int64_t hsa_wall_seconds(void)
{
  return (int64_t)time(NULL);
}

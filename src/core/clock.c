#include "clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t skipped; /* us */

int64_t hsa_now(void)
{
  struct timespec ts;

  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * HSA_SECOND + ts.tv_nsec / 1000 + atomic_load_explicit(&skipped, memory_order_relaxed);
}

void hsa_clock_skip(int64_t us)
{
  atomic_fetch_add_explicit(&skipped, us, memory_order_relaxed);
}

int64_t hsa_clock_monotonic(int64_t at)
{
  return at - atomic_load_explicit(&skipped, memory_order_relaxed);
}

int64_t hsa_common_now(void)
{
  return hsa_clock_monotonic(hsa_now());
}

int64_t hsa_wall_seconds(void)
{
  return (int64_t)time(NULL);
}

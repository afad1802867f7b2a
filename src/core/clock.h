/* clock.h - the one real clock; everything else gets time as a parameter. */
#ifndef HSA_CLOCK_H
#define HSA_CLOCK_H

#include "hsa.h" /* hsa_now */

/* Puts the clock of this process forward: time that nobody waits for (hsa_config.skips_waits). */
void hsa_clock_skip(int64_t us);

/* What CLOCK_MONOTONIC shows at a point in time of hsa_now: less by all that was skipped so far. */
int64_t hsa_clock_monotonic(int64_t at);

/* The wall clock in seconds since 1970: only to make sense of a Retry-After date. */
int64_t hsa_wall_seconds(void);

#endif

/* clock.h - the one real clock; everything else gets time as a parameter. */
#ifndef HSA_CLOCK_H
#define HSA_CLOCK_H

#include "hsa.h" /* hsa_now */

/* The wall clock in seconds since 1970: only to make sense of a Retry-After date. */
int64_t hsa_wall_seconds(void);

#endif

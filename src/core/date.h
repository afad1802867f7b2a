/* date.h - pure: dates in header fields. */
#ifndef HSA_DATE_H
#define HSA_DATE_H

#include <stdint.h>

/* Seconds since 1970 of a date in one of the three forms of RFC 9110, 5.6.7; -1 if it is none, or before 1970. Not
 * bound by the size of time_t, which ends in 2038 on some systems. */
int64_t hsa_date(const char *text);

#endif

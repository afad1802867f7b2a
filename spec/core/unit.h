/* unit.h - what every unit test here includes: cmocka with the headers that it wants, and checks that name the row of a
 * table in which they fail. */
#ifndef UNIT_H
#define UNIT_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static inline void expect_int(const char *row, const char *what, int64_t got, int64_t want)
{
  if (got != want)
    fail_msg("%s: %s is %" PRId64 ", not %" PRId64, row, what, got, want);
}

/* lo <= got <= hi */
static inline void expect_between(const char *row, const char *what, int64_t got, int64_t lo, int64_t hi)
{
  if (got < lo || got > hi)
    fail_msg("%s: %s is %" PRId64 ", not from %" PRId64 " to %" PRId64, row, what, got, lo, hi);
}

/* The same in a test without rows. cmocka's own assert_in_range is deprecated since 2.0, which alone has its successors. */
#define expect_within(got, lo, hi) expect_between(__func__, #got, got, lo, hi)

static inline void expect_str(const char *row, const char *what, const char *got, const char *want)
{
  if (strcmp(got, want) != 0)
    fail_msg("%s: %s is '%s', not '%s'", row, what, got, want);
}

/* 0 <= result < limit; the same numbers in every run. */
static inline int64_t unit_random(uint64_t *seed, int64_t limit)
{
  *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (int64_t)((*seed >> 33) % (uint64_t)limit);
}

#endif

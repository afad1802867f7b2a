/* header.h - pure: the response headers of interest. */
#ifndef HSA_HEADER_H
#define HSA_HEADER_H

#include "hsa.h"

enum { HSA_DATE_MAX = 40 };

typedef struct hsa_headers {
  hsa_rate_limit rate;
  int64_t retry_after;                      /* s, of Retry-After as a number; -1: none */
  char retry_after_date[HSA_DATE_MAX];      /* Retry-After as a date; "": none */
  char date[HSA_DATE_MAX];                  /* Date; "": none */
  char correlation_id[HSA_CORRELATION_MAX]; /* its printable ASCII; "": none */
} hsa_headers;

/* Forgets everything seen: a new response begins. */
void hsa_headers_reset(hsa_headers *headers);

/* Reads one header line as received, "Name: value\r\n"; others, and values that make no sense,
 * are passed over. Numbers beyond int64_t count as its largest. */
void hsa_headers_add(hsa_headers *headers, const char *line, size_t len);

/* Microseconds to wait by Retry-After, never negative; -1: the header is absent or makes no sense. A
 * date counts from the response's own Date, so that a wrong local clock does no harm; without one from
 * `wall` (s since 1970). At most 10 years, which keeps sums with it far from overflow. */
int64_t hsa_headers_retry_after(const hsa_headers *headers, int64_t wall);

#endif

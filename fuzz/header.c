/* Response headers: Retry-After, the rate, dates, correlation ids. Lines come as libcurl gives them. */
#include "date.h"
#include "fuzz.h"
#include "header.h"

enum { TEN_YEARS = 10 * 366 * 86400 };

static bool is_count(int64_t value)
{
  return value >= -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
  fuzz_input in = fuzz_begin(data, len);
  hsa_headers headers;
  const char *c;
  int64_t wait;

  hsa_headers_reset(&headers);
  while (fuzz_more(&in)) {
    size_t n;
    const char *line = fuzz_until(&in, '\n', &n);
    char *copy = fuzz_copy(line, n); /* of its own length: reading past it is found */

    hsa_headers_add(&headers, copy, n);
    free(copy);
  }
  wait = hsa_headers_retry_after(&headers, (int64_t)len * 1000000);
  MUST(wait >= -1 && wait <= TEN_YEARS * HSA_SECOND);
  MUST(headers.retry_after >= -1);
  MUST(is_count(headers.rate.max) && is_count(headers.rate.remaining) && is_count(headers.rate.interval_ms));
  MUST(is_count(headers.rate.daily) && is_count(headers.rate.daily_remaining));
  MUST(hsa_date(headers.date) >= -1 && hsa_date(headers.retry_after_date) >= -1);
  MUST(memchr(headers.correlation_id, '\0', sizeof headers.correlation_id));
  for (c = headers.correlation_id; *c; c++)
    MUST(*c > ' ' - 1 && *c < 127);
  return 0;
}

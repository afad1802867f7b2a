/* Response headers of interest. */
#include "unit.h"

#include <stdlib.h>

#include "header.h"

#define TEN_YEARS (INT64_C(10) * 365 * 24 * 3600 * HSA_SECOND)
#define WALL INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */

/* As libcurl hands them over: without a NUL. (A copy of its own, so that ASan and valgrind see a read past its end.) */
static void add_line(hsa_headers *headers, const char *line)
{
  size_t len = strlen(line);
  char *copy = malloc(len ? len : 1);

  assert_non_null(copy);
  memcpy(copy, line, len);
  hsa_headers_add(headers, copy, len);
  free(copy);
}

static hsa_headers read_lines(const char *const *lines, size_t n)
{
  hsa_headers headers;
  size_t i;

  hsa_headers_reset(&headers);
  for (i = 0; i < n && lines[i]; i++)
    add_line(&headers, lines[i]);
  return headers;
}

static void starts_with_nothing(void **state)
{
  hsa_headers headers;

  (void)state;
  memset(&headers, 'x', sizeof headers);
  hsa_headers_reset(&headers);
  assert_int_equal(headers.rate.max, -1);
  assert_int_equal(headers.rate.remaining, -1);
  assert_int_equal(headers.rate.interval_ms, -1);
  assert_int_equal(headers.rate.daily, -1);
  assert_int_equal(headers.rate.daily_remaining, -1);
  assert_string_equal(headers.date, "");
  assert_string_equal(headers.correlation_id, "");
  assert_int_equal(hsa_headers_retry_after(&headers, WALL), -1);
}

/* Each line alone, with the local clock right: how long to wait. */
static void retry_after_alone(void **state)
{
  static const struct {
    const char *line;
    int64_t wait; /* us; -1: none */
  } rows[] = {
    {"Retry-After: 0\r\n", 0},
    {"Retry-After: 7\r\n", 7 * HSA_SECOND},
    {"Retry-After: 007\r\n", 7 * HSA_SECOND},
    {"retry-after:7\r\n", 7 * HSA_SECOND},
    {"RETRY-AFTER: \t 7 \t \r\n", 7 * HSA_SECOND},
    {"Retry-After: 7", 7 * HSA_SECOND},
    {"Retry-After: 7\n", 7 * HSA_SECOND},
    {"Retry-After: 86400\r\n", 86400 * HSA_SECOND},
    {"Retry-After: 315360000\r\n", TEN_YEARS},
    {"Retry-After: 315360001\r\n", TEN_YEARS},
    {"Retry-After: 9223372036854775807\r\n", TEN_YEARS},
    {"Retry-After: 9223372036854775808\r\n", TEN_YEARS},
    {"Retry-After: 99999999999999999999999999999999\r\n", TEN_YEARS},
    {"Retry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\n", 10 * HSA_SECOND},   /* IMF-fixdate */
    {"Retry-After: Sunday, 06-Nov-94 08:49:47 GMT\r\n", 10 * HSA_SECOND},  /* RFC 850 */
    {"Retry-After: Sun Nov  6 08:49:47 1994\r\n", 10 * HSA_SECOND},        /* asctime */
    {"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 0},                 /* now */
    {"Retry-After: Sun, 06 Nov 1994 08:49:30 GMT\r\n", 0},                 /* past */
    {"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", TEN_YEARS},
    {"Retry-After:\r\n", -1},
    {"Retry-After:   \r\n", -1},
    {"Retry-After: soon\r\n", -1},
    {"Retry-After: -5\r\n", -1},
    {"Retry-After: +5\r\n", -1},
    {"Retry-After: 1.5\r\n", -1},
    {"Retry-After: 1e3\r\n", -1},
    {"Retry-After: 0x10\r\n", -1},
    {"Retry-After: 5 s\r\n", -1},
    {"Retry-After: 5, 6\r\n", -1},
    {"Retry-After: Sun, 32 Nov 1994 08:49:37 GMT\r\n", -1},
    {"Retry-After: Sun, 06 Nov 1994 08:49:47 GMT and a lot that does not belong there\r\n", -1},
    {"Retry-After : 7\r\n", -1}, /* no blank before the colon (RFC 9112, 5.1) */
    {" Retry-After: 7\r\n", -1}, /* a folded line's rest */
    {"Retry-Afte: 7\r\n", -1},
    {"Retry-After-: 7\r\n", -1},
    {"X-Retry-After: 7\r\n", -1},
    {"Retry-After 7\r\n", -1},
    {":\r\n", -1},
    {"\r\n", -1},
    {"", -1},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_headers headers = read_lines(&rows[i].line, 1);

    expect_int(rows[i].line, "wait", hsa_headers_retry_after(&headers, WALL), rows[i].wait);
  }
}

#define AT_47 "Retry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\n"

static void retry_after_among_others(void **state)
{
  static const struct {
    const char *row, *lines[4];
    int64_t wall, wait;
  } rows[] = {
    {"the response's own Date is the base", {"Date: Sun, 06 Nov 1994 08:49:44 GMT\r\n", AT_47}, 0, 3 * HSA_SECOND},
    {"after it, too", {AT_47, "date:Sunday, 06-Nov-94 08:49:44 GMT\r\n"}, WALL * 9, 3 * HSA_SECOND},
    {"a Date without sense", {"Date: today\r\n", AT_47}, WALL, 10 * HSA_SECOND},
    {"an empty Date", {"Date:\r\n", AT_47}, WALL, 10 * HSA_SECOND},
    {"seconds need no Date", {"Date: Sun, 06 Nov 1994 08:49:44 GMT\r\n", "Retry-After: 5\r\n"}, 0, 5 * HSA_SECOND},
    {"a Date alone", {"Date: Sun, 06 Nov 1994 08:49:44 GMT\r\n"}, WALL, -1},
    {"what makes no sense is passed over", {"Retry-After: 5\r\n", "Retry-After: soon\r\n"}, WALL, 5 * HSA_SECOND},
    {"so is an empty one", {"Retry-After: 5\r\n", "Retry-After:\r\n"}, WALL, 5 * HSA_SECOND},
    {"junk first", {"Retry-After: soon\r\n", "Retry-After: 5\r\n"}, WALL, 5 * HSA_SECOND},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_headers headers = read_lines(rows[i].lines, 4);

    expect_int(rows[i].row, "wait", hsa_headers_retry_after(&headers, rows[i].wall), rows[i].wait);
  }
}

static void rate_limits(void **state)
{
  static const char *const lines[] = {
    "X-HubSpot-RateLimit-Max: 190\r\n",
    "x-hubspot-ratelimit-remaining:0\r\n",
    "X-HUBSPOT-RATELIMIT-INTERVAL-MILLISECONDS: 10000 \r\n",
    "X-HubSpot-RateLimit-Daily: 650000\r\n",
    "X-HubSpot-RateLimit-Daily-Remaining: 649999\r\n",
    "X-HubSpot-RateLimit-Secondly: 19\r\n", /* of no interest (and deprecated) */
  };
  hsa_headers headers = read_lines(lines, COUNT(lines));

  (void)state;
  assert_int_equal(headers.rate.max, 190);
  assert_int_equal(headers.rate.remaining, 0);
  assert_int_equal(headers.rate.interval_ms, 10000);
  assert_int_equal(headers.rate.daily, 650000);
  assert_int_equal(headers.rate.daily_remaining, 649999);
}

/* A value that is no number leaves what was seen before. */
static void rate_limit_junk(void **state)
{
  static const struct {
    const char *line;
    int64_t max;
  } rows[] = {
    {"X-HubSpot-RateLimit-Max: -1\r\n", 7},
    {"X-HubSpot-RateLimit-Max:\r\n", 7},
    {"X-HubSpot-RateLimit-Max: many\r\n", 7},
    {"X-HubSpot-RateLimit-Max: 1 2\r\n", 7},
    {"X-HubSpot-RateLimit-Max: 12;x\r\n", 7},
    {"X-HubSpot-RateLimit-Max : 12\r\n", 7},
    {"X-HubSpot-RateLimit-Maximum: 12\r\n", 7},
    {"X-HubSpot-RateLimit-: 12\r\n", 7},
    {"X-HubSpot-RateLimitMax: 12\r\n", 7},
    {"X-HubSpot-RateLimit-Max: 12\r\n", 12},
    {"X-HubSpot-RateLimit-Max: 9223372036854775807\r\n", INT64_MAX},
    {"X-HubSpot-RateLimit-Max: 9223372036854775808\r\n", INT64_MAX},
    {"X-HubSpot-RateLimit-Max: 99999999999999999990\r\n", INT64_MAX},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    const char *const lines[] = {"X-HubSpot-RateLimit-Max: 7\r\n", rows[i].line};
    hsa_headers headers = read_lines(lines, 2);

    expect_int(rows[i].line, "max", headers.rate.max, rows[i].max);
  }
}

/* Nothing past len may count. */
static void reads_no_further_than_the_line(void **state)
{
  static const char line[] = "Retry-After: 12345";
  hsa_headers headers;

  (void)state;
  hsa_headers_reset(&headers);
  hsa_headers_add(&headers, line, strlen("Retry-After: 12"));
  assert_int_equal(headers.retry_after, 12);
  hsa_headers_reset(&headers);
  hsa_headers_add(&headers, line, strlen("Retry-After")); /* the colon lies outside */
  assert_int_equal(headers.retry_after, -1);
}

static void correlation_id(void **state)
{
  static const struct {
    const char *line, *id;
  } rows[] = {
    {"X-HubSpot-Correlation-Id: 0a7d5c1e-0000-4000-8000-123456789abc\r\n", "0a7d5c1e-0000-4000-8000-123456789abc"},
    {"x-hubspot-correlation-id:\tx y \r\n", "x y"},
    {"X-HubSpot-Correlation-Id: a\x01\x1b[31mb\x7f\xc3\xa4\xff c\r\n", "a[31mb c"},
    {"X-HubSpot-Correlation-Id: \x80\r\n", ""},
    {"X-HubSpot-Correlation-Id:\r\n", ""},
    /* 63 bytes fit, 64 do not: half an id would find nothing */
    {"X-HubSpot-Correlation-Id: 123456789012345678901234567890123456789012345678901234567890123\r\n",
     "123456789012345678901234567890123456789012345678901234567890123"},
    {"X-HubSpot-Correlation-Id: 1234567890123456789012345678901234567890123456789012345678901234\r\n", ""},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_headers headers = read_lines(&rows[i].line, 1);

    expect_str(rows[i].line, "id", headers.correlation_id, rows[i].id);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(starts_with_nothing),
    cmocka_unit_test(retry_after_alone),
    cmocka_unit_test(retry_after_among_others),
    cmocka_unit_test(rate_limits),
    cmocka_unit_test(rate_limit_junk),
    cmocka_unit_test(reads_no_further_than_the_line),
    cmocka_unit_test(correlation_id),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

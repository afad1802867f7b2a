/* Dates in header fields. */
#include "unit.h"

#include <time.h>

#include "date.h"

static void reads_all_three_forms(void **state)
{
  static const struct {
    const char *text;
    int64_t seconds; /* -1: it is none */
  } rows[] = {
    {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
    {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
    {"Sun Nov  6 08:49:37 1994", 784111777},
    {"Sat Nov 26 08:49:37 1994", 785839777},
    {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
    {"Thu, 29 Feb 2024 23:59:60 GMT", INT64_C(1709251200)},
    {"Tue, 01 Mar 2022 00:00:00 GMT", INT64_C(1646092800)},
    {"Tue, 19 Jan 2038 03:14:08 GMT", INT64_C(2147483648)}, /* beyond 32 bits */
    {"Friday, 31-Dec-69 23:59:59 GMT", INT64_C(3155759999)},
    {"Thursday, 01-Jan-70 00:00:01 GMT", 1},
    {"Fri, 31 Dec 9999 23:59:59 GMT", INT64_C(253402300799)},
    {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
    {"Sun, 00 Nov 1994 08:49:37 GMT", -1},
    {"Sun, 31 Nov 1994 08:49:37 GMT", -1},
    {"Wed, 29 Feb 2023 08:49:37 GMT", -1},
    {"Thu, 29 Feb 2100 08:49:37 GMT", -1},
    {"Sun, 06 Nov 1994 24:00:00 GMT", -1},
    {"Sun, 06 Nov 1994 08:60:00 GMT", -1},
    {"Sun, 06 Nov 1994 08:49:61 GMT", -1},
    {"Sun, 06 Nov 1994 08:49:37", -1},
    {"Sun, 06 Nov 1994 08:49:37 CET", -1},
    {"Sun, 06 Nov 1994 08:49:37 GMT ", -1},
    {"Sun, 6 Nov 1994 08:49:37 GMT", -1},
    {"Sun, 06 Non 1994 08:49:37 GMT", -1},
    {"Sun, 06-Nov 94 08:49:37 GMT", -1},
    {"Sun, 06 Nov 94 08:49:37 GMT", -1},
    {"Sun, 06 Nov -994 08:49:37 GMT", -1},
    {"Sun, +6 Nov 1994 08:49:37 GMT", -1},
    {"Sun,06 Nov 1994 08:49:37 GMT", -1},
    {"Sun Nov 6 08:49:37 1994", -1},
    {"Sun Nov  6 08:49:37 94", -1},
    {"Sun Nov", -1},
    {"Sun,", -1},
    {"Sun ", -1},
    {"soon", -1},
    {",", -1},
    {" ", -1},
    {"", -1},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++)
    expect_int(rows[i].text, "date", hsa_date(rows[i].text), rows[i].seconds);
}

static void agrees_with_the_system(void **state)
{
  uint64_t seed = 1;
  int i;

  (void)state;
  for (i = 0; i < 2000; i++) {
    time_t when = (time_t)unit_random(&seed, INT32_MAX);
    struct tm parts;
    char text[40];

    assert_non_null(gmtime_r(&when, &parts));
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    expect_int(text, "date", hsa_date(text), when);
    strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &parts);
    expect_int(text, "date", hsa_date(text), when);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(reads_all_three_forms),
    cmocka_unit_test(agrees_with_the_system),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

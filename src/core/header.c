#include "header.h"

#include <string.h>

#include "date.h"
#include "head.h"

#define MAX_RETRY_AFTER (INT64_C(10) * 365 * 24 * 3600) /* s */

typedef struct slice {
  const char *data;
  size_t len;
} slice;

void hsa_headers_reset(hsa_headers *headers)
{
  memset(headers, 0, sizeof *headers);
  headers->retry_after = -1;
  headers->rate = (hsa_rate_limit){-1, -1, -1, -1, -1};
}

static bool is_space(char c)
{
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static slice trim(const char *data, size_t len)
{
  while (len && is_space(data[len - 1]))
    len--;
  while (len && is_space(*data)) {
    data++;
    len--;
  }
  return (slice){data, len};
}

enum { MAX_SURE_DIGITS = 18 }; /* of a number that fits in any case */

static int64_t parse_number(slice value)
{
  int64_t number = 0;
  size_t i;

  if (value.len == 0)
    return -1;
  for (i = 0; i < value.len; i++) {
    int digit = value.data[i] - '0';

    if (digit < 0 || digit > 9)
      return -1;
    if (i < MAX_SURE_DIGITS || number <= (INT64_MAX - digit) / 10)
      number = number * 10 + digit;
    else
      number = INT64_MAX;
  }
  return number;
}

static void set_text(char *field, size_t size, slice value)
{
  if (value.len >= size)
    return;
  memcpy(field, value.data, value.len);
  field[value.len] = '\0';
}

/* Without what a log or a terminal may take amiss. */
static void set_printable(char *field, size_t size, slice value)
{
  size_t i, len = 0;

  if (value.len >= size)
    return;
  for (i = 0; i < value.len; i++)
    if (value.data[i] >= ' ' && value.data[i] <= '~')
      field[len++] = value.data[i];
  field[len] = '\0';
}

static void set_number(int64_t *field, slice value)
{
  int64_t number = parse_number(value);

  if (number >= 0)
    *field = number;
}

static bool is(slice name, const char *expected)
{
  return hsa_is_name(name.data, name.len, expected);
}

static void add_rate(hsa_rate_limit *rate, slice name, slice value)
{
  if (is(name, "Max"))
    set_number(&rate->max, value);
  else if (is(name, "Remaining"))
    set_number(&rate->remaining, value);
  else if (is(name, "Interval-Milliseconds"))
    set_number(&rate->interval_ms, value);
  else if (is(name, "Daily"))
    set_number(&rate->daily, value);
  else if (is(name, "Daily-Remaining"))
    set_number(&rate->daily_remaining, value);
}

/* By the first letter: X-HubSpot-..., Retry-After, Date. Most headers of a response are none of these. */
static bool is_of_interest(const char *line, size_t len)
{
  char letter = len ? (char)(line[0] | 0x20) : '\0';

  return letter == 'x' || letter == 'r' || letter == 'd';
}

void hsa_headers_add(hsa_headers *headers, const char *line, size_t len)
{
  static const char rate_prefix[] = "X-HubSpot-RateLimit-";
  const size_t prefix = sizeof rate_prefix - 1;
  const char *colon = is_of_interest(line, len) ? memchr(line, ':', len) : NULL;
  slice name, value;

  if (!colon)
    return;
  name = (slice){line, (size_t)(colon - line)};
  value = trim(colon + 1, len - name.len - 1);
  if (name.len > prefix && hsa_is_name(line, prefix, rate_prefix))
    add_rate(&headers->rate, (slice){line + prefix, name.len - prefix}, value);
  else if (is(name, "Retry-After") && parse_number(value) >= 0)
    set_number(&headers->retry_after, value);
  else if (is(name, "Retry-After"))
    set_text(headers->retry_after_date, sizeof headers->retry_after_date, value);
  else if (is(name, "Date"))
    set_text(headers->date, sizeof headers->date, value);
  else if (is(name, "X-HubSpot-Correlation-Id"))
    set_printable(headers->correlation_id, sizeof headers->correlation_id, value);
}

int64_t hsa_headers_retry_after(const hsa_headers *headers, int64_t wall)
{
  int64_t seconds = headers->retry_after, then, now;

  if (seconds < 0 && headers->retry_after_date[0]) {
    then = hsa_date(headers->retry_after_date);
    now = headers->date[0] ? hsa_date(headers->date) : wall;
    if (then < 0)
      return -1;
    if (now < 0)
      now = wall;
    seconds = then > now ? then - now : 0;
  }
  if (seconds < 0)
    return -1;
  return (seconds < MAX_RETRY_AFTER ? seconds : MAX_RETRY_AFTER) * HSA_SECOND;
}

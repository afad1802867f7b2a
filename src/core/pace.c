#include "pace.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_REQUESTS = 1000000 };                    /* keeps the ring at 8 MB at most */
#define MIN_MARGIN (INT64_C(20) * HSA_SECOND / 1000) /* 20 ms */
#define MAX_INTERVAL (INT64_C(24) * 3600 * HSA_SECOND)

static hsa_window make_window(int64_t requests, int64_t interval, int shares)
{
  int64_t margin, part = requests / shares;

  if (part == 0) { /* more processes than sends: each has one, in a window so much longer */
    part = 1;
    interval = (interval * shares + requests - 1) / requests;
  }
  margin = interval / 100;
  if (margin < MIN_MARGIN)
    margin = MIN_MARGIN;
  return (hsa_window){part, interval + margin};
}

/* The place in the ring of a send by its number; only with a ring, which clang-tidy cannot see. */
static int64_t *at_number(const hsa_pace *pace, uint64_t number)
{
  /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
  return &pace->sends[number % pace->cap];
}

/* Makes the ring large enough for the window; what it holds stays, the newest last. */
static hsa_status grow(hsa_pace *pace, int64_t requests)
{
  size_t cap = (size_t)requests, kept, i;
  int64_t *sends;

  if (cap <= pace->cap)
    return HSA_OK;
  sends = malloc(cap * sizeof *sends);
  if (!sends)
    return HSA_NOMEM;
  kept = pace->count < pace->cap ? (size_t)pace->count : pace->cap;
  for (i = 1; i <= kept; i++)
    sends[(pace->count - i) % cap] = *at_number(pace, pace->count - i);
  /* Slots between the kept ones and the ring's size were never sent: long ago. */
  for (i = kept + 1; i <= cap && i <= pace->count; i++)
    sends[(pace->count - i) % cap] = INT64_MIN / 2;
  free(pace->sends);
  pace->sends = sends;
  pace->cap = cap;
  return HSA_OK;
}

hsa_status hsa_pace_init(hsa_pace *pace, int64_t requests, int64_t interval, bool is_ceiling, int shares)
{
  memset(pace, 0, sizeof *pace);
  pace->shares = shares > 1 ? shares : 1;
  if (requests <= 0)
    return HSA_OK;
  if (requests > MAX_REQUESTS)
    requests = MAX_REQUESTS;
  pace->own = make_window(requests, interval, pace->shares);
  pace->is_ceiling = is_ceiling;
  pace->hold = INT64_MIN;
  return grow(pace, pace->own.requests);
}

void hsa_pace_free(hsa_pace *pace)
{
  free(pace->sends);
  pace->sends = NULL;
  pace->cap = 0;
}

static int64_t window_next(const hsa_pace *pace, const hsa_window *window, int64_t now)
{
  int64_t oldest;

  if (window->requests == 0 || pace->count < (uint64_t)window->requests)
    return now;
  oldest = *at_number(pace, pace->count - (uint64_t)window->requests);
  return oldest + window->interval > now ? oldest + window->interval : now;
}

int64_t hsa_pace_next(const hsa_pace *pace, int64_t now)
{
  bool server_known = pace->server.requests != 0;
  int64_t next = now, at;

  if (pace->own.requests == 0)
    return now;
  if (pace->is_ceiling || !server_known)
    next = window_next(pace, &pace->own, now);
  at = window_next(pace, &pace->server, now);
  if (at > next)
    next = at;
  return pace->hold > next ? pace->hold : next;
}

uint64_t hsa_pace_count(hsa_pace *pace, int64_t now)
{
  uint64_t number = pace->count;

  if (pace->cap == 0)
    return 0;
  if (number > 0 && *at_number(pace, number - 1) > now)
    now = *at_number(pace, number - 1);
  *at_number(pace, number) = now;
  pace->count++;
  return number;
}

void hsa_pace_sent(hsa_pace *pace, uint64_t number, int64_t at)
{
  uint64_t i;

  /* Later ones that left earlier move along: the ring stays in order, a little to the safe side. */
  if (pace->count - number > pace->cap)
    return;
  for (i = number; i < pace->count && *at_number(pace, i) < at; i++)
    *at_number(pace, i) = at;
}

void hsa_pace_hold(hsa_pace *pace, int64_t until)
{
  if (pace->own.requests && until > pace->hold)
    pace->hold = until;
}

/* Were at least n of the counted sends later than `since`? */
static bool has_sent(const hsa_pace *pace, int64_t n, int64_t since)
{
  if (n <= 0)
    return true;
  return pace->count >= (uint64_t)n && *at_number(pace, pace->count - (uint64_t)n) > since;
}

static int64_t count_since(const hsa_pace *pace, int64_t since)
{
  int64_t n = 0;

  while ((size_t)n < pace->cap && has_sent(pace, n + 1, since))
    n++;
  return n;
}

hsa_status hsa_pace_learn(hsa_pace *pace, const hsa_rate_limit *rate, int64_t sent_at, int64_t now)
{
  int64_t since, used;
  hsa_window server;

  if (pace->own.requests == 0 || rate->max <= 0 || rate->max > MAX_REQUESTS || rate->interval_ms <= 0 ||
      rate->interval_ms > MAX_INTERVAL / 1000)
    return HSA_OK;
  server = make_window(rate->max, rate->interval_ms * 1000, pace->shares);
  if (grow(pace, server.requests) != HSA_OK)
    return HSA_NOMEM;
  pace->server = server;
  if (rate->remaining < 0 || rate->remaining > rate->max || pace->shares > 1)
    return HSA_OK;
  /* What the server has counted and we have not was sent by others. */
  since = sent_at - pace->server.interval;
  used = rate->max - rate->remaining;
  if (has_sent(pace, used, since))
    return HSA_OK;
  for (used -= count_since(pace, since); used > 0; used--)
    hsa_pace_count(pace, now);
  return HSA_OK;
}

/* The sliding window: what it lets through, and when. */
#include "unit.h"

#include <malloc.h>
#include <stdlib.h>

#include "pace.h"

#define S HSA_SECOND
#define MS (HSA_SECOND / 1000)

enum { MAX_SENDS = 4000 };

static hsa_rate_limit limits(int64_t max, int64_t remaining, int64_t interval_ms)
{
  return (hsa_rate_limit){.max = max, .remaining = remaining, .interval_ms = interval_ms, -1, -1};
}

static hsa_pace make(int64_t requests, int64_t interval, bool is_ceiling)
{
  hsa_pace pace;

  assert_int_equal(hsa_pace_init(&pace, requests, interval, is_ceiling, 1), HSA_OK);
  return pace;
}

/* How many go at once, without any wait, at `now`. */
static int64_t burst(hsa_pace *pace, int64_t now)
{
  int64_t n = 0;

  while (n < MAX_SENDS && hsa_pace_next(pace, now) == now) {
    hsa_pace_count(pace, now);
    n++;
  }
  return n;
}

/* ---- shares ---- */

/* However many processes share a rate, all their bursts together are no more than it; where there are more of them than
 * sends, each has one, in a window that is so much longer. */
static void shares(void **state)
{
  static const struct {
    const char *row;
    int64_t requests;
    int shares;
    int64_t burst, wait; /* of one of them */
  } rows[] = {
    {"alone", 100, 1, 100, 10100 * MS},         {"no share", 100, 0, 100, 10100 * MS},
    {"even", 100, 4, 25, 10100 * MS},           {"rounded down", 100, 3, 33, 10100 * MS},
    {"one each", 5, 5, 1, 10100 * MS},          {"nearly two each", 9, 5, 1, 10100 * MS},
    {"more than sends", 5, 10, 1, 20200 * MS},  {"one for all", 1, 64, 1, 646400 * MS},
    {"not even", 3, 4, 1, 13466667},
  };
  hsa_rate_limit limit;
  size_t i;

  (void)state;
  for (i = 0; i < sizeof rows / sizeof *rows; i++) {
    hsa_pace own, server;

    assert_int_equal(hsa_pace_init(&own, rows[i].requests, 10 * S, true, rows[i].shares), HSA_OK);
    expect_int(rows[i].row, "burst", burst(&own, 5 * S), rows[i].burst);
    expect_within(hsa_pace_next(&own, 5 * S), 5 * S + rows[i].wait - 1, 5 * S + rows[i].wait + 1);
    hsa_pace_free(&own);
    assert_int_equal(hsa_pace_init(&server, 1000, 10 * S, false, rows[i].shares), HSA_OK);
    limit = limits(rows[i].requests, rows[i].requests, 10000);
    assert_int_equal(hsa_pace_learn(&server, &limit, 5 * S, 5 * S), HSA_OK);
    expect_int(rows[i].row, "learned", burst(&server, 5 * S), rows[i].burst);
    expect_within(hsa_pace_next(&server, 5 * S), 5 * S + rows[i].wait - 1, 5 * S + rows[i].wait + 1);
    hsa_pace_free(&server);
  }
}

/* ---- the window ---- */

static void whole_burst_at_once(void **state)
{
  static const struct {
    const char *row;
    int64_t requests, interval;
  } rows[] = {
    {"HubSpot's", 100, 10 * S}, {"one", 1, 1 * S}, {"a short interval", 5, 1 * MS}, {"many", 3000, 60 * S}};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace pace = make(rows[i].requests, rows[i].interval, false);
    int64_t start = 5 * S, next;

    expect_int(rows[i].row, "burst", burst(&pace, start), rows[i].requests);
    next = hsa_pace_next(&pace, start);
    /* The margin is the larger of 1 % and 20 ms: enough for jitter, too little to be felt. */
    expect_between(rows[i].row, "wait", next - start, rows[i].interval + 20 * MS,
                   rows[i].interval + 20 * MS + rows[i].interval / 100);
    expect_int(rows[i].row, "asked again later", hsa_pace_next(&pace, next - 1), next);
    expect_int(rows[i].row, "second burst", burst(&pace, next), rows[i].requests);
    hsa_pace_free(&pace);
  }
}

/* A clock may begin anywhere. */
static void any_point_in_time(void **state)
{
  static const int64_t starts[] = {0, -100 * S, 1, INT64_C(1) << 60};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(starts); i++) {
    hsa_pace pace = make(3, 1 * S, true);

    assert_int_equal(burst(&pace, starts[i]), 3);
    assert_true(hsa_pace_next(&pace, starts[i]) > starts[i] + S);
    hsa_pace_free(&pace);
  }
}

static void slides(void **state)
{
  hsa_pace pace = make(3, 10 * S, false);

  (void)state;
  hsa_pace_count(&pace, 0);
  hsa_pace_count(&pace, 4 * S);
  hsa_pace_count(&pace, 8 * S);
  assert_int_equal(hsa_pace_next(&pace, 9 * S), 10100 * MS);
  assert_int_equal(burst(&pace, 10100 * MS), 1);
  assert_int_equal(hsa_pace_next(&pace, 10100 * MS), 14100 * MS);
  assert_int_equal(burst(&pace, 19 * S), 2); /* only that of 10.1 s still counts */
  assert_int_equal(hsa_pace_next(&pace, 19 * S), 20200 * MS);
  hsa_pace_free(&pace);
}

static int by_time(const void *a, const void *b)
{
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

  return (x > y) - (x < y);
}

/* No window of `interval`, wherever it begins, holds more than n: brute force over all of them. */
static void expect_within_rate(const char *row, int64_t *arrivals, size_t count, int64_t n, int64_t interval)
{
  size_t i;

  qsort(arrivals, count, sizeof *arrivals, by_time);
  for (i = (size_t)n; i < count; i++)
    if (arrivals[i] - arrivals[i - (size_t)n] < interval)
      fail_msg("%s: %zu-th arrival makes %" PRId64 " within %" PRId64 " us", row, i, n + 1,
               arrivals[i] - arrivals[i - (size_t)n]);
}

/* A client with pauses and rushes, and a server that each send reaches a little later or earlier. */
static void never_more_than_the_rate(void **state)
{
  static const struct {
    const char *row;
    int64_t requests, interval;
  } rows[] = {{"HubSpot's", 100, 10 * S}, {"7 in 1 s", 7, 1 * S}, {"1 in 100 ms", 1, 100 * MS}, {"19 in 1 s", 19, S}};
  static int64_t arrivals[MAX_SENDS];
  uint64_t seed = 1;
  size_t i, k;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace pace = make(rows[i].requests, rows[i].interval, false);
    int64_t now = 0, gap = rows[i].interval / rows[i].requests;
    int64_t jitter = rows[i].interval / 100 > 20 * MS ? rows[i].interval / 100 : 20 * MS;

    for (k = 0; k < MAX_SENDS; k++) {
      if (unit_random(&seed, 5) == 0)
        now += unit_random(&seed, unit_random(&seed, 20) ? 4 * gap : 2 * rows[i].interval);
      now = hsa_pace_next(&pace, now);
      hsa_pace_count(&pace, now);
      arrivals[k] = now + unit_random(&seed, jitter + 1);
    }
    expect_within_rate(rows[i].row, arrivals, MAX_SENDS, rows[i].requests, rows[i].interval);
    hsa_pace_free(&pace);
  }
}

/* The same with handshakes: counted when begun, sent up to half an interval later, corrected when the answer is in. */
static void never_more_with_late_sends(void **state)
{
  enum { N = 10 };
  static int64_t arrivals[MAX_SENDS];
  struct {
    uint64_t number;
    int64_t at, told;
  } open[MAX_SENDS];
  hsa_pace pace = make(N, 1 * S, false);
  uint64_t seed = 2;
  int64_t now = 0;
  size_t k, first = 0, i;

  (void)state;
  for (k = 0; k < MAX_SENDS; k++) {
    now = hsa_pace_next(&pace, now + unit_random(&seed, 100 * MS));
    for (i = first; i < k; i++) /* answers that came until now, in any order */
      if (open[i].told && open[i].told <= now) {
        hsa_pace_sent(&pace, open[i].number, open[i].at);
        open[i].told = 0;
      }
    while (first < k && !open[first].told)
      first++;
    now = hsa_pace_next(&pace, now);
    open[k].number = hsa_pace_count(&pace, now);
    open[k].at = arrivals[k] = now + unit_random(&seed, S / 2);
    open[k].told = open[k].at + unit_random(&seed, S / 4) + 1;
  }
  expect_within_rate("handshakes", arrivals, MAX_SENDS, N, 1 * S);
  hsa_pace_free(&pace);
}

/* ---- late corrections, one by one ---- */

static void a_late_send_moves_on(void **state)
{
  hsa_pace pace = make(2, 1 * S, false);
  uint64_t first = hsa_pace_count(&pace, 0), second = hsa_pace_count(&pace, 100 * MS);

  (void)state;
  hsa_pace_sent(&pace, second, 50 * MS); /* earlier than counted: stays */
  hsa_pace_sent(&pace, first, 500 * MS); /* the second moves along */
  assert_int_equal(hsa_pace_next(&pace, 0), 1520 * MS);
  hsa_pace_sent(&pace, second, 700 * MS);
  assert_int_equal(hsa_pace_next(&pace, 0), 1520 * MS); /* the first did not */
  hsa_pace_count(&pace, 1520 * MS);
  assert_int_equal(hsa_pace_next(&pace, 1520 * MS), 1720 * MS);
  hsa_pace_free(&pace);
}

/* A correction that comes after its send has left the ring must not hit another's slot. */
static void a_forgotten_send_stays_forgotten(void **state)
{
  hsa_pace pace = make(2, 1 * S, false);
  uint64_t old = hsa_pace_count(&pace, 0);

  (void)state;
  hsa_pace_count(&pace, 1);
  hsa_pace_count(&pace, 2 * S);
  hsa_pace_sent(&pace, old, 100 * S);
  assert_int_equal(hsa_pace_next(&pace, 2 * S), 2 * S);
  hsa_pace_free(&pace);
}

static void the_oldest_send_can_still_move(void **state)
{
  hsa_pace pace = make(2, 1 * S, false);
  uint64_t oldest = hsa_pace_count(&pace, 0);

  (void)state;
  hsa_pace_count(&pace, 900 * MS);
  hsa_pace_sent(&pace, oldest, 500 * MS); /* exactly the ring's size behind */
  assert_int_equal(hsa_pace_next(&pace, 900 * MS), 1520 * MS);
  hsa_pace_free(&pace);
}

/* The ring stays in order, which counting back from its newest relies on: else one's own sends look like others'. */
static void counts_in_order(void **state)
{
  static const hsa_rate_limit one_used = {.max = 10, .remaining = 9, .interval_ms = 10000, -1, -1};
  bool corrected_first;

  (void)state;
  for (corrected_first = false;; corrected_first = true) {
    hsa_pace pace = make(10, 10 * S, false);
    uint64_t first = hsa_pace_count(&pace, 0);

    if (corrected_first) /* the second is counted behind a later one ... */
      hsa_pace_sent(&pace, first, 5 * S);
    hsa_pace_count(&pace, 1 * S);
    if (!corrected_first) /* ... or overtaken by it */
      hsa_pace_sent(&pace, first, 5 * S);
    hsa_pace_learn(&pace, &one_used, 12 * S, 12 * S);
    assert_int_equal(burst(&pace, 12 * S), 8);
    hsa_pace_free(&pace);
    if (corrected_first)
      break;
  }
}

/* ---- learning from headers ---- */

static void learns_the_rate(void **state)
{
  static const struct {
    const char *row;
    bool is_ceiling;
    int64_t max, interval_ms, burst, wait; /* wait: us after the burst */
  } rows[] = {
    {"up", false, 20, 1000, 20, 1020 * MS},
    {"down", false, 5, 1000, 5, 1020 * MS},
    {"another interval", false, 10, 3000, 10, 3030 * MS},
    {"not over the ceiling", true, 20, 1000, 10, 1020 * MS},
    {"below the ceiling", true, 5, 1000, 5, 1020 * MS},
    {"ceiling: the longer wait", true, 10, 3000, 10, 3030 * MS},
    {"ceiling: a shorter interval does not raise it", true, 10, 100, 10, 1020 * MS},
    {"max 0", false, 0, 1000, 10, 1020 * MS},
    {"max unknown", false, -1, 1000, 10, 1020 * MS},
    {"max beyond sense", false, INT64_MAX, 1000, 10, 1020 * MS},
    {"interval 0", false, 20, 0, 10, 1020 * MS},
    {"interval unknown", false, 20, -1, 10, 1020 * MS},
    {"interval beyond sense", false, 20, INT64_MAX, 10, 1020 * MS},
    {"interval of more than a day", false, 20, 86400001, 10, 1020 * MS},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace pace = make(10, 1 * S, rows[i].is_ceiling);
    const hsa_rate_limit rate = limits(rows[i].max, -1, rows[i].interval_ms);

    expect_int(rows[i].row, "learn", hsa_pace_learn(&pace, &rate, 0, 0), HSA_OK);
    expect_int(rows[i].row, "burst", burst(&pace, 0), rows[i].burst);
    expect_int(rows[i].row, "wait", hsa_pace_next(&pace, 0), rows[i].wait);
    hsa_pace_free(&pace);
  }
}

static void learns_again(void **state)
{
  hsa_pace pace = make(10, 1 * S, false);
  hsa_rate_limit rate = limits(30, -1, 1000);

  (void)state;
  hsa_pace_learn(&pace, &rate, 0, 0);
  assert_int_equal(burst(&pace, 0), 30);
  rate.max = 4;
  hsa_pace_learn(&pace, &rate, 10 * S, 10 * S);
  assert_int_equal(burst(&pace, 10 * S), 4);
  rate.max = 12;
  hsa_pace_learn(&pace, &rate, 10 * S, 10 * S);
  assert_int_equal(burst(&pace, 10 * S), 8); /* 4 are spent */
  hsa_pace_free(&pace);
}

/* The ring grows at every fill level and at every place of its newest entry; what was sent before still counts. */
static void growth_keeps_the_sends(void **state)
{
  static const hsa_rate_limit larger = {.max = 25, .remaining = -1, .interval_ms = 1000, -1, -1};
  int64_t before;

  (void)state;
  for (before = 0; before <= 45; before++) {
    hsa_pace pace = make(10, 1 * S, false);
    int64_t now = 0, i, recent = before < 10 ? before : 10;

    for (i = 0; i < before; i++) {
      now = hsa_pace_next(&pace, now + 1 * MS);
      hsa_pace_count(&pace, now);
    }
    assert_int_equal(hsa_pace_learn(&pace, &larger, now, now), HSA_OK);
    assert_int_equal(burst(&pace, now), 25 - recent); /* the last ring's worth lies within the window */
    hsa_pace_free(&pace);
  }
}

/* Numbers given out before the ring grew still mean the same send. */
static void growth_keeps_the_numbers(void **state)
{
  static const hsa_rate_limit larger = {.max = 3, .remaining = -1, .interval_ms = 1000, -1, -1};
  hsa_pace pace = make(2, 1 * S, false);
  uint64_t number;

  (void)state;
  hsa_pace_count(&pace, 0);
  hsa_pace_count(&pace, 10 * S);
  number = hsa_pace_count(&pace, 20 * S);
  hsa_pace_learn(&pace, &larger, 20 * S, 20 * S);
  hsa_pace_sent(&pace, number, 20500 * MS);
  assert_int_equal(burst(&pace, 20500 * MS), 2);
  assert_int_equal(hsa_pace_next(&pace, 20500 * MS), 21520 * MS);
  hsa_pace_free(&pace);
}

/* ---- sends of others ---- */

static void foreign_sends(void **state)
{
  static const struct {
    const char *row;
    int64_t own, remaining, then; /* own sends at 0; what is left at 1 s after learning that `remaining` is left */
  } rows[] = {
    {"none", 3, 7, 7},         {"one", 3, 6, 6},           {"five", 3, 2, 2},
    {"all", 0, 0, 0},          {"all, some own", 3, 0, 0}, {"own not seen yet", 8, 5, 2},
    {"nothing used", 0, 10, 10}, {"unknown", 3, -1, 7},    {"beyond max", 3, 11, 7},
    {"beyond sense", 3, INT64_MAX, 7},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace pace = make(10, 10 * S, false);
    const hsa_rate_limit rate = limits(10, rows[i].remaining, 10000);
    int64_t k;

    for (k = 0; k < rows[i].own; k++)
      hsa_pace_count(&pace, 0);
    hsa_pace_learn(&pace, &rate, 1 * S, 1 * S);
    expect_int(rows[i].row, "burst", burst(&pace, 1 * S), rows[i].then);
    hsa_pace_free(&pace);
  }
}

/* They count from when they were learned of: own slots come back first. */
static void foreign_sends_leave_last(void **state)
{
  static const hsa_rate_limit rate = {.max = 10, .remaining = 2, .interval_ms = 10000, -1, -1};
  hsa_pace pace = make(10, 10 * S, false);

  (void)state;
  hsa_pace_count(&pace, 0);
  hsa_pace_count(&pace, 0);
  hsa_pace_learn(&pace, &rate, 1 * S, 1 * S); /* six of others */
  assert_int_equal(burst(&pace, 1 * S), 2);
  assert_int_equal(hsa_pace_next(&pace, 1 * S), 10100 * MS);
  assert_int_equal(burst(&pace, 10100 * MS), 2);
  assert_int_equal(hsa_pace_next(&pace, 10100 * MS), 11100 * MS);
  assert_int_equal(burst(&pace, 11100 * MS), 8);
  hsa_pace_free(&pace);
}

/* The same answer twice, or answers that overtake each other, count nobody twice. */
static void foreign_sends_once(void **state)
{
  hsa_rate_limit rate = limits(10, 6, 10000);
  hsa_pace pace = make(10, 10 * S, false);

  (void)state;
  hsa_pace_learn(&pace, &rate, 0, 0);
  hsa_pace_learn(&pace, &rate, 0, 0);
  rate.remaining = 8; /* an older answer */
  hsa_pace_learn(&pace, &rate, 1, 1);
  assert_int_equal(burst(&pace, 1), 6);
  hsa_pace_free(&pace);
}

/* Alone on its account a client never meets a limit but its own, even where an answer takes long: what the server
 * counted when the request came is not what lies within an interval of the answer. */
static void own_sends_are_not_foreign(void **state)
{
  hsa_pace pace = make(100, 10 * S, false);
  const hsa_rate_limit rate = limits(100, 49, 10000); /* 50 + 1 used, when the request came */
  int i;

  (void)state;
  for (i = 0; i < 50; i++)
    hsa_pace_count(&pace, 0);
  hsa_pace_count(&pace, 9900 * MS);
  hsa_pace_learn(&pace, &rate, 9900 * MS, 10250 * MS); /* the answer took 350 ms */
  assert_int_equal(burst(&pace, 10250 * MS), 99);
  hsa_pace_free(&pace);
}

/* ---- a whole exchange with a server that tells what remains ---- */

typedef struct message {
  int64_t at; /* point in time at which it arrives */
  int64_t sent_at; /* of the request */
  int64_t remaining;
  bool is_request, is_open;
} message;

static int64_t arrived[MAX_SENDS];
static size_t narrived;

static int64_t server_remaining(int64_t now, int64_t max, int64_t interval)
{
  int64_t used = 0;
  size_t i;

  arrived[narrived++] = now;
  for (i = narrived; i-- > 0 && arrived[i] > now - interval;)
    used++;
  assert_true(used <= max); /* it would have answered 429 */
  return max - used;
}

/* The earliest message still under way. */
static message *next_message(message *messages, size_t n)
{
  message *first = NULL;
  size_t i;

  for (i = 0; i < n; i++)
    if (messages[i].is_open && (!first || messages[i].at < first->at))
      first = &messages[i];
  return first;
}

/* A message has arrived: the server answers a request, the client learns from an answer. */
static void deliver(hsa_pace *pace, message *message, int64_t max, uint64_t *seed)
{
  const hsa_rate_limit rate = limits(max, message->remaining, 10000);

  if (message->is_request) {
    message->remaining = server_remaining(message->at, max, 10 * S);
    message->is_request = false;
    message->at += 30 * MS + unit_random(seed, 100 * MS);
  } else {
    hsa_pace_learn(pace, &rate, message->sent_at, message->at);
    message->is_open = false;
  }
}

/* A client with endless work, 30 to 130 ms away from the server: how many it sends until `end`. */
static int64_t run_exchange(hsa_pace *pace, int64_t max, int64_t end)
{
  static message messages[MAX_SENDS];
  size_t n = 0, done = 0;
  uint64_t seed = 3;
  int64_t now = 0;

  narrived = 0;
  while (n < MAX_SENDS) {
    message *first = next_message(messages + done, n - done);
    int64_t send = hsa_pace_next(pace, now);

    if (first && first->at <= send) {
      now = first->at;
      deliver(pace, first, max, &seed);
    } else if (send >= end)
      break;
    else {
      now = send;
      hsa_pace_count(pace, now);
      messages[n++] = (message){
        .at = now + 30 * MS + unit_random(&seed, 100 * MS), .sent_at = now, .is_request = true, .is_open = true};
    }
    while (done < n && !messages[done].is_open)
      done++;
  }
  return (int64_t)n;
}

/* At full speed there is no 429 (server_remaining checks it) and no burst is left unused. */
static void full_speed(void **state)
{
  static const struct {
    const char *row;
    int64_t configured, max, sent; /* sent: in ten intervals and their margins */
  } rows[] = {
    {"as configured", 100, 100, 1000}, {"the account has more", 100, 190, 1900}, {"the account has less", 10, 8, 80}};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace pace = make(rows[i].configured, 10 * S, false);
    const hsa_rate_limit rate = limits(rows[i].max, -1, 10000);

    if (rows[i].max < rows[i].configured) /* else the first burst is too large, before anything is known */
      hsa_pace_learn(&pace, &rate, 0, 0);
    /* The tenth interval has begun, with time for news of a higher rate. */
    expect_int(rows[i].row, "sent", run_exchange(&pace, rows[i].max, 9 * 10100 * MS + 2 * S), rows[i].sent);
    hsa_pace_free(&pace);
  }
}

/* ---- hold, and no pacing at all ---- */

static void holds(void **state)
{
  hsa_pace pace = make(2, 1 * S, false);

  (void)state;
  assert_int_equal(hsa_pace_next(&pace, -5 * S), -5 * S);
  hsa_pace_hold(&pace, 3 * S);
  hsa_pace_hold(&pace, 2 * S); /* an earlier one does not shorten it */
  assert_int_equal(hsa_pace_next(&pace, 0), 3 * S);
  assert_int_equal(hsa_pace_next(&pace, 3 * S), 3 * S);
  assert_int_equal(hsa_pace_next(&pace, 4 * S), 4 * S);
  assert_int_equal(burst(&pace, 3 * S), 2); /* a hold is not a window: both hold */
  assert_int_equal(hsa_pace_next(&pace, 3 * S), 4020 * MS);
  hsa_pace_hold(&pace, 9 * S);
  assert_int_equal(hsa_pace_next(&pace, 3 * S), 9 * S);
  hsa_pace_free(&pace);
}

static void off(void **state)
{
  static const hsa_rate_limit rate = {.max = 1, .remaining = 0, .interval_ms = 1000, -1, -1};
  static const int64_t requests[] = {0, -1};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(requests); i++) {
    hsa_pace pace = make(requests[i], 10 * S, false);
    uint64_t number = hsa_pace_count(&pace, 0);

    hsa_pace_sent(&pace, number, 100 * S);
    hsa_pace_hold(&pace, 100 * S);
    assert_int_equal(hsa_pace_learn(&pace, &rate, 0, 0), HSA_OK);
    assert_int_equal(burst(&pace, 0), MAX_SENDS);
    assert_int_equal(hsa_pace_next(&pace, -1), -1);
    hsa_pace_free(&pace);
  }
}

/* A number from a configuration file: no more memory than it can ever use. */
static void beyond_sense(void **state)
{
  hsa_pace pace = make(INT64_MAX, 10 * S, false);

  (void)state;
  assert_true(pace.cap <= 1000000);
  assert_int_equal(burst(&pace, 0), MAX_SENDS);
  hsa_pace_free(&pace);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(whole_burst_at_once),
    cmocka_unit_test(any_point_in_time),
    cmocka_unit_test(slides),
    cmocka_unit_test(never_more_than_the_rate),
    cmocka_unit_test(never_more_with_late_sends),
    cmocka_unit_test(a_late_send_moves_on),
    cmocka_unit_test(a_forgotten_send_stays_forgotten),
    cmocka_unit_test(the_oldest_send_can_still_move),
    cmocka_unit_test(counts_in_order),
    cmocka_unit_test(learns_the_rate),
    cmocka_unit_test(learns_again),
    cmocka_unit_test(growth_keeps_the_sends),
    cmocka_unit_test(growth_keeps_the_numbers),
    cmocka_unit_test(foreign_sends),
    cmocka_unit_test(foreign_sends_leave_last),
    cmocka_unit_test(foreign_sends_once),
    cmocka_unit_test(own_sends_are_not_foreign),
    cmocka_unit_test(full_speed),
    cmocka_unit_test(shares),
    cmocka_unit_test(holds),
    cmocka_unit_test(off),
    cmocka_unit_test(beyond_sense),
  };

#ifdef M_PERTURB
  /* glibc fills fresh memory with 0x7f: who takes that for the times of sends waits for ever. */
  mallopt(M_PERTURB, 0x80);
#endif
  return cmocka_run_group_tests(tests, NULL, NULL);
}

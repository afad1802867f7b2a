/* The sliding window: what it lets through, and when. */
#include "unit.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "pace.h"

#define S HSA_SECOND
#define MS (HSA_SECOND / 1000)

enum { MAX_SENDS = 4000 };
enum { COUNTED, OTHER }; /* groups */

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

static int64_t next(const hsa_pace *pace, int64_t now)
{
  return hsa_pace_next(pace, COUNTED, now).at;
}

/* A send that is answered at once, or so much later. */
static void exchange(hsa_pace *pace, int group, int64_t now, int64_t latency)
{
  hsa_slot slot = hsa_pace_begin(pace, group, now);

  hsa_pace_end(pace, &slot, HSA_ENDING_DONE, now + latency);
}

static int64_t burst_of(hsa_pace *pace, int group, int64_t now)
{
  int64_t n = 0;

  for (; n < MAX_SENDS && hsa_pace_next(pace, group, now).at == now; n++)
    exchange(pace, group, now, 0);
  return n;
}

/* How many go at once, without any wait, at `now`, if each is answered at once. */
static int64_t burst(hsa_pace *pace, int64_t now)
{
  return burst_of(pace, COUNTED, now);
}

static hsa_status learn(hsa_pace *pace, const hsa_rate_limit *rate, int64_t now)
{
  return hsa_pace_learn(pace, COUNTED, rate, now, now);
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
    {"alone", 100, 1, 100, 10050 * MS},         {"no share", 100, 0, 100, 10050 * MS},
    {"even", 100, 4, 25, 10050 * MS},           {"rounded down", 100, 3, 33, 10050 * MS},
    {"one each", 5, 5, 1, 10050 * MS},          {"nearly two each", 9, 5, 1, 10050 * MS},
    {"more than sends", 5, 10, 1, 20100 * MS},  {"one for all", 1, 64, 1, 643200 * MS},
    {"not even", 3, 4, 1, 13400000},
  };
  hsa_rate_limit limit;
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace own, server;

    assert_int_equal(hsa_pace_init(&own, rows[i].requests, 10 * S, true, rows[i].shares), HSA_OK);
    expect_int(rows[i].row, "burst", burst(&own, 5 * S), rows[i].burst);
    expect_between(rows[i].row, "wait", next(&own, 5 * S), 5 * S + rows[i].wait - 1, 5 * S + rows[i].wait + 1);
    hsa_pace_free(&own);
    assert_int_equal(hsa_pace_init(&server, 1000, 10 * S, false, rows[i].shares), HSA_OK);
    limit = limits(rows[i].requests, rows[i].requests, 10000);
    assert_int_equal(learn(&server, &limit, 5 * S), HSA_OK);
    expect_int(rows[i].row, "learned", burst(&server, 5 * S), rows[i].burst);
    expect_between(rows[i].row, "wait", next(&server, 5 * S), 5 * S + rows[i].wait - 1, 5 * S + rows[i].wait + 1);
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
    int64_t start = 5 * S, at;

    expect_int(rows[i].row, "burst", burst(&pace, start), rows[i].requests);
    at = next(&pace, start);
    /* The margin is the larger of 0.5 % and 20 ms: too little to be felt. */
    expect_between(rows[i].row, "wait", at - start, rows[i].interval + 20 * MS,
                   rows[i].interval + 20 * MS + rows[i].interval / 200);
    expect_int(rows[i].row, "reason", hsa_pace_next(&pace, COUNTED, start).reason, HSA_PACE_OWN);
    expect_int(rows[i].row, "asked again later", next(&pace, at - 1), at);
    expect_int(rows[i].row, "second burst", burst(&pace, at), rows[i].requests);
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
    assert_true(next(&pace, starts[i]) > starts[i] + S);
    hsa_pace_free(&pace);
  }
}

static void slides(void **state)
{
  hsa_pace pace = make(3, 10 * S, false);

  (void)state;
  exchange(&pace, COUNTED, 0, 0);
  exchange(&pace, COUNTED, 4 * S, 0);
  exchange(&pace, COUNTED, 8 * S, 0);
  assert_int_equal(next(&pace, 9 * S), 10050 * MS);
  assert_int_equal(burst(&pace, 10050 * MS), 1);
  assert_int_equal(next(&pace, 10050 * MS), 14050 * MS);
  assert_int_equal(burst(&pace, 19 * S), 2); /* only that of 10.05 s still counts */
  assert_int_equal(next(&pace, 19 * S), 20100 * MS);
  hsa_pace_free(&pace);
}

/* The server may count a send as late as it answers: its slot is held until then, and the interval after it. */
static void holds_slots_until_the_answer(void **state)
{
  hsa_pace pace = make(2, 1 * S, false);
  hsa_slot slow, quick, lost;

  (void)state;
  exchange(&pace, COUNTED, -9 * S, 8 * S + 900 * MS); /* something is known; it counts until 0.92 s */
  assert_int_equal(burst(&pace, 0), 1);
  slow = hsa_pace_begin(&pace, COUNTED, 1020 * MS);
  quick = hsa_pace_begin(&pace, COUNTED, 1020 * MS);
  assert_int_equal(next(&pace, 1500 * MS), 2520 * MS); /* if an answer came this moment */
  hsa_pace_end(&pace, &quick, HSA_ENDING_DONE, 1600 * MS);
  assert_int_equal(next(&pace, 2 * S), 2620 * MS);
  lost = hsa_pace_begin(&pace, COUNTED, 2620 * MS);
  hsa_pace_end(&pace, &lost, HSA_ENDING_LOST, 2700 * MS); /* given up: it may have been counted */
  assert_int_equal(next(&pace, 2700 * MS), 3720 * MS);
  hsa_pace_end(&pace, &slow, HSA_ENDING_UNSENT, 2800 * MS); /* surely not counted */
  assert_int_equal(burst(&pace, 2800 * MS), 1);
  hsa_pace_free(&pace);
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
    {"another interval", false, 10, 10000, 10, 10050 * MS},
    {"not over the ceiling", true, 20, 1000, 10, 1020 * MS},
    {"below the ceiling", true, 5, 1000, 5, 1020 * MS},
    {"ceiling: the longer wait", true, 10, 10000, 10, 10050 * MS},
    {"ceiling: a shorter interval does not raise it", true, 10, 100, 10, 1020 * MS},
    {"max 0", false, 0, 1000, 10, 1020 * MS},
    {"max unknown", false, -1, 1000, 10, 1020 * MS},
    {"max beyond sense", false, INT64_MAX, 1000, 10, 1020 * MS},
    {"interval 0", false, 20, 0, 10, 1020 * MS},
    {"interval unknown", false, 20, -1, 10, 1020 * MS},
    {"a minute", false, 20, 60000, 20, 60300 * MS},
    /* Claims, not commands: nobody is silenced for longer than a minute. */
    {"more than a minute", false, 20, 60001, 20, 60300 * MS},
    {"a day", false, 1, 86399999, 1, 60300 * MS},
    {"more than a day", false, 20, 86400001, 10, 1020 * MS},
    {"interval beyond sense", false, 20, INT64_MAX, 10, 1020 * MS},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace pace = make(10, 1 * S, rows[i].is_ceiling);
    const hsa_rate_limit rate = limits(rows[i].max, -1, rows[i].interval_ms);

    expect_int(rows[i].row, "learn", learn(&pace, &rate, 0), HSA_OK);
    expect_int(rows[i].row, "burst", burst(&pace, 0), rows[i].burst);
    expect_int(rows[i].row, "wait", next(&pace, 0), rows[i].wait);
    hsa_pace_free(&pace);
  }
}

/* "Max 1, Interval 86399999, Remaining 0" says that nothing may be sent for a day. */
static void a_senseless_answer_silences_for_a_minute(void **state)
{
  const hsa_rate_limit rate = limits(1, 0, 86399999);
  hsa_pace pace = make(100, 10 * S, false);

  (void)state;
  exchange(&pace, COUNTED, 0, 50 * MS);
  hsa_pace_learn(&pace, COUNTED, &rate, 0, 50 * MS);
  assert_int_equal(next(&pace, 1 * S), 60350 * MS);
  assert_int_equal(hsa_pace_next(&pace, COUNTED, 1 * S).reason, HSA_PACE_SERVER);
  assert_int_equal(next(&pace, 60350 * MS), 60350 * MS);
  hsa_pace_free(&pace);
}

/* What no header has told again for a minute is forgotten; what one tells again stays. */
static void a_senseless_answer_is_forgotten(void **state)
{
  const hsa_rate_limit rate = limits(1, 0, 86399999);
  hsa_pace pace = make(100, 10 * S, false);

  (void)state;
  learn(&pace, &rate, 0);
  assert_int_equal(next(&pace, 1 * S), 60300 * MS);
  exchange(&pace, COUNTED, 60300 * MS, 0); /* without headers */
  assert_int_equal(burst(&pace, 60301 * MS), 99);
  learn(&pace, &rate, 80 * S);
  assert_int_equal(burst(&pace, 80 * S), 0);
  learn(&pace, &rate, 140 * S);
  exchange(&pace, COUNTED, 141 * S, 0);
  assert_int_equal(burst(&pace, 142 * S), 0);
  hsa_pace_free(&pace);
}

static void learns_again(void **state)
{
  hsa_pace pace = make(10, 1 * S, false);
  hsa_rate_limit rate = limits(30, -1, 1000);

  (void)state;
  learn(&pace, &rate, 0);
  assert_int_equal(burst(&pace, 0), 30);
  rate.max = 4;
  learn(&pace, &rate, 10 * S);
  assert_int_equal(burst(&pace, 10 * S), 4);
  rate.max = 12;
  learn(&pace, &rate, 10 * S);
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
      now = next(&pace, now + 1 * MS);
      exchange(&pace, COUNTED, now, 0);
    }
    assert_int_equal(learn(&pace, &larger, now), HSA_OK);
    assert_int_equal(burst(&pace, now), 25 - recent); /* the last ring's worth lies within the window */
    hsa_pace_free(&pace);
  }
}

/* ---- sends of others ---- */

/* What is said to remain is what then goes at once. */
static void tells_what_remains(void **state)
{
  hsa_pace pace = make(10, S, true);
  hsa_rate_limit told = limits(8, 6, 1000);
  hsa_slot slow;

  (void)state;
  assert_int_equal(hsa_pace_remaining(&pace, COUNTED, 0), 10);
  slow = hsa_pace_begin(&pace, COUNTED, 0);
  exchange(&pace, COUNTED, 0, 100 * MS);
  assert_int_equal(hsa_pace_remaining(&pace, COUNTED, 100 * MS), 8);
  learn(&pace, &told, 100 * MS);
  assert_int_equal(hsa_pace_remaining(&pace, COUNTED, 100 * MS), 6);
  assert_int_equal(hsa_pace_remaining(&pace, COUNTED, 1200 * MS), 7); /* the slow one holds its slot */
  hsa_pace_end(&pace, &slow, HSA_ENDING_DONE, 1200 * MS);
  assert_int_equal(burst(&pace, 1300 * MS), 7);
  assert_int_equal(hsa_pace_remaining(&pace, COUNTED, 1300 * MS), 0);
  hsa_pace_hold(&pace, 5 * S, 429, true, 3 * S);
  assert_int_equal(hsa_pace_remaining(&pace, COUNTED, 4 * S), 0);
  assert_int_equal(hsa_pace_remaining(&pace, COUNTED, 6 * S), 8);
  hsa_pace_free(&pace);
}

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
      exchange(&pace, COUNTED, 0, 0);
    learn(&pace, &rate, 1 * S);
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
  exchange(&pace, COUNTED, 0, 0);
  exchange(&pace, COUNTED, 0, 0);
  learn(&pace, &rate, 1 * S); /* six of others */
  assert_int_equal(burst(&pace, 1 * S), 2);
  assert_int_equal(next(&pace, 1 * S), 10050 * MS);
  assert_int_equal(burst(&pace, 10050 * MS), 2);
  assert_int_equal(next(&pace, 10050 * MS), 11050 * MS);
  assert_int_equal(burst(&pace, 11050 * MS), 8);
  hsa_pace_free(&pace);
}

/* The same answer twice, or answers that overtake each other, count nobody twice. */
static void foreign_sends_once(void **state)
{
  hsa_rate_limit rate = limits(10, 6, 10000);
  hsa_pace pace = make(10, 10 * S, false);

  (void)state;
  learn(&pace, &rate, 0);
  learn(&pace, &rate, 0);
  rate.remaining = 8; /* an older answer */
  learn(&pace, &rate, 1);
  assert_int_equal(burst(&pace, 1), 6);
  hsa_pace_free(&pace);
}

/* Alone on its account a client never meets a limit but its own: neither sends under way nor what was counted when the
 * request came, long before its answer, are taken for others'. */
static void own_sends_are_not_foreign(void **state)
{
  hsa_pace pace = make(100, 10 * S, false);
  const hsa_rate_limit rate = limits(100, 43, 10000); /* 50 + 7 used, when the request came */
  hsa_slot open[7];
  int i;

  (void)state;
  for (i = 0; i < 50; i++)
    exchange(&pace, COUNTED, 0, 0);
  for (i = 0; i < 7; i++)
    open[i] = hsa_pace_begin(&pace, COUNTED, 9900 * MS);
  hsa_pace_end(&pace, &open[6], HSA_ENDING_DONE, 10250 * MS);
  hsa_pace_learn(&pace, COUNTED, &rate, 9900 * MS, 10250 * MS);
  assert_int_equal(burst(&pace, 10250 * MS), 93);
  hsa_pace_free(&pace);
}

/* Several processes that each take a part of the rate: what the others send is allowed for already. */
static void a_ceiling_leaves_others_the_rest(void **state)
{
  static const struct {
    const char *row;
    int64_t requests, interval, max, remaining, burst; /* a first answer tells max and remaining; burst: after it */
  } rows[] = {
    {"a quarter", 25, 10 * S, 100, 99, 25},
    {"the others use their parts", 25, 10 * S, 100, 25, 25},
    {"the others use more", 25, 10 * S, 100, 15, 15},
    {"the others use all", 25, 10 * S, 100, 0, 0},
    {"a part in a shorter interval", 5, 2 * S, 100, 25, 5},
    {"all of it", 100, 10 * S, 100, 25, 25},
    {"all of it, in a shorter interval", 10, 1 * S, 100, 5, 5},
    {"more than it", 1000, 10 * S, 100, 25, 25},
    {"a part in a longer interval", 30, 60 * S, 100, 70, 30},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_pace pace = make(rows[i].requests, rows[i].interval, true);
    const hsa_rate_limit rate = limits(rows[i].max, rows[i].remaining, 10000);

    learn(&pace, &rate, 0);
    expect_int(rows[i].row, "burst", burst(&pace, 0), rows[i].burst);
    hsa_pace_free(&pace);
  }
}

/* ---- one first ---- */

static void expect_one_first(hsa_pace *pace, int64_t now, const char *row, int64_t answer, int64_t then)
{
  hsa_slot first;

  expect_int(row, "the first", next(pace, now), now);
  first = hsa_pace_begin(pace, COUNTED, now);
  expect_int(row, "the second", next(pace, now), now + 1 * S);
  expect_int(row, "reason", hsa_pace_next(pace, COUNTED, now).reason, HSA_PACE_PROBE);
  hsa_pace_end(pace, &first, HSA_ENDING_DONE, answer);
  expect_int(row, "burst", burst(pace, answer), then);
}

static void sends_one_first(void **state)
{
  hsa_pace pace = make(10, 10 * S, false);
  hsa_slot slow;

  (void)state;
  expect_one_first(&pace, 0, "fresh", 50 * MS, 9);
  assert_int_equal(burst(&pace, 10100 * MS), 10);
  expect_one_first(&pace, 30 * S, "after a long pause", 30 * S + 50 * MS, 9);
  hsa_pace_free(&pace);

  pace = make(10, 10 * S, false);
  slow = hsa_pace_begin(&pace, COUNTED, 0);
  assert_int_equal(burst(&pace, 1 * S - 1), 0);
  assert_int_equal(burst(&pace, 1 * S), 9); /* no longer than a second */
  hsa_pace_end(&pace, &slow, HSA_ENDING_LOST, 2 * S);
  hsa_pace_free(&pace);
}

/* Who sends one after the other never waits for that. */
static void costs_a_sequence_nothing(void **state)
{
  hsa_pace pace = make(10, 10 * S, false);
  int64_t now;

  (void)state;
  for (now = 0; now < 100 * S; now += 2 * S) {
    assert_int_equal(next(&pace, now), now);
    exchange(&pace, COUNTED, now, 1 * S);
  }
  hsa_pace_free(&pace);
}

/* ---- after a refusal ---- */

static void holds(void **state)
{
  hsa_pace pace = make(2, 1 * S, false);

  (void)state;
  assert_int_equal(next(&pace, -5 * S), -5 * S);
  hsa_pace_hold(&pace, 3 * S, 429, true, 0);
  hsa_pace_hold(&pace, 2 * S, 423, false, 0); /* an earlier one does not shorten it */
  assert_int_equal(next(&pace, 0), 3 * S);
  assert_int_equal(hsa_pace_next(&pace, OTHER, 0).at, 3 * S);
  assert_int_equal(hsa_pace_next(&pace, COUNTED, 0).reason, HSA_PACE_HOLD);
  assert_int_equal(pace.hold_status, 429);
  assert_true(pace.is_hold_named);
  assert_int_equal(next(&pace, 3 * S), 3 * S);
  assert_int_equal(next(&pace, 4 * S), 4 * S);
  assert_int_equal(burst(&pace, 3 * S), 2); /* a hold is not a window: both hold */
  assert_int_equal(next(&pace, 3 * S), 4020 * MS);
  hsa_pace_hold(&pace, 9 * S, 477, true, 3 * S);
  assert_int_equal(next(&pace, 3 * S), 9 * S);
  hsa_pace_free(&pace);
}

/* Not before an answer to what was sent after it is anything known again. */
static void sends_one_after_a_refusal(void **state)
{
  hsa_pace pace = make(10, 10 * S, false);
  hsa_slot before, refused;

  (void)state;
  exchange(&pace, COUNTED, 0, 0);
  before = hsa_pace_begin(&pace, COUNTED, 100 * MS);
  refused = hsa_pace_begin(&pace, COUNTED, 100 * MS);
  hsa_pace_end(&pace, &refused, HSA_ENDING_REFUSED, 200 * MS);
  hsa_pace_hold(&pace, 1 * S, 429, false, 200 * MS);
  hsa_pace_end(&pace, &before, HSA_ENDING_DONE, 300 * MS);
  expect_one_first(&pace, 1 * S, "after a refusal", 1100 * MS, 6);
  hsa_pace_free(&pace);
}

/* When the oldest send that counts has left the window: what a 429 that names no time waits for. */
static void knows_the_oldest(void **state)
{
  hsa_pace pace = make(10, 10 * S, false);
  hsa_slot refused = hsa_pace_begin(&pace, COUNTED, 0);
  const hsa_rate_limit rate = limits(10, -1, 5000);

  (void)state;
  assert_int_equal(hsa_pace_oldest(&pace, COUNTED, 0), -1); /* nothing has been counted, as far as is known */
  hsa_pace_end(&pace, &refused, HSA_ENDING_REFUSED, 100 * MS);
  assert_int_equal(hsa_pace_oldest(&pace, COUNTED, 100 * MS), -1);
  exchange(&pace, COUNTED, 1 * S, 0);
  exchange(&pace, COUNTED, 4 * S, 500 * MS);
  assert_int_equal(hsa_pace_oldest(&pace, COUNTED, 5 * S), 6050 * MS);
  assert_int_equal(hsa_pace_oldest(&pace, COUNTED, 12 * S), 2550 * MS);
  assert_int_equal(hsa_pace_oldest(&pace, COUNTED, 20 * S), -1);
  learn(&pace, &rate, 5 * S);
  assert_int_equal(hsa_pace_oldest(&pace, COUNTED, 5 * S), 1025 * MS);
  hsa_pace_free(&pace);
}

/* ---- groups ---- */

/* What one group's headers say holds up nobody else. */
static void groups_learn_apart(void **state)
{
  hsa_pace pace = make(100, 10 * S, false);
  const hsa_rate_limit none_left = limits(10, 0, 60000);

  (void)state;
  exchange(&pace, COUNTED, 0, 0);
  learn(&pace, &none_left, 0);
  assert_int_equal(next(&pace, 0), 60300 * MS);
  assert_int_equal(burst_of(&pace, OTHER, 0), 99);
  hsa_pace_free(&pace);
}

/* They may be counted together, and are so until the server has surely counted fewer. */
static void groups_are_counted_together_at_first(void **state)
{
  hsa_pace pace = make(10, 10 * S, false);
  hsa_rate_limit rate = limits(10, 2, 10000);
  hsa_slot slot;
  int i;

  (void)state;
  rate.remaining = 10;
  learn(&pace, &rate, -20 * S);
  rate.remaining = 2;
  for (i = 0; i < 7; i++)
    exchange(&pace, OTHER, 0, 0);
  exchange(&pace, COUNTED, 1 * S, 0);
  hsa_pace_learn(&pace, COUNTED, &rate, 1 * S, 1 * S); /* eight are used: both groups' */
  assert_int_equal(burst(&pace, 1 * S), 2);

  slot = hsa_pace_begin(&pace, COUNTED, 11100 * MS);
  hsa_pace_end(&pace, &slot, HSA_ENDING_DONE, 11200 * MS);
  assert_int_equal(burst_of(&pace, OTHER, 11200 * MS), 9);
  exchange(&pace, COUNTED, 12 * S, 0);
  rate.remaining = 8; /* of these eleven two count here */
  hsa_pace_learn(&pace, COUNTED, &rate, 12 * S, 12 * S);
  assert_true(pace.groups[COUNTED].is_apart);
  exchange(&pace, OTHER, 13 * S, 0);
  assert_int_equal(burst(&pace, 21300 * MS), 9);
  hsa_pace_hold(&pace, 22 * S, 429, false, 21300 * MS); /* it was wrong, it seems */
  assert_false(pace.groups[COUNTED].is_apart);
  hsa_pace_free(&pace);
}

/* ---- no pacing at all, and numbers beyond sense ---- */

static void off(void **state)
{
  static const hsa_rate_limit rate = {.max = 1, .remaining = 0, .interval_ms = 1000, -1, -1};
  static const int64_t requests[] = {0, -1};
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(requests); i++) {
    hsa_pace pace = make(requests[i], 10 * S, false);
    hsa_slot slot = hsa_pace_begin(&pace, COUNTED, 0);

    assert_int_equal(burst(&pace, 0), MAX_SENDS);
    hsa_pace_end(&pace, &slot, HSA_ENDING_REFUSED, 100 * S);
    hsa_pace_hold(&pace, 100 * S, 429, true, 0);
    assert_int_equal(learn(&pace, &rate, 0), HSA_OK);
    assert_int_equal(burst(&pace, 0), MAX_SENDS);
    assert_int_equal(next(&pace, -1), -1);
    assert_int_equal(hsa_pace_oldest(&pace, COUNTED, 0), -1);
    hsa_pace_free(&pace);
  }
}

/* A number from a configuration file: no more memory than it can ever use. */
static void beyond_sense(void **state)
{
  hsa_pace pace = make(INT64_MAX, 10 * S, false);

  (void)state;
  assert_true(pace.own.cap <= 1000000);
  assert_int_equal(burst(&pace, 0), MAX_SENDS);
  hsa_pace_free(&pace);
}

/* ---- whole exchanges with a server that has a true rolling window ---- */

enum { MOST_CLIENTS = 4, MOST_OPEN = 32 };

typedef struct request {
  bool is_open, is_counted, is_refused;
  hsa_slot slot;
  int64_t sent_at, count_at, answer_at; /* points in time */
  int64_t remaining;
} request;

typedef struct client {
  hsa_pace pace;
  request requests[MOST_OPEN];
  int in_flight, most; /* most: connections */
  int todo, refused, knocks; /* knocks: refusals one after the other */
  int64_t done_at;
} client;

typedef struct world {
  client clients[MOST_CLIENTS];
  int nclients;
  int64_t counted[MAX_SENDS]; /* by the server: points in time */
  size_t ncounted;
  int64_t max, interval, latency; /* latency: the longest */
  bool is_silent;                 /* it has no rate headers */
  uint64_t seed;
} world;

static int64_t used(const world *w, int64_t now)
{
  int64_t n = 0;
  size_t i;

  for (i = w->ncounted; i-- > 0 && w->counted[i] > now - w->interval;)
    n++;
  return n;
}

static void serve(world *w, request *r)
{
  r->is_counted = true;
  r->is_refused = used(w, r->count_at) >= w->max;
  if (!r->is_refused)
    w->counted[w->ncounted++] = r->count_at;
  r->remaining = w->max - used(w, r->count_at);
}

static void receive(world *w, client *c, request *r)
{
  hsa_rate_limit rate = limits(w->is_silent ? -1 : w->max, r->is_refused ? -1 : r->remaining, w->interval / MS);
  int64_t now = r->answer_at, pause, oldest;

  r->is_open = false;
  c->in_flight--;
  oldest = hsa_pace_oldest(&c->pace, COUNTED, now);
  hsa_pace_end(&c->pace, &r->slot, r->is_refused ? HSA_ENDING_REFUSED : HSA_ENDING_DONE, now);
  hsa_pace_learn(&c->pace, COUNTED, &rate, r->sent_at, now);
  c->done_at = now;
  if (!r->is_refused) {
    c->knocks = 0;
    return;
  }
  c->todo++; /* as the engine: it waits, then comes first */
  c->refused++;
  pause = c->knocks++ || oldest < 0 ? (S / 4) << (c->knocks < 5 ? c->knocks - 1 : 4) : 0;
  hsa_pace_hold(&c->pace, now + (oldest > pause ? oldest : pause), 429, false, now);
}

static void send(world *w, client *c, int64_t now)
{
  request *r = c->requests;
  int64_t latency = unit_random(&w->seed, w->latency + 1);

  while (r->is_open)
    r++;
  *r = (request){.is_open = true, .sent_at = now, .count_at = now + unit_random(&w->seed, latency + 1),
                 .answer_at = now + latency, .slot = hsa_pace_begin(&c->pace, COUNTED, now)};
  c->in_flight++;
  c->todo--;
}

/* What happens next: the server counts, an answer arrives, or a client sends. False: nothing is left to do. */
static bool step(world *w, int64_t *now)
{
  int64_t at = INT64_MAX;
  client *c, *whose = NULL;
  request *r, *which = NULL;

  for (c = w->clients; c < w->clients + w->nclients; c++) {
    int64_t leave = c->todo > 0 && c->in_flight < c->most ? next(&c->pace, *now) : INT64_MAX;

    if (leave < at) {
      at = leave;
      whose = c;
      which = NULL;
    }
    for (r = c->requests; r < c->requests + MOST_OPEN; r++)
      if (r->is_open && (r->is_counted ? r->answer_at : r->count_at) < at) {
        at = r->is_counted ? r->answer_at : r->count_at;
        whose = c;
        which = r;
      }
  }
  if (!whose)
    return false;
  *now = at;
  if (!which)
    send(w, whose, at);
  else if (which->is_counted)
    receive(w, whose, which);
  else
    serve(w, which);
  return true;
}

static void run(world *w)
{
  int64_t now = 0;

  while (step(w, &now))
    assert_true(w->ncounted < MAX_SENDS);
}

static world *make_world(int clients, int calls, int most, int64_t latency, uint64_t seed)
{
  world *w = calloc(1, sizeof *w);
  int i;

  assert_non_null(w);
  *w = (world){.nclients = clients, .max = 100, .interval = 10 * S, .latency = latency, .seed = seed};
  for (i = 0; i < clients; i++) {
    w->clients[i].pace = make(100, 10 * S, false);
    w->clients[i].todo = calls;
    w->clients[i].most = most;
  }
  return w;
}

static void free_world(world *w)
{
  int i;

  for (i = 0; i < w->nclients; i++)
    hsa_pace_free(&w->clients[i].pace);
  free(w);
}

/* No 429, and at least 95 % of the ideal rate: the n-th call cannot come earlier than its window, nor than its
 * connection is free. */
static void full_speed(void **state)
{
  static const struct {
    const char *row;
    int most;
    int64_t latency;
    bool is_silent;
  } rows[] = {
    {"one at a time", 1, 80 * MS, false},
    {"8 in flight", 8, 300 * MS, false},
    {"32 in flight", 32, 300 * MS, false},
    {"32 in flight, without headers", 32, 300 * MS, true},
  };
  size_t i;
  uint64_t seed;

  (void)state;
  for (i = 0; i < COUNT(rows); i++)
    for (seed = 1; seed <= 20; seed++) {
      world *w = make_world(1, 1001, rows[i].most, rows[i].latency, seed);

      w->is_silent = rows[i].is_silent;
      run(w);
      expect_int(rows[i].row, "counted", (int64_t)w->ncounted, 1001);
      expect_int(rows[i].row, "refused", w->clients[0].refused, 0);
      expect_between(rows[i].row, "time", w->clients[0].done_at, 100 * S, 100 * S * 100 / 95);
      free_world(w);
    }
}

/* Answers that take longer than the whole window, and rates of all kinds: slower, but never a 429. */
static void never_more_than_the_rate(void **state)
{
  static const struct {
    const char *row;
    int64_t requests, interval, latency;
  } rows[] = {{"long answers", 100, 10 * S, 15 * S}, {"7 in 1 s", 7, 1 * S, 500 * MS},
              {"1 in 100 ms", 1, 100 * MS, 90 * MS}, {"19 in 1 s", 19, S, 2 * S}, {"quick answers", 100, 10 * S, 0}};
  size_t i;
  uint64_t seed;

  (void)state;
  for (i = 0; i < COUNT(rows); i++)
    for (seed = 1; seed <= 20; seed++) {
      world *w = make_world(1, 500, MOST_OPEN, rows[i].latency, seed);

      hsa_pace_free(&w->clients[0].pace);
      w->clients[0].pace = make(rows[i].requests, rows[i].interval, false);
      w->max = rows[i].requests;
      w->interval = rows[i].interval;
      run(w);
      expect_int(rows[i].row, "counted", (int64_t)w->ncounted, 500);
      expect_int(rows[i].row, "refused", w->clients[0].refused, 0);
      free_world(w);
    }
}

/* Who shares an account unknowingly is refused now and then, but loses nothing and uses most of the rate. (For
 * more than two there are limiters.) */
static void clients_together(void **state)
{
  static const struct {
    const char *row;
    int clients;
    int64_t time, refused; /* at most */
  } rows[] = {{"two", 2, 60 * S, 45}, {"four", 4, 135 * S, 260}};
  size_t i;
  uint64_t seed;
  int k;

  (void)state;
  for (i = 0; i < COUNT(rows); i++)
    for (seed = 1; seed <= 20; seed++) {
      world *w = make_world(rows[i].clients, 300, 8, 300 * MS, seed);
      int64_t refused = 0;

      run(w);
      expect_int(rows[i].row, "counted", (int64_t)w->ncounted, 300 * rows[i].clients);
      for (k = 0; k < w->nclients; k++) {
        refused += w->clients[k].refused;
        expect_between(rows[i].row, "time", w->clients[k].done_at, 10 * S, rows[i].time);
      }
      expect_between(rows[i].row, "refused", refused, 0, rows[i].refused);
      free_world(w);
    }
}

/* One begins when another has just used the window up: it learns that from its first answer. */
static void a_second_client(void **state)
{
  uint64_t seed;

  (void)state;
  for (seed = 1; seed <= 20; seed++) {
    world *w = make_world(1, 150, 8, 300 * MS, seed);

    for (; w->ncounted < 100; w->ncounted++)
      w->counted[w->ncounted] = -1 * S + (int64_t)w->ncounted * 9 * MS;
    run(w);
    expect_int("second", "counted", (int64_t)w->ncounted, 250);
    expect_between("second", "refused", w->clients[0].refused, 0, 7);
    expect_between("second", "time", w->clients[0].done_at, 19 * S, 33 * S);
    free_world(w);
  }
}

/* Four processes with a quarter each use all of the rate. */
static void quarters(void **state)
{
  world *w = make_world(4, 225, 8, 300 * MS, 1);
  int i;

  (void)state;
  for (i = 0; i < 4; i++) {
    hsa_pace_free(&w->clients[i].pace);
    w->clients[i].pace = make(25, 10 * S, true);
  }
  run(w);
  assert_int_equal(w->ncounted, 900);
  for (i = 0; i < 4; i++) {
    expect_int("quarter", "refused", w->clients[i].refused, 0);
    expect_between("quarter", "time", w->clients[i].done_at, 80 * S, 80 * S * 100 / 95);
  }
  free_world(w);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(whole_burst_at_once),
    cmocka_unit_test(any_point_in_time),
    cmocka_unit_test(slides),
    cmocka_unit_test(holds_slots_until_the_answer),
    cmocka_unit_test(learns_the_rate),
    cmocka_unit_test(a_senseless_answer_silences_for_a_minute),
    cmocka_unit_test(a_senseless_answer_is_forgotten),
    cmocka_unit_test(learns_again),
    cmocka_unit_test(growth_keeps_the_sends),
    cmocka_unit_test(tells_what_remains),
    cmocka_unit_test(foreign_sends),
    cmocka_unit_test(foreign_sends_leave_last),
    cmocka_unit_test(foreign_sends_once),
    cmocka_unit_test(own_sends_are_not_foreign),
    cmocka_unit_test(a_ceiling_leaves_others_the_rest),
    cmocka_unit_test(sends_one_first),
    cmocka_unit_test(costs_a_sequence_nothing),
    cmocka_unit_test(holds),
    cmocka_unit_test(sends_one_after_a_refusal),
    cmocka_unit_test(knows_the_oldest),
    cmocka_unit_test(groups_learn_apart),
    cmocka_unit_test(groups_are_counted_together_at_first),
    cmocka_unit_test(shares),
    cmocka_unit_test(off),
    cmocka_unit_test(beyond_sense),
    cmocka_unit_test(full_speed),
    cmocka_unit_test(never_more_than_the_rate),
    cmocka_unit_test(clients_together),
    cmocka_unit_test(a_second_client),
    cmocka_unit_test(quarters),
  };

#ifdef M_PERTURB
  /* glibc fills fresh memory with 0x7f: who takes that for the times of sends waits for ever. */
  mallopt(M_PERTURB, 0x80);
#endif
  return cmocka_run_group_tests(tests, NULL, NULL);
}

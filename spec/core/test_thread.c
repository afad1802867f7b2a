/* The engine with an I/O thread of its own: all that calls go through without one, and what only a thread brings with it:
 * news by a descriptor, calls freed while libcurl works on them, signals, fork, exit. */
#include "fixture.h"

#include <poll.h>

/* ---- helpers ---- */

static void begin_threaded(fixture *f, const server_step *steps, size_t nsteps)
{
  begin(f, steps, nsteps);
  assert_int_equal(hsa_engine_start_thread(f->engine), HSA_OK);
}

static bool is_readable(hsa_engine *engine)
{
  struct pollfd poll_fd = {.fd = hsa_engine_fd(engine), .events = POLLIN};

  assert_true(poll_fd.fd >= 0);
  return poll(&poll_fd, 1, 0) == 1;
}

/* The next call, as an event loop finds it: by the descriptor only. */
static hsa_call *next_by_fd(hsa_engine *engine)
{
  struct pollfd poll_fd = {.fd = hsa_engine_fd(engine), .events = POLLIN};
  hsa_call *call;

  assert_int_equal(poll(&poll_fd, 1, LIMIT / MS), 1);
  call = hsa_engine_next(engine);
  assert_non_null(call);
  return call;
}

/* Waits until the server has seen n requests; fails after 5 s. */
static void await_requests(fixture *f, int n)
{
  server_expect(&f->server.log->requests, n);
}

/* Until the call is in this state, without hsa_call_run: nobody but the thread moves it. */
static void await_state(hsa_call *call, hsa_state state)
{
  int64_t give_up_at = hsa_now() + LIMIT;

  while (hsa_call_state(call) != state && hsa_now() < give_up_at)
    server_sleep(1);
  assert_int_equal(hsa_call_state(call), state);
}

static int64_t cpu_time(void)
{
  struct timespec ts;

  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return (int64_t)ts.tv_sec * S + ts.tv_nsec / 1000;
}

/* ---- calls that move on by themselves ---- */

static void calls_end_by_themselves(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  enum { N = 30 };
  fixture *f = *state;
  hsa_call *calls[N];
  int given[N] = {0};
  int i, n;

  begin_threaded(f, steps, 1);
  for (i = 0; i < N; i++) {
    hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);

    request.user = &given[i];
    calls[i] = start(f, &request);
  }
  for (n = 0; n < N; n++) {
    hsa_call *call = next_by_fd(f->engine);

    assert_int_equal(hsa_call_state(call), HSA_DONE);
    assert_int_equal(hsa_call_outcome(call)->kind, HSA_SUCCESS);
    assert_string_equal(hsa_call_outcome(call)->body, "{}");
    ++*(int *)hsa_call_user(call);
  }
  for (i = 0; i < N; i++) {
    assert_int_equal(given[i], 1);
    hsa_call_free(calls[i]);
  }
  assert_null(hsa_engine_next(f->engine));
  assert_false(is_readable(f->engine));
  assert_int_equal(requests(f), N);
}

/* However early or late the thread is started, and however often. */
static void starts_at_any_time(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}, {.reply = OK_REPLY, .delay = 20}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *done, *sending, *queued;

  begin(f, steps, 1);
  assert_int_equal(hsa_engine_start_thread(f->engine), HSA_OK); /* no call was ever made */
  assert_int_equal(hsa_engine_start_thread(f->engine), HSA_OK);
  finish(f);

  f->config.max_connections = 1;
  begin(f, steps, COUNT(steps));
  done = start_simple(f, HSA_ONCE);
  outcome_of(done);
  sending = start_simple(f, HSA_ONCE);
  while (requests(f) < 2)
    hsa_call_run(sending, hsa_now() + MS); /* its first half without the thread */
  queued = start_simple(f, HSA_ONCE);
  assert_int_equal(hsa_engine_start_thread(f->engine), HSA_OK);
  await_state(sending, HSA_DONE);
  await_state(queued, HSA_DONE);
  assert_int_equal(hsa_call_outcome(sending)->kind, HSA_SUCCESS);
  assert_int_equal(hsa_call_outcome(queued)->kind, HSA_SUCCESS);
  assert_int_equal(connections(f), 1);
  hsa_call_free(done);
  hsa_call_free(sending);
  hsa_call_free(queued);
}

static void parked_until_told_to_go(void **state)
{
  static const server_step steps[] = {{.reply = EXPIRED_REPLY}, {.reply = BUSY_REPLY}, {.reply = OK_REPLY}};
  static const hsa_reason reasons[] = {HSA_REASON_FIRST, HSA_REASON_EXPIRED, HSA_REASON_RETRY};
  static const char *const tokens[] = {"stale", "fresh", NULL};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_EVERY);
  hsa_call *call, *refused;
  size_t i;

  begin_threaded(f, steps, COUNT(steps));
  call = start(f, &request);
  for (i = 0; i < COUNT(reasons); i++) {
    assert_ptr_equal(next_by_fd(f->engine), call);
    assert_int_equal(hsa_call_state(call), HSA_PARKED);
    assert_int_equal(hsa_call_reason(call), reasons[i]);
    server_sleep(5);
    assert_int_equal(requests(f), i); /* the thread does not go ahead of us */
    assert_int_equal(hsa_call_proceed(call, tokens[i], i == 2 ? 10 * MS : 0), HSA_OK);
  }
  assert_ptr_equal(next_by_fd(f->engine), call);
  assert_int_equal(hsa_call_outcome(call)->kind, HSA_SUCCESS);
  assert_int_equal(hsa_call_outcome(call)->attempts, 3);
  assert_non_null(strstr(seen(f, 2)->head, "Bearer fresh\r\n"));
  hsa_call_free(call);

  refused = start(f, &request);
  assert_ptr_equal(next_by_fd(f->engine), refused);
  hsa_call_refuse(refused, HSA_CONFIG, false);
  assert_int_equal(hsa_call_run(refused, hsa_now() + LIMIT), HSA_DONE);
  assert_int_equal(hsa_call_outcome(refused)->kind, HSA_CONFIG);
  hsa_call_free(refused);
}

/* The same as without the thread: which events, in which order, and that each wants attention. */
static void events_as_they_come(void **state)
{
  static const server_step steps[] = {{.reply = BUSY_REPLY}, {.reply = OK_REPLY}};
  static const hsa_event_type want[] = {HSA_EVENT_ATTEMPT, HSA_EVENT_RETRY, HSA_EVENT_ATTEMPT, HSA_EVENT_DONE};
  fixture *f = *state;
  hsa_event event;
  hsa_call *call;
  size_t n = 0;

  f->config.events = ~0U;
  begin_threaded(f, steps, COUNT(steps));
  call = start_simple(f, HSA_ONCE);
  while (n < COUNT(want)) {
    assert_ptr_equal(next_by_fd(f->engine), call);
    while (hsa_call_event(call, &event)) {
      assert_true(n < COUNT(want));
      assert_int_equal(event.type, want[n]);
      n++;
    }
  }
  assert_int_equal(hsa_call_state(call), HSA_DONE);
  assert_false(is_readable(f->engine));
  hsa_call_free(call);
}

/* Who has taken an event without being given the call waits for the next one, and is woken by it. */
static void events_taken_early(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 50}};
  fixture *f = *state;
  hsa_event event;
  hsa_call *call;
  int64_t began;

  f->config.events = ~0U;
  begin_threaded(f, steps, 1);
  call = start_simple(f, HSA_ONCE);
  while (!hsa_call_event(call, &event))
    server_sleep(1);
  assert_int_equal(event.type, HSA_EVENT_ATTEMPT);
  assert_false(is_readable(f->engine));
  assert_null(hsa_engine_next(f->engine));
  began = hsa_now();
  assert_int_equal(hsa_call_run(call, hsa_now() + LIMIT), HSA_DONE);
  expect_within(hsa_now() - began, 0, LIMIT / 2);
  hsa_call_free(call);
}

/* ---- the descriptor ---- */

static void readable_while_there_is_a_call_to_give(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_request parked = request_of(HSA_ONCE, HSA_PARK_FIRST);
  hsa_call *one, *two;

  begin_threaded(f, steps, 1);
  assert_false(is_readable(f->engine)); /* valid before the first call */

  one = start(f, &parked);
  two = start(f, &parked);
  assert_true(is_readable(f->engine));
  assert_ptr_equal(hsa_engine_next(f->engine), one); /* first come, first served */
  assert_true(is_readable(f->engine));
  assert_ptr_equal(hsa_engine_next(f->engine), two);
  assert_false(is_readable(f->engine));
  assert_null(hsa_engine_next(f->engine));

  hsa_call_refuse(one, HSA_CONFIG, false);
  assert_true(is_readable(f->engine));
  hsa_call_free(one); /* it cannot be given any more */
  assert_false(is_readable(f->engine));

  assert_int_equal(hsa_call_proceed(two, "token", 0), HSA_OK);
  assert_int_equal(hsa_call_run(two, hsa_now() + LIMIT), HSA_DONE); /* whoever awaited it knows */
  assert_false(is_readable(f->engine));
  hsa_call_free(two);

  one = start(f, &parked);
  assert_int_equal(hsa_call_proceed(one, "token", LIMIT / 2), HSA_OK); /* parked no longer, and not given before */
  assert_false(is_readable(f->engine));
  hsa_call_free(one);

  one = start_simple(f, HSA_ONCE);
  await_state(one, HSA_DONE);
  assert_true(is_readable(f->engine));
  hsa_call_cancel(one);
  assert_false(is_readable(f->engine));
}

static void readable_when_asked_for_late(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;

  begin_threaded(f, steps, 1);
  call = start_simple(f, HSA_ONCE);
  await_state(call, HSA_DONE);
  assert_true(is_readable(f->engine)); /* the descriptor is made only here */
  assert_ptr_equal(hsa_engine_next(f->engine), call);
  assert_false(is_readable(f->engine));
  hsa_call_free(call);
}

static void readable_while_announced(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;

  begin_threaded(f, steps, 1);
  hsa_engine_announce(f->engine, true);
  assert_true(is_readable(f->engine));
  assert_null(hsa_engine_next(f->engine));
  assert_true(is_readable(f->engine));
  call = start_simple(f, HSA_ONCE);
  await_state(call, HSA_DONE);
  hsa_engine_announce(f->engine, false);
  assert_true(is_readable(f->engine)); /* for the call */
  hsa_engine_announce(f->engine, true);
  assert_ptr_equal(hsa_engine_next(f->engine), call);
  assert_true(is_readable(f->engine));
  hsa_engine_announce(f->engine, false);
  assert_false(is_readable(f->engine));
  hsa_call_free(call);
}

/* ---- waiting ---- */

static void run_returns_in_time(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 60}, {.reply = NULL}};
  static const int64_t waits[] = {INT64_MIN / 2, -S, 0, 1, 20 * MS};
  fixture *f = *state;
  hsa_call *call, *hangs;
  size_t i;

  begin_threaded(f, steps, COUNT(steps));
  hsa_engine_run(f->engine, hsa_now()); /* no call was ever made */
  call = start_simple(f, HSA_ONCE);
  await_requests(f, 1);
  hangs = start_simple(f, HSA_ONCE);
  for (i = 0; i < COUNT(waits); i++) {
    int64_t began = hsa_now();

    assert_int_equal(hsa_call_run(hangs, began + waits[i]), HSA_RUNNING);
    expect_within(hsa_now() - began, waits[i] > 0 ? waits[i] : 0, LIMIT / 2);
  }
  hsa_engine_run(f->engine, hsa_now() + LIMIT); /* until there is something */
  assert_ptr_equal(hsa_engine_next(f->engine), call);
  assert_int_equal(hsa_call_state(call), HSA_DONE);
  for (i = 0; i < COUNT(waits); i++) {
    int64_t began = hsa_now();

    hsa_engine_run(f->engine, began + waits[i]);
    expect_within(hsa_now() - began, waits[i] > 0 ? waits[i] : 0, LIMIT / 2);
    assert_null(hsa_engine_next(f->engine));
  }
  hsa_call_free(call);
  hsa_call_free(hangs);
}

/* Until whenever it may be: the thread's news end the wait. */
static void run_without_an_end(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 20}};
  fixture *f = *state;
  hsa_call *one, *two;

  begin_threaded(f, steps, 1);
  one = start_simple(f, HSA_ONCE);
  assert_int_equal(hsa_call_run(one, INT64_MAX), HSA_DONE);
  two = start_simple(f, HSA_ONCE);
  hsa_engine_run(f->engine, INT64_MAX);
  assert_ptr_equal(hsa_engine_next(f->engine), two);
  hsa_call_free(one);
  hsa_call_free(two);
}

/* Who awaits one call is not disturbed by others, and takes nothing from those that await any. */
static void each_waits_for_its_own(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}, {.reply = OK_REPLY, .together = 4}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *first, *slow, *third, *last;

  begin_threaded(f, steps, COUNT(steps));
  first = start_simple(f, HSA_ONCE);
  await_state(first, HSA_DONE);
  slow = start_simple(f, HSA_ONCE); /* its answer waits for the last call's request */
  await_requests(f, 2);
  third = start_simple(f, HSA_ONCE);
  while (hsa_call_state(third) != HSA_DONE)
    assert_int_equal(hsa_call_run(slow, hsa_now() + 10 * MS), HSA_RUNNING);
  last = start_simple(f, HSA_ONCE);
  assert_int_equal(hsa_call_run(slow, hsa_now() + LIMIT), HSA_DONE);
  assert_int_equal(hsa_call_run(last, hsa_now() + LIMIT), HSA_DONE);
  assert_ptr_equal(hsa_engine_next(f->engine), first);
  assert_ptr_equal(hsa_engine_next(f->engine), third);
  assert_null(hsa_engine_next(f->engine));
  hsa_call_free(first);
  hsa_call_free(slow);
  hsa_call_free(third);
  hsa_call_free(last);
}

/* Nobody spins, whatever is waited for; the monotonic clock is right for all of them. */
static void waiting_costs_nothing(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}, {.reply = NULL}};
  fixture *f = *state;
  const hsa_request parked = request_of(HSA_ONCE, HSA_PARK_FIRST);
  hsa_call *calls[4];
  int64_t began, spent;
  int i;

  f->config.rate_requests = 2;
  f->config.rate_interval = LIMIT / 2;
  begin_threaded(f, steps, COUNT(steps));
  assert_int_equal(status_of_one(f, HSA_ONCE), 200); /* an idle connection */
  calls[0] = start_simple(f, HSA_ONCE);              /* no answer comes */
  await_requests(f, 2);
  calls[1] = start_simple(f, HSA_ONCE); /* held by the rate */
  calls[2] = start(f, &parked);
  calls[3] = start(f, &parked);
  assert_int_equal(hsa_call_proceed(calls[3], "token", LIMIT / 2), HSA_OK);
  assert_ptr_equal(hsa_engine_next(f->engine), calls[2]);
  server_sleep(10); /* all are where they wait */
  began = hsa_now();
  spent = cpu_time();
  hsa_engine_run(f->engine, began + 100 * MS);
  assert_int_equal(hsa_call_run(calls[1], began + 200 * MS), HSA_RUNNING);
  expect_within(hsa_now() - began, 200 * MS, LIMIT / 2);
  expect_within(cpu_time() - spent, 0, 80 * MS);
  for (i = 0; i < 4; i++)
    hsa_call_free(calls[i]);
}

/* ---- deadlines, retries, the rate ---- */

static void tries_again(void **state)
{
  static const server_step steps[] = {{.reply = BUSY_REPLY}, {.reply = BUSY_REPLY}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *call;

  begin_threaded(f, steps, COUNT(steps));
  call = start_simple(f, HSA_ONCE);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
  assert_int_equal(hsa_call_outcome(call)->attempts, 3);
  assert_int_equal(requests(f), 3);
  hsa_call_free(call);
}

/* Each ends when its time is up, and not when the others' is: nobody waits in hsa_engine_run meanwhile. */
static void deadlines_hold(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}, {.reply = NULL}};
  static const struct {
    const char *row;
    hsa_park park;
    int64_t timeout, deadline, delay; /* us; the last for hsa_call_proceed, negative: not called */
    hsa_kind kind;
    int attempts;
  } rows[] = {
    {"sending, its attempt's time", HSA_PARK_NEVER, 30 * MS, LIMIT, -1, HSA_TIMEOUT, 1},
    {"queued, its deadline", HSA_PARK_NEVER, LIMIT, 40 * MS, -1, HSA_THROTTLED, 0},
    {"parked, its deadline", HSA_PARK_FIRST, LIMIT, 50 * MS, -1, HSA_TIMEOUT, 0},
    {"told to go later, then queued", HSA_PARK_EVERY, LIMIT, 60 * MS, 20 * MS, HSA_THROTTLED, 0},
  };
  fixture *f = *state;
  hsa_call *calls[COUNT(rows)];
  int64_t began;
  size_t i;

  f->config.rate_requests = 2;
  f->config.rate_interval = LIMIT / 2;
  begin_threaded(f, steps, COUNT(steps));
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  began = hsa_now();
  for (i = 0; i < COUNT(rows); i++) {
    hsa_request request = request_of(HSA_ONCE, rows[i].park);

    request.max_attempts = 1;
    request.timeout = rows[i].timeout;
    request.deadline = began + rows[i].deadline;
    calls[i] = start(f, &request);
    if (rows[i].delay >= 0)
      assert_int_equal(hsa_call_proceed(calls[i], "token", rows[i].delay), HSA_OK);
  }
  for (i = 0; i < COUNT(rows); i++) {
    await_state(calls[i], HSA_DONE);
    expect_int(rows[i].row, "kind", hsa_call_outcome(calls[i])->kind, rows[i].kind);
    expect_int(rows[i].row, "attempts", hsa_call_outcome(calls[i])->attempts, rows[i].attempts);
    expect_between(rows[i].row, "elapsed", hsa_call_outcome(calls[i])->elapsed, 0, LIMIT / 4);
    hsa_call_free(calls[i]);
  }
  assert_int_equal(requests(f), 2);
}

static void keeps_the_rate(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_call *calls[5];
  int64_t began;
  int i;

  f->config.rate_requests = 2;
  f->config.rate_interval = 100 * MS;
  begin_threaded(f, steps, 1);
  began = hsa_now();
  for (i = 0; i < 5; i++)
    calls[i] = start_simple(f, HSA_ONCE);
  for (i = 0; i < 5; i++) {
    assert_int_equal(outcome_of(calls[i])->kind, HSA_SUCCESS);
    hsa_call_free(calls[i]);
  }
  expect_within(hsa_now() - began, 200 * MS, LIMIT);
}

/* ---- ends before their time ---- */

static void cancel_in_flight(void **state)
{
  static const server_step steps[] = {{.reply = NULL}, {.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_outcome outcome;
  hsa_call *call;
  int64_t began;

  begin_threaded(f, steps, COUNT(steps));
  call = start_simple(f, HSA_ONCE);
  await_requests(f, 1);
  began = hsa_now();
  outcome = hsa_call_cancel(call);
  expect_within(hsa_now() - began, 0, S);
  assert_int_equal(outcome.kind, HSA_CANCELED);
  assert_int_equal(outcome.attempts, 1);
  assert_true(outcome.ambiguous);
  server_expect(&f->server.log->closed, 1); /* the thread lets go of it by itself */
  assert_null(hsa_engine_next(f->engine));
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
}

/* At any moment of a call's life, the server's answers and its end on the connection included. */
static void cancel_at_any_moment(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}, {.reply = BUSY_REPLY}, {.after = SERVER_RESET},
                                      {.reply = OK_REPLY, .after = SERVER_CLOSE}, {.reply = OK_REPLY}};
  fixture *f = *state;
  uint64_t seed = 1;
  hsa_call *last;
  int i;

  f->config.events = ~0U;
  begin_threaded(f, steps, COUNT(steps));
  for (i = 0; i < 400; i++) {
    hsa_call *call = start_simple(f, HSA_SAFE);
    int64_t until = hsa_now() + unit_random(&seed, 400); /* us; a call takes about 150 */

    while (hsa_now() < until)
      ;
    if (i % 2)
      hsa_call_free(call);
    else
      hsa_call_cancel(call);
  }
  assert_null(hsa_engine_next(f->engine));
  last = start_simple(f, HSA_SAFE);
  await_state(last, HSA_DONE);
  assert_int_equal(hsa_call_outcome(last)->http_status, 200);
  hsa_call_free(last);
}

static void engine_goes_first(void **state)
{
  enum { N = 1000 };
  static const server_step steps[] = {{.reply = NULL}};
  static hsa_call *calls[N];
  fixture *f = *state;
  int64_t began;
  int i;

  f->config.max_connections = 8;
  begin_threaded(f, steps, 1);
  for (i = 0; i < N; i++)
    calls[i] = start_simple(f, HSA_ONCE);
  await_requests(f, 8);
  assert_false(is_readable(f->engine));
  began = hsa_now();
  hsa_engine_free(f->engine);
  f->engine = NULL;
  expect_within(hsa_now() - began, 0, 2 * S);
  for (i = 0; i < N; i++) {
    assert_int_equal(hsa_call_state(calls[i]), HSA_DONE);
    assert_int_equal(hsa_call_outcome(calls[i])->kind, HSA_CANCELED);
    hsa_call_free(calls[i]);
  }
}

/* Given up by their users, and not yet seen by the thread, when the engine goes. */
static void engine_goes_after_its_calls(void **state)
{
  static const server_step steps[] = {{.reply = NULL}};
  fixture *f = *state;
  int round, i;

  for (round = 0; round < 20; round++) {
    hsa_call *calls[4];

    begin_threaded(f, steps, 1);
    for (i = 0; i < 4; i++)
      calls[i] = start_simple(f, HSA_ONCE);
    if (round % 2)
      await_requests(f, 4);
    for (i = 0; i < 4; i++)
      hsa_call_free(calls[i]);
    finish(f);
  }
}

/* ---- everything at once ---- */

enum { CROWD = 12 };

/* One thing that a user may do to this call, or to the engine. */
static void do_anything(fixture *f, hsa_call **call, uint64_t *seed)
{
  hsa_request request = request_of(HSA_SAFE, (hsa_park)unit_random(seed, 3));
  hsa_event event;

  if (!*call) {
    request.timeout = unit_random(seed, 40) * MS;
    request.deadline = hsa_now() + unit_random(seed, 100) * MS;
    *call = start(f, &request);
    return;
  }
  switch (unit_random(seed, 9)) {
  case 0:
    hsa_call_free(*call);
    *call = NULL;
    break;
  case 1:
    hsa_call_cancel(*call);
    *call = NULL;
    break;
  case 2:
    hsa_call_refuse(*call, HSA_CONFIG, false);
    break;
  case 3:
    hsa_engine_next(f->engine);
    break;
  case 4:
    while (hsa_call_event(*call, &event))
      ;
    break;
  case 5:
    if (hsa_call_run(*call, hsa_now() + unit_random(seed, 3) * MS) == HSA_DONE)
      assert_non_null(hsa_call_outcome(*call)->detail);
    break;
  case 6:
    hsa_engine_run(f->engine, hsa_now() + unit_random(seed, 2) * MS);
    break;
  default:
    hsa_call_proceed(*call, unit_random(seed, 2) ? "token" : NULL, unit_random(seed, 10) * MS);
  }
}

/* For the sanitizers: orders of things that nobody thought of. */
static void anything_in_any_order(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 2},
                                      {.reply = BUSY_REPLY},
                                      {.reply = EXPIRED_REPLY},
                                      {.after = SERVER_RESET},
                                      {.reply = OK_REPLY, .after = SERVER_CLOSE},
                                      {.reply = NULL},
                                      {.reply = OK_REPLY, .delay = 1}};
  fixture *f = *state;
  uint64_t seed = 7;
  int round, i;

  f->config.events = ~0U;
  for (round = 0; round < 4; round++) {
    hsa_call *calls[CROWD] = {NULL};

    f->config.rate_requests = round % 2 ? 5 : 0;
    f->config.rate_interval = 20 * MS;
    begin_threaded(f, steps, COUNT(steps));
    for (i = 0; i < 400; i++)
      do_anything(f, &calls[unit_random(&seed, CROWD)], &seed);
    if (round < 2)
      finish(f);
    for (i = 0; i < CROWD; i++)
      hsa_call_free(calls[i]);
    finish(f);
  }
}

/* ---- two engines ---- */

static void two_engines(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 20}, {.reply = NULL}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  hsa_engine *other;
  hsa_call *here, *there;

  begin_threaded(f, steps, COUNT(steps));
  assert_int_equal(hsa_engine_new(&f->config, &other), HSA_OK);
  assert_int_equal(hsa_engine_start_thread(other), HSA_OK);
  assert_int_not_equal(hsa_engine_fd(other), hsa_engine_fd(f->engine));
  here = start_simple(f, HSA_ONCE);
  await_requests(f, 1);
  assert_int_equal(hsa_call_start(other, &request, &there), HSA_OK);
  await_requests(f, 2);
  assert_ptr_equal(next_by_fd(f->engine), here);
  assert_int_equal(hsa_call_outcome(here)->kind, HSA_SUCCESS);
  assert_false(is_readable(other));
  hsa_engine_free(other); /* the first in the list of threads, or the last */
  assert_int_equal(hsa_call_outcome(there)->kind, HSA_CANCELED);
  hsa_call_free(here);
  hsa_call_free(there);
  here = start_simple(f, HSA_ONCE);
  await_requests(f, 3);
  assert_int_equal(hsa_call_cancel(here).kind, HSA_CANCELED);
}

/* ---- signals ---- */

static _Atomic int taken_here, taken_elsewhere;
static pthread_t main_thread;

static void on_signal(int signal)
{
  (void)signal;
  atomic_fetch_add(pthread_equal(pthread_self(), main_thread) ? &taken_here : &taken_elsewhere, 1);
}

/* While this thread blocks a signal, the I/O thread must not take it either: it waits for this one. */
static void signals_are_for_the_host(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .delay = 5}};
  static const int signals[] = {SIGUSR1, SIGTERM, SIGCHLD, SIGPIPE};
  const struct sigaction action = {.sa_handler = on_signal};
  fixture *f = *state;
  struct sigaction before;
  sigset_t only, mask, after;
  size_t i;

  main_thread = pthread_self();
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  begin_threaded(f, steps, 1);
  pthread_sigmask(SIG_BLOCK, NULL, &after);
  for (i = 0; i < COUNT(signals); i++) {
    assert_int_equal(sigismember(&after, signals[i]), sigismember(&mask, signals[i])); /* ours is as it was */
    atomic_store(&taken_here, 0);
    atomic_store(&taken_elsewhere, 0);
    sigaction(signals[i], &action, &before);
    sigemptyset(&only);
    sigaddset(&only, signals[i]);
    pthread_sigmask(SIG_BLOCK, &only, NULL);
    kill(getpid(), signals[i]);
    assert_int_equal(status_of_one(f, HSA_ONCE), 200); /* the thread was awake meanwhile */
    server_sleep(2);                                   /* and asleep */
    assert_int_equal(atomic_load(&taken_elsewhere), 0);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    assert_int_equal(atomic_load(&taken_here), 1);
    sigaction(signals[i], &before, NULL);
  }
}

static _Atomic int broken_pipe = -1; /* writing end of a pipe without a reader: the I/O thread sends there while >= 0 */
static _Atomic int broken_sends;

/* As in test_fork.c: stands before libc's for libcurl too, and writes as OpenSSL does, without MSG_NOSIGNAL. (This thread
 * wakes the other one by a send of libcurl's.) */
__attribute__((visibility("default"))) ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
  if (atomic_load(&broken_pipe) < 0 || pthread_equal(pthread_self(), main_thread))
    return sendto(fd, bytes, len, flags, NULL, 0);
  atomic_fetch_add(&broken_sends, 1);
  return write(atomic_load(&broken_pipe), bytes, len);
}

static void no_sigpipe_for_the_host(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  const struct sigaction action = {.sa_handler = on_signal};
  fixture *f = *state;
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  struct sigaction before;
  sigset_t pending;
  hsa_call *call;
  int ends[2];

  main_thread = pthread_self();
  atomic_store(&taken_here, 0);
  atomic_store(&taken_elsewhere, 0);
  begin_threaded(f, steps, 1);
  assert_int_equal(pipe(ends), 0);
  close(ends[0]);
  sigaction(SIGPIPE, &action, &before);
  request.max_attempts = 1;
  atomic_store(&broken_pipe, ends[1]);
  call = start(f, &request);
  assert_int_equal(outcome_of(call)->kind, HSA_TRANSPORT);
  atomic_store(&broken_pipe, -1);
  close(ends[1]);
  assert_true(atomic_load(&broken_sends) > 0); /* else this test tests nothing */
  hsa_call_free(call);
  hsa_engine_free(f->engine);
  f->engine = NULL;
  sigpending(&pending);
  assert_int_equal(sigismember(&pending, SIGPIPE), 0);
  assert_int_equal(atomic_load(&taken_here) + atomic_load(&taken_elsewhere), 0);
  sigaction(SIGPIPE, &before, NULL);
}

/* ---- fork ---- */

/* Forks, and runs `child` there, which answers 0 if all was as it should be: no assertion may run there. */
static void in_child(fixture *f, hsa_call **calls, int (*child)(fixture *, hsa_call **))
{
  int status = -1;
  pid_t pid;

  fflush(NULL);
  pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(20);
    _exit(child(f, calls));
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0); /* exited, with 0 */
}

enum { PARKED, SENDING, WAITING, BUSY = 8 }; /* calls at the fork */

/* GCC's ThreadSanitizer ends a child that starts a thread, if its parent had some. */
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
enum { CHILD_MAY_HAVE_THREADS = false };
#else
enum { CHILD_MAY_HAVE_THREADS = true };
#endif

/* A new call works, with or without a thread of the child's own. */
static int start_anew(fixture *f, bool with_thread)
{
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  hsa_call *call = NULL;
  bool ok = true;

  with_thread = with_thread && CHILD_MAY_HAVE_THREADS;
  if (with_thread && hsa_engine_start_thread(f->engine) != HSA_OK)
    return 1;
  if (hsa_call_start(f->engine, &request, &call) != HSA_OK)
    return 2;
  if (with_thread) {
    struct pollfd poll_fd = {.fd = hsa_engine_fd(f->engine), .events = POLLIN};

    ok = poll(&poll_fd, 1, LIMIT / MS) == 1; /* by itself */
  }
  ok = hsa_call_run(call, hsa_now() + LIMIT) == HSA_DONE && ok;
  ok = ok && hsa_call_outcome(call)->http_status == 200;
  hsa_call_free(call);
  return ok ? 0 : 3;
}

/* The parent's calls have ended here, and are given like all that have. */
static int look(fixture *f, hsa_call **calls)
{
  struct pollfd poll_fd = {.fd = hsa_engine_fd(f->engine), .events = POLLIN};
  int i;

  if (poll(&poll_fd, 1, 0) != 1)
    return 10;
  for (i = 0; i <= WAITING; i++) {
    const hsa_outcome *outcome = hsa_call_outcome(calls[i]);

    if (hsa_call_state(calls[i]) != HSA_DONE || outcome->kind != HSA_CANCELED)
      return 11;
    if (outcome->ambiguous != (i == SENDING) || outcome->attempts != (i == SENDING))
      return 12;
  }
  for (i = 0; i <= WAITING; i++)
    if (!hsa_engine_next(f->engine))
      return 13;
  return hsa_engine_next(f->engine) || poll(&poll_fd, 1, 0) != 0 ? 14 : 0;
}

static int child_with_a_thread(fixture *f, hsa_call **calls)
{
  int failure = look(f, calls), i;

  if (!failure)
    failure = start_anew(f, true);
  for (i = 0; i <= WAITING; i++)
    hsa_call_free(calls[i]);
  hsa_engine_free(f->engine);
  return failure;
}

static int child_without_one(fixture *f, hsa_call **calls)
{
  int failure = start_anew(f, false), i;

  hsa_engine_free(f->engine);
  for (i = 0; i <= WAITING; i++)
    hsa_call_free(calls[i]);
  return failure;
}

static int child_drops_all(fixture *f, hsa_call **calls)
{
  hsa_call_free(calls[SENDING]);
  hsa_call_cancel(calls[WAITING]);
  if (hsa_call_proceed(calls[PARKED], "token", 0) != HSA_OK)
    return 20;
  hsa_engine_free(f->engine);
  hsa_call_free(calls[PARKED]);
  return 0;
}

/* The parent's calls stay as they were, and go on. */
static void fork_with_calls_in_flight(void **state)
{
  static const struct {
    int (*child)(fixture *, hsa_call **);
    int calls; /* of its own */
  } rows[] = {{child_with_a_thread, 1}, {child_without_one, 1}, {child_drops_all, 0}};
  fixture *f = *state;
  const hsa_request parked = request_of(HSA_ONCE, HSA_PARK_FIRST);
  size_t i, j;

  for (i = 0; i < COUNT(rows); i++) {
    /* The first answer waits for a call that the parent makes after the fork. */
    const server_step steps[] = {{.reply = OK_REPLY, .together = rows[i].calls + 2}, {.reply = OK_REPLY}};
    hsa_call *calls[3];

    begin_threaded(f, steps, COUNT(steps));
    calls[PARKED] = start(f, &parked);
    calls[SENDING] = start_simple(f, HSA_ONCE);
    await_requests(f, 1);
    calls[WAITING] = start(f, &parked);
    assert_int_equal(hsa_call_proceed(calls[WAITING], "token", LIMIT / 2), HSA_OK);
    assert_true(is_readable(f->engine));
    in_child(f, calls, rows[i].child);
    assert_true(is_readable(f->engine)); /* the child took nothing from our pipe */
    assert_ptr_equal(hsa_engine_next(f->engine), calls[PARKED]);
    assert_false(is_readable(f->engine));
    assert_int_equal(hsa_call_state(calls[SENDING]), HSA_RUNNING);
    assert_int_equal(status_of_one(f, HSA_ONCE), 200);
    assert_ptr_equal(next_by_fd(f->engine), calls[SENDING]);
    assert_int_equal(hsa_call_outcome(calls[SENDING])->kind, HSA_SUCCESS);
    assert_int_equal(hsa_call_state(calls[WAITING]), HSA_RUNNING);
    assert_int_equal(hsa_call_proceed(calls[PARKED], "token", 0), HSA_OK);
    assert_int_equal(outcome_of(calls[PARKED])->kind, HSA_SUCCESS);
    for (j = 0; j < COUNT(calls); j++)
      hsa_call_free(calls[j]);
    assert_int_equal(requests(f), rows[i].calls + 3);
    assert_int_equal(atomic_load(&f->server.log->junk), 0);
    finish(f);
  }
}

static int child_of_any_moment(fixture *f, hsa_call **calls)
{
  int i;

  for (i = 0; i < BUSY; i++) {
    if (hsa_call_state(calls[i]) != HSA_DONE)
      return 30;
    if (hsa_call_outcome(calls[i])->kind != HSA_SUCCESS && hsa_call_outcome(calls[i])->kind != HSA_CANCELED)
      return 31;
    hsa_call_free(calls[i]);
  }
  i = start_anew(f, true);
  hsa_engine_free(f->engine);
  return i;
}

static void fork_fifty_times(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  hsa_engine *idle;
  uint64_t seed = 3;
  int round, i;

  begin_threaded(f, steps, 1);
  assert_int_equal(hsa_engine_new(&f->config, &idle), HSA_OK); /* all threads are brought to rest */
  assert_int_equal(hsa_engine_start_thread(idle), HSA_OK);
  for (round = 0; round < 50; round++) {
    hsa_call *calls[BUSY];
    int64_t until;

    for (i = 0; i < BUSY; i++)
      calls[i] = start_simple(f, HSA_ONCE);
    until = hsa_now() + unit_random(&seed, 1000); /* us: in the middle of anything */
    while (hsa_now() < until)
      ;
    in_child(f, calls, child_of_any_moment);
    for (i = 0; i < BUSY; i++) {
      assert_int_equal(outcome_of(calls[i])->kind, HSA_SUCCESS);
      hsa_call_free(calls[i]);
    }
  }
  hsa_engine_free(idle);
  assert_int_equal(atomic_load(&f->server.log->junk), 0);
}

enum { FORKS = 100 };

static _Atomic int forks;
static _Atomic bool has_forked; /* and will not any more */

static void *fork_all_the_time(void *unused)
{
  int i, status;

  for (i = 0; i < FORKS; i++) {
    pid_t pid = fork();

    if (pid == 0)
      _exit(0);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
      break;
    atomic_fetch_add(&forks, 1);
    server_sleep(i % 2);
  }
  atomic_store(&has_forked, true);
  return unused;
}

/* Another thread of the host forks while this one uses engines, starts their threads and frees them. */
static void fork_in_another_thread(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  pthread_t forker;

  begin(f, steps, 1);
  hsa_engine_free(f->engine);
  fflush(NULL);
  assert_int_equal(pthread_create(&forker, NULL, fork_all_the_time, NULL), 0);
  do {
    hsa_call *first, *second;

    assert_int_equal(hsa_engine_new(&f->config, &f->engine), HSA_OK);
    assert_int_equal(hsa_engine_start_thread(f->engine), HSA_OK);
    first = start_simple(f, HSA_ONCE);
    second = start_simple(f, HSA_ONCE);
    assert_int_equal(outcome_of(first)->kind, HSA_SUCCESS);
    hsa_call_free(second);
    hsa_engine_free(f->engine);
    hsa_call_free(first);
    f->engine = NULL;
  } while (!atomic_load(&has_forked));
  assert_int_equal(pthread_join(forker, NULL), 0);
  assert_int_equal(atomic_load(&forks), FORKS);
}

/* ---- exit ---- */

static fixture *exiting; /* NULL: late_handler does nothing */
static hsa_call *exiting_call; /* under way when the process exits */
static bool exiting_frees;

/* Runs after the engine's own handler: its thread is at rest then, and can still be stopped. What was under way has ended
 * there, and nothing new begins. */
static void late_handler(void)
{
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  hsa_call *call = NULL;

  if (!exiting)
    return;
  if (hsa_call_start(exiting->engine, &request, &call) != HSA_OK)
    _exit(40);
  if (hsa_call_run(call, INT64_MAX) != HSA_DONE || hsa_call_outcome(call)->kind != HSA_CANCELED || requests(exiting) != 1)
    _exit(41);
  if (hsa_call_run(exiting_call, INT64_MAX) != HSA_DONE || hsa_call_outcome(exiting_call)->kind != HSA_CANCELED ||
      !hsa_call_outcome(exiting_call)->ambiguous)
    _exit(43);
  if (exiting_frees)
    hsa_engine_free(exiting->engine);
  hsa_call_free(call);
}

static int child_exits(fixture *f, hsa_call **calls)
{
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);

  if (hsa_engine_start_thread(f->engine) != HSA_OK || hsa_call_start(f->engine, &request, calls) != HSA_OK)
    return 42;
  while (requests(f) == 0)
    server_sleep(1);
  exiting = f;
  exiting_call = *calls;
  exit(0);
}

static void exit_without_freeing(void **state)
{
  static const server_step steps[] = {{.reply = NULL}};
  fixture *f = *state;
  hsa_call *call;
  int i;

  for (i = 0; i < 2; i++) {
    exiting_frees = i;
    begin(f, steps, 1);
    in_child(f, &call, child_exits);
    finish(f);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(calls_end_by_themselves),
    TEST(starts_at_any_time),
    TEST(parked_until_told_to_go),
    TEST(events_as_they_come),
    TEST(events_taken_early),
    TEST(readable_while_there_is_a_call_to_give),
    TEST(readable_when_asked_for_late),
    TEST(readable_while_announced),
    TEST(run_returns_in_time),
    TEST(run_without_an_end),
    TEST(each_waits_for_its_own),
    TEST(waiting_costs_nothing),
    TEST(tries_again),
    TEST(deadlines_hold),
    TEST(keeps_the_rate),
    TEST(cancel_in_flight),
    TEST(cancel_at_any_moment),
    TEST(engine_goes_first),
    TEST(engine_goes_after_its_calls),
    TEST(anything_in_any_order),
    TEST(two_engines),
    TEST(signals_are_for_the_host),
    TEST(no_sigpipe_for_the_host),
    TEST(fork_with_calls_in_flight),
    TEST(fork_fifty_times),
    TEST(fork_in_another_thread),
    TEST(exit_without_freeing),
  };

  atexit(late_handler);
  return cmocka_run_group_tests(tests, NULL, NULL);
}

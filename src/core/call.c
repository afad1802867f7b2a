/* call.c - what a call goes through, from stage to stage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "engine.h"

#define MAX_HOLD (INT64_C(24) * 3600 * HSA_SECOND) /* the longest that HubSpot means */
#define NO_HOLD (60 * HSA_SECOND) /* for what it cannot mean: one senseless answer must not silence the client */
#define MAX_HEADER_LINE (64 * 1024)
#define LEAST_WAIT (HSA_SECOND / 1000) /* that is counted */
#define TOO_LATE HSA_SECOND /* behind the time of its leave: a limiter has given that to others, too */

static double next_random(hsa_engine *engine) /* xorshift64*: enough to spread retries */
{
  uint64_t x = engine->random;

  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  engine->random = x;
  return (double)((x * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

/* ---- attention ---- */

bool hsa_call_wants_attention(const hsa_call *call)
{
  return call->stage == STAGE_PARKED || call->stage == STAGE_ENDED || call->next_event < call->nevents;
}

enum { CALLS = 1, ANNOUNCED = 2 }; /* reasons of the notifier */

void hsa_engine_notify(hsa_engine *engine)
{
  hsa_notifier_set(&engine->notifier, (engine->marked_first ? CALLS : 0) | (engine->is_announced ? ANNOUNCED : 0));
}

void hsa_call_mark(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  if (call->is_given_up)
    return;
  if (engine->has_thread) /* also where it is marked already: its user may have taken what that was for */
    pthread_cond_broadcast(&engine->changed);
  if (call->is_marked)
    return;
  call->is_marked = true;
  call->mnext = NULL;
  call->mprev = engine->marked_last;
  if (engine->marked_last)
    engine->marked_last->mnext = call;
  else
    engine->marked_first = call;
  engine->marked_last = call;
  hsa_engine_notify(engine);
}

void hsa_call_unmark(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  if (!call->is_marked)
    return;
  call->is_marked = false;
  if (call->mprev)
    call->mprev->mnext = call->mnext;
  else
    engine->marked_first = call->mnext;
  if (call->mnext)
    call->mnext->mprev = call->mprev;
  else
    engine->marked_last = call->mprev;
  hsa_engine_notify(engine);
}

/* Adds to the event what came out of the last attempt, once. */
static void add_answer(hsa_call *call, hsa_event *event)
{
  static const hsa_rate_limit unknown = {-1, -1, -1, -1, -1};

  event->rate = call->is_news ? call->result.headers.rate : unknown;
  event->hold = call->is_news ? call->hold : -1;
  event->sent_at = call->is_news && call->result.sent ? call->result.sent_at : -1;
  memcpy(event->correlation_id, call->result.headers.correlation_id, sizeof event->correlation_id);
  event->late = event->sent_at >= 0 && call->released ? event->sent_at - call->released : -1;
  call->is_news = false;
}

static void add_event(hsa_call *call, hsa_event_type type, int64_t delay)
{
  hsa_event *events, *event;

  if (!(call->engine->config.events & HSA_EVENT_BIT(type)))
    return;
  if (call->nevents == call->events_cap) {
    size_t cap = call->events_cap ? call->events_cap * 2 : 8;

    events = realloc(call->events, cap * sizeof *events);
    if (!events)
      return; /* an event less harms no call */
    call->events = events;
    call->events_cap = cap;
  }
  event = &call->events[call->nevents++];
  *event = (hsa_event){
    .type = type,
    .attempt = call->attempts,
    .http_status = call->result.http_status,
    .kind = type == HSA_EVENT_DONE ? call->outcome.kind : call->result.kind,
    .delay = delay,
    .elapsed = type == HSA_EVENT_DONE ? call->outcome.elapsed : hsa_now() - call->started,
  };
  if (type == HSA_EVENT_RETRY || type == HSA_EVENT_DONE)
    add_answer(call, event);
  hsa_call_mark(call);
}

void hsa_call_tell_wait(hsa_call *call, int64_t delay)
{
  if (!call->told_wait)
    add_event(call, HSA_EVENT_WAIT, delay);
  call->told_wait = true;
}

/* ---- what it waits for ---- */

/* What held up a call that leaves its queue; HSA_WAITS: nothing but who drives the engine. */
static hsa_wait queue_wait(const hsa_call *call)
{
  hsa_leave obstacle = call->engine->queues[call->group].obstacle;

  if (obstacle.at < call->queued_at - LEAST_WAIT) /* it is as old as the driver's last look at the clock */
    return HSA_WAITS;
  if (obstacle.reason == HSA_PACE_NOW)
    return HSA_WAIT_CONNECTION;
  return obstacle.reason == HSA_PACE_HOLD ? HSA_WAIT_HOLD : HSA_WAIT_RATE;
}

static void end_wait(hsa_call *call, int64_t now)
{
  hsa_stats *stats = &call->engine->stats;
  hsa_wait reason = call->stage == STAGE_QUEUED ? queue_wait(call) : call->waits_for;
  int64_t waited = now - call->waits_since;

  if (call->waits_for != HSA_WAITS && reason != HSA_WAITS && waited >= LEAST_WAIT) {
    stats->waits[reason]++;
    stats->waited[reason] += waited;
  }
  call->waits_for = HSA_WAITS;
}

/* Called before the call enters the stage in which it waits. */
static void begin_wait(hsa_call *call, hsa_wait reason, int64_t now)
{
  end_wait(call, now);
  call->waits_for = reason;
  call->waits_since = now;
}

/* ---- the queue ---- */

void hsa_call_enqueue(hsa_call *call)
{
  hsa_engine *engine = call->engine;
  hsa_queue *queue = &engine->queues[call->group];
  hsa_call *before = call->is_first ? NULL : queue->last, *after = call->is_first ? queue->first : NULL;

  /* Those that have leave stay before those that need it, which wait for them. */
  while (!call->has_leave && after && after->has_leave) {
    before = after;
    after = after->qnext;
  }
  call->queued_at = hsa_now();
  begin_wait(call, HSA_WAIT_CONNECTION, call->queued_at);
  call->stage = STAGE_QUEUED;
  call->told_wait = false;
  call->order = call->is_first ? 0 : ++engine->queued;
  call->is_first = false;
  call->qprev = before;
  call->qnext = after;
  *(before ? &before->qnext : &queue->first) = call;
  *(after ? &after->qprev : &queue->last) = call;
  engine->queue_at = INT64_MIN;
  hsa_timer_set(&engine->timers, &call->timer, call->deadline);
}

static void dequeue(hsa_call *call)
{
  hsa_queue *queue = &call->engine->queues[call->group];

  *(call->qprev ? &call->qprev->qnext : &queue->first) = call->qnext;
  *(call->qnext ? &call->qnext->qprev : &queue->last) = call->qprev;
  call->engine->queue_at = INT64_MIN;
}

/* ---- the stages of a call ---- */

/* The attempt holds its slot of the rate no longer than the window asks for. */
static void end_slot(hsa_call *call, hsa_ending ending, int64_t now)
{
  hsa_pace_end(&call->engine->pace, &call->slot, ending, now);
  call->slot.windows = 0;
}

/* Is an attempt under way whose answer comes from outside? */
static bool asks_answer(const hsa_call *call)
{
  return call->stage == STAGE_PARKED && call->reason == HSA_REASON_SEND;
}

/* The call asks for leave no longer, if it did. */
static void end_asking(hsa_call *call)
{
  if (!call->is_expected || call->has_leave)
    return;
  call->engine->asking--;
  call->engine->slow -= call->ask_number <= call->engine->slow_number;
}

/* No connection is kept free for the call any longer. */
static void forget_leave(hsa_call *call)
{
  end_asking(call);
  call->engine->expected -= call->is_expected;
  call->is_expected = call->has_leave = false;
}

/* Takes the call out of whatever it is doing. */
void hsa_call_stop(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  if (call->waits_for != HSA_WAITS)
    end_wait(call, hsa_now());
  if (call->stage == STAGE_QUEUED)
    dequeue(call);
  forget_leave(call);
  hsa_timer_clear(&engine->timers, &call->timer);
  if (call->slot.windows) {
    bool may_be_counted = !call->transfer || hsa_transfer_is_sent(call->transfer);

    end_slot(call, may_be_counted ? HSA_ENDING_LOST : HSA_ENDING_UNSENT, hsa_now());
  }
  if (!call->transfer)
    return;
  engine->sending--;
  hsa_transfer_release(call->transfer);
  call->transfer = NULL;
}

/* Ends the call. The outcome's flags not given here come from `verdict`. */
static void end(hsa_call *call, const hsa_verdict *verdict, const char *detail)
{
  hsa_result *result = &call->result;
  hsa_outcome *outcome = &call->outcome;

  hsa_call_stop(call);
  call->stage = STAGE_ENDED;
  call->ambiguous = verdict->ambiguous;
  *outcome = (hsa_outcome){
    .kind = verdict->kind,
    .code = verdict->kind == HSA_TRANSPORT ? result->code : HSA_CODE_NONE,
    .http_status = result->http_status,
    .attempts = call->attempts,
    .retryable = verdict->retryable,
    .ambiguous = verdict->ambiguous,
    .daily = verdict->daily,
    .out_of_budget = verdict->out_of_budget,
    .too_large = result->too_large,
    .retry_after = verdict->retry_after,
    .elapsed = hsa_now() - call->started,
    .detail = detail ? detail : result->detail,
    .body = hsa_buf_str(&result->body),
    .body_len = result->body.len,
    .correlation_id = result->headers.correlation_id,
    .rate = result->headers.rate,
  };
  add_event(call, HSA_EVENT_DONE, 0);
  hsa_call_mark(call);
}

/* Ends a call that no answer decided: time ran out, or it could not go on. */
void hsa_call_end_early(hsa_call *call, hsa_kind kind, int64_t retry_after, const char *detail)
{
  hsa_verdict verdict = {
    .kind = kind,
    .ambiguous = call->ambiguous,
    .retryable = (kind == HSA_TIMEOUT || kind == HSA_THROTTLED) && (call->effect != HSA_ONCE || !call->ambiguous),
    .retry_after = retry_after,
  };

  end(call, &verdict, detail);
}

bool hsa_call_may_be_applied(const hsa_call *call)
{
  return call->ambiguous || ((call->stage == STAGE_SENDING || asks_answer(call)) && call->effect != HSA_SAFE);
}

void hsa_call_end_refused(hsa_call *call, hsa_kind kind, bool retryable)
{
  bool ambiguous = hsa_call_may_be_applied(call);
  hsa_verdict verdict = {
    .kind = kind,
    .ambiguous = ambiguous,
    .retryable = retryable && (call->effect != HSA_ONCE || !ambiguous),
    .retry_after = -1,
  };

  end(call, &verdict, "it was refused what it asked for");
}

static void end_canceled(hsa_call *call, const char *detail)
{
  call->ambiguous = hsa_call_may_be_applied(call);
  hsa_call_end_early(call, HSA_CANCELED, -1, detail);
}

void hsa_engine_cancel_calls(hsa_engine *engine, const char *detail)
{
  hsa_call *call;

  for (call = engine->calls; call; call = call->next)
    if (call->stage != STAGE_ENDED)
      end_canceled(call, detail);
}

/* What a call waits for that asks this. */
static hsa_wait asked_wait(const hsa_call *call, hsa_reason reason)
{
  if (reason == HSA_REASON_SEND)
    return HSA_WAITS;
  return call->park == HSA_PARK_EVERY && reason != HSA_REASON_EXPIRED ? HSA_WAIT_LEAVE : HSA_WAIT_TOKEN;
}

void hsa_call_park(hsa_call *call, hsa_reason reason)
{
  begin_wait(call, asked_wait(call, reason), hsa_now());
  call->stage = STAGE_PARKED;
  call->reason = reason;
  call->questions++;
  hsa_timer_set(&call->engine->timers, &call->timer, call->deadline);
  hsa_call_mark(call);
}

void hsa_call_wait(hsa_call *call, hsa_wait reason, int64_t at)
{
  begin_wait(call, reason, hsa_now());
  call->stage = STAGE_WAITING;
  hsa_timer_set(&call->engine->timers, &call->timer, at);
}


/* ---- deadlines in the queue ---- */

static double seconds(int64_t us)
{
  return (double)us / (double)HSA_SECOND;
}

/* Tells what held the queue up, and for how long still. */
static void describe_obstacle(const hsa_call *call, int64_t wait, char *text, size_t size)
{
  const hsa_pace *pace = &call->engine->pace;
  const hsa_window *server = &pace->groups[call->group].server;

  switch (call->engine->queues[call->group].obstacle.reason) {
  case HSA_PACE_HOLD:
    snprintf(text, size, "HubSpot answered HTTP %d%s, so nothing is sent for another %.1f s", pace->hold_status,
             pace->is_hold_named ? " with the header Retry-After" : "", seconds(wait));
    break;
  case HSA_PACE_SERVER:
    snprintf(text, size, "HubSpot's rate limit headers allow %lld requests in %g s, the next in %.1f s",
             (long long)server->requests, seconds(pace->groups[call->group].told), seconds(wait));
    break;
  case HSA_PACE_OWN:
    snprintf(text, size, "the client sends %lld requests in %g s (option rate), the next in %.1f s",
             (long long)pace->own.requests, seconds(pace->own_interval), seconds(wait));
    break;
  default:
    snprintf(text, size, "no connection was free (option max_connections: %d)", call->engine->config.max_connections);
  }
}

/* Writes why the call was not sent before its deadline. */
static void describe_deadline(hsa_call *call, int64_t now, int64_t wait)
{
  int64_t waited = now - call->queued_at;
  char obstacle[HSA_DETAIL_MAX - 100];

  describe_obstacle(call, wait, obstacle, sizeof obstacle);
  if (waited < HSA_SECOND / 10)
    snprintf(call->result.detail, HSA_DETAIL_MAX, "%s: that is past the call's deadline (option deadline)", obstacle);
  else
    snprintf(call->result.detail, HSA_DETAIL_MAX,
             "the deadline (option deadline) passed after %.1f s in the client's queue: %s", seconds(waited), obstacle);
}

void hsa_call_end_rate_limited(hsa_call *call, int64_t now)
{
  int64_t wait = call->engine->queues[call->group].obstacle.at - now;

  describe_deadline(call, now, wait > 0 ? wait : 0);
  hsa_call_end_early(call, HSA_THROTTLED, wait > 0 ? wait : 0, call->result.detail);
}

void hsa_call_end_limited(hsa_call *call, int64_t wait)
{
  snprintf(call->result.detail, HSA_DETAIL_MAX,
           "the limiter lets nothing be sent for another %.1f s: that is past the call's deadline (option deadline)",
           seconds(wait));
  hsa_call_end_early(call, HSA_THROTTLED, wait, call->result.detail);
}

/* Was it the rate that kept the call in its queue? */
static bool is_rate_limited(const hsa_call *call)
{
  hsa_leave obstacle = call->engine->queues[call->group].obstacle;

  return obstacle.at >= call->queued_at &&
         (obstacle.reason == HSA_PACE_OWN || obstacle.reason == HSA_PACE_SERVER || obstacle.reason == HSA_PACE_HOLD);
}

void hsa_call_end_past_deadline(hsa_call *call, int64_t now)
{
  if (call->stage == STAGE_PARKED)
    hsa_call_end_early(call, HSA_TIMEOUT, -1, "the deadline passed before a token or a go was given");
  else if (is_rate_limited(call))
    hsa_call_end_rate_limited(call, now);
  else if (now - call->queued_at < HSA_SECOND / 100)
    hsa_call_end_early(call, HSA_TIMEOUT, -1, "the deadline passed before the request was sent");
  else {
    describe_deadline(call, now, 0);
    hsa_call_end_early(call, HSA_TIMEOUT, -1, call->result.detail);
  }
}

/* ---- attempts ---- */

/* Who was stopped, or held up by a 429, comes too late with his leave. He asks again, but once: a host that steps every
 * few seconds always comes so late. */
bool hsa_call_needs_leave(const hsa_call *call, int64_t now)
{
  bool is_too_late = call->has_leave && !call->has_asked_again && now - call->released > TOO_LATE;

  return call->park == HSA_PARK_EVERY && (!call->has_leave || is_too_late);
}

void hsa_call_ask_leave(hsa_call *call, int64_t now)
{
  dequeue(call);
  call->has_asked_again = call->has_leave;
  forget_leave(call);
  call->is_expected = true;
  call->engine->expected++;
  call->engine->asking++;
  call->engine->asked_at = now;
  call->ask_number = ++call->engine->asks;
  hsa_call_park(call, call->attempts > 0 ? HSA_REASON_RETRY : HSA_REASON_FIRST);
}

void hsa_call_ask_at_once(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  if (engine->queues[call->group].first == call && engine->sending + engine->expected < engine->config.max_connections)
    hsa_call_ask_leave(call, hsa_now());
}

void hsa_call_have_leave(hsa_call *call)
{
  end_asking(call);
  call->has_leave = true;
  call->is_first = call->is_first || call->park == HSA_PARK_EVERY; /* its turn has come */
}

void hsa_call_send(hsa_call *call, int64_t now)
{
  hsa_engine *engine = call->engine;
  int64_t left = call->deadline - now;
  hsa_attempt attempt = {
    .method = call->method,
    .url = call->url,
    .token = call->token,
    .headers = call->headers,
    .body = call->body,
    .body_len = call->body_len,
    .is_form = call->is_form,
    .once = call->effect == HSA_ONCE,
    .runs = call->resent,
    .timeout = call->timeout < left ? call->timeout : left,
    .owner = call,
  };

  end_wait(call, now);
  dequeue(call);
  forget_leave(call);
  call->has_asked_again = false;
  hsa_timer_clear(&engine->timers, &call->timer);
  call->stage = STAGE_WAITING;
  call->asked_at = now;
  if (call->asks_answer)
    hsa_call_park(call, HSA_REASON_SEND);
  else if (hsa_transport_start(engine->transport, &attempt, &call->transfer) != HSA_OK) {
    hsa_call_end_early(call, HSA_CONFIG, -1, "memory ran out");
    return;
  } else {
    call->stage = STAGE_SENDING;
    engine->sending++;
  }
  hsa_timer_set(&engine->timers, &call->timer, now + attempt.timeout);
  call->slot = hsa_pace_begin(&engine->pace, call->group, now);
  if (!call->goes_on) {
    call->attempts++;
    engine->stats.attempts++;
    add_event(call, HSA_EVENT_ATTEMPT, 0);
  }
  call->goes_on = false;
}

static bool is_paced(const hsa_call *call)
{
  return call->engine->pace.own.requests > 0 || call->park == HSA_PARK_EVERY;
}

/* Keeps what the headers told for hsa_engine_rate. */
static void keep_told(hsa_call *call, int64_t now)
{
  hsa_engine *engine = call->engine;
  const hsa_rate_limit *rate = &call->result.headers.rate;

  if (rate->max > 0 && rate->interval_ms > 0) {
    engine->told.max = rate->max;
    engine->told.interval_ms = rate->interval_ms;
    engine->told.remaining = rate->remaining;
    engine->told_group = call->group;
    engine->told_at = now;
  }
  if (rate->daily >= 0 || rate->daily_remaining >= 0) {
    engine->told.daily = rate->daily;
    engine->told.daily_remaining = rate->daily_remaining;
    engine->told_at = now;
  }
}

static void count_traffic(hsa_call *call)
{
  hsa_stats *stats = &call->engine->stats;
  const hsa_traffic *traffic = &call->result.traffic;

  stats->bytes_sent += traffic->sent;
  stats->bytes_received += traffic->received;
  stats->connections_opened += traffic->opened;
  stats->connections_reused += traffic->reused;
}

/* What the attempt's end tells of the rate. */
static void learn_rate(hsa_call *call, int64_t now)
{
  hsa_pace *pace = &call->engine->pace;
  hsa_result *result = &call->result;
  hsa_rate_limit rate = result->headers.rate;
  bool is_refused = hsa_retry_is_throttled(result);

  if (result->sent && result->sent_at > call->slot.left)
    call->slot.left = result->sent_at;
  end_slot(call, is_refused ? HSA_ENDING_REFUSED : result->sent ? HSA_ENDING_DONE : HSA_ENDING_UNSENT, now);
  if (is_refused)
    rate.remaining = -1; /* none, of course; the hold that follows is for just that */
  if (result->sent)
    hsa_pace_learn(pace, call->group, &rate, result->sent_at, now);
  keep_told(call, now);
  count_traffic(call);
  call->engine->queue_at = INT64_MIN;
}

/* The whole client holds still, so that nothing knocks at a limit. */
static void hold(hsa_call *call, const hsa_verdict *verdict, int64_t now)
{
  call->throttled++;
  call->hold = verdict->delay <= MAX_HOLD ? verdict->delay : NO_HOLD;
  hsa_pace_hold(&call->engine->pace, now + call->hold, call->result.http_status, verdict->is_named, now);
}

/* A token that is shorter is none of HubSpot's, whose have over 40 characters, but a test's "x": masking it would hide
 * nothing that is secret, and spoil all words that have the letter. */
enum { SHORTEST_TOKEN = 8 };

bool hsa_call_hide(const hsa_call *call, char *text, size_t len)
{
  bool found = call->token && strlen(call->token) >= SHORTEST_TOKEN && hsa_mask(text, len, call->token);
  const char *secret;

  for (secret = call->secrets; secret && *secret; secret += strlen(secret) + 1)
    found |= hsa_mask(text, len, secret);
  return found;
}

static void conclude_attempt(hsa_call *call, int64_t now)
{
  hsa_engine *engine = call->engine;
  hsa_retry_input input = {
    .result = &call->result,
    .effect = call->effect,
    .refreshable = call->is_refreshable,
    .ambiguous = call->ambiguous,
    .attempt = call->attempts - call->throttled,
    .max_attempts = call->max_attempts,
    .throttled = call->throttled,
    .is_paced = is_paced(call),
    .rate_wait = hsa_retry_is_throttled(&call->result) ? hsa_pace_oldest(&engine->pace, call->group, now) : -1,
    .now = now,
    .deadline = call->deadline,
    .random = next_random(engine),
  };
  hsa_verdict verdict = hsa_retry_judge(&input, &engine->budget);

  hsa_call_hide(call, call->result.headers.correlation_id, strlen(call->result.headers.correlation_id));
  call->ambiguous = verdict.ambiguous;
  call->hold = -1;
  call->is_news = verdict.action != HSA_GO_ON;
  if (verdict.throttled)
    hold(call, &verdict, now);
  call->resent = verdict.action == HSA_GO_ON ? call->resent + 1 : 0;
  if (verdict.action == HSA_GIVE_UP)
    end(call, &verdict, NULL);
  else if (verdict.action == HSA_GO_ON) {
    call->goes_on = call->is_first = true;
    hsa_call_enqueue(call); /* for a place of its own in the rate: the server may have counted the first one */
  }
  else if (verdict.action == HSA_RETRY) {
    engine->stats.retries[verdict.throttled ? HSA_THROTTLED : call->result.kind]++;
    add_event(call, HSA_EVENT_RETRY, verdict.delay);
    call->is_first = verdict.throttled;
    hsa_call_wait(call, verdict.throttled ? HSA_WAIT_HOLD : HSA_WAIT_RETRY, now + verdict.delay);
  } else {
    engine->stats.refreshes++;
    add_event(call, HSA_EVENT_RETRY, 0);
    call->is_refreshable = false;
    hsa_call_park(call, HSA_REASON_EXPIRED);
  }
}

void hsa_call_end_attempt(hsa_transfer *transfer)
{
  hsa_call *call = hsa_transfer_owner(transfer);
  int64_t now = hsa_now();

  hsa_buf_free(&call->result.body);
  hsa_transfer_move_result(transfer, &call->result);
  learn_rate(call, now);
  hsa_call_stop(call);
  if (call->is_given_up)
    return; /* hsa_engine_reap frees it */
  conclude_attempt(call, now);
}

/* Reads the headers and the body of an answer from outside. */
static hsa_status read_answer(const hsa_answer *answer, hsa_result *result)
{
  hsa_status status = HSA_OK;
  hsa_buf line;
  size_t i;

  hsa_buf_init(&line, MAX_HEADER_LINE);
  for (i = 0; i < answer->nheaders && status != HSA_NOMEM; i++) {
    const hsa_param *header = &answer->headers[i];

    hsa_buf_reset(&line);
    status = hsa_buf_adds(&line, header->name);
    status = status ? status : hsa_buf_adds(&line, ": ");
    status = status ? status : hsa_buf_add(&line, header->value, header->len);
    if (status == HSA_OK) /* one that is too long is none of interest */
      hsa_headers_add(&result->headers, line.data, line.len);
  }
  hsa_buf_free(&line);
  if (status == HSA_NOMEM)
    return status;
  status = hsa_buf_add(&result->body, answer->body_len ? answer->body : "", answer->body_len);
  result->too_large = status == HSA_TOOLARGE;
  return status == HSA_NOMEM ? status : HSA_OK;
}

static hsa_kind kind_of_answer(const hsa_answer *answer, const hsa_result *result)
{
  if (answer->kind != HSA_SUCCESS)
    return answer->kind;
  if (answer->http_status >= 400)
    return HSA_API;
  return answer->http_status / 100 == 2 && !result->too_large ? HSA_SUCCESS : HSA_PROTOCOL;
}

static bool may_have_left(const hsa_answer *answer)
{
  return answer->kind != HSA_TRANSPORT || answer->code == HSA_CODE_SEND || answer->code == HSA_CODE_RECEIVE ||
         answer->code == HSA_CODE_OTHER;
}

hsa_status hsa_call_take_answer(hsa_call *call, const hsa_answer *answer, int64_t now)
{
  hsa_result result = {.code = answer->code, .http_status = answer->http_status, .sent = may_have_left(answer)};
  const char *detail =
    answer->kind == HSA_TIMEOUT ? "the transport took too long" : "the transport could not reach HubSpot";

  result.sent_at = call->asked_at;
  hsa_headers_reset(&result.headers);
  hsa_buf_init(&result.body, call->engine->config.max_response_bytes);
  if (read_answer(answer, &result) != HSA_OK) {
    hsa_buf_free(&result.body);
    return HSA_NOMEM;
  }
  result.kind = kind_of_answer(answer, &result);
  result.traffic = (hsa_traffic){.sent = (int64_t)call->body_len, .received = (int64_t)answer->body_len};
  if (answer->kind == HSA_SUCCESS)
    detail = result.too_large ? "the response is larger than max_response_bytes" : "";
  snprintf(result.detail, sizeof result.detail, "%s", detail);
  result.retry_after = hsa_headers_retry_after(&result.headers, hsa_wall_seconds());
  hsa_buf_free(&call->result.body);
  call->result = result;
  hsa_call_unmark(call);
  learn_rate(call, now);
  call->stage = STAGE_WAITING;
  hsa_call_stop(call);
  conclude_attempt(call, now);
  return HSA_OK;
}

static void unlink_call(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  if (call->prev)
    call->prev->next = call->next;
  else
    engine->calls = call->next;
  if (call->next)
    call->next->prev = call->prev;
  engine->ncalls--;
}

void hsa_call_destroy(hsa_call *call)
{
  if (call->engine)
    unlink_call(call);
  free(call->url);
  free(call->body);
  free(call->token);
  free(call->headers);
  free(call->secrets);
  free(call->events);
  hsa_buf_free(&call->result.body);
  free(call);
}

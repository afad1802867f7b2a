#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "hsa.h"
#include "pace.h"
#include "retry.h"
#include "sigpipe.h"
#include "timer.h"
#include "transport.h"
#include "url.h"

enum { MAX_URL = 8 * 1024 };

#define TIMEOUT_GRACE (HSA_SECOND / 20) /* libcurl's own timeout comes first where it works: it knows more */

/* A call goes PARKED -> (WAITING ->) QUEUED -> SENDING, from there to WAITING or PARKED for another
 * attempt, and from anywhere to ENDED. Its timer is set in all stages but ENDED. */
typedef enum stage { STAGE_PARKED, STAGE_WAITING, STAGE_QUEUED, STAGE_SENDING, STAGE_ENDED } stage;

struct hsa_call {
  hsa_engine *engine;       /* NULL once the engine is gone */
  hsa_call *prev, *next;    /* all calls of the engine */
  hsa_call *qprev, *qnext;  /* the queue, while QUEUED */
  stage stage;
  hsa_reason reason;        /* while PARKED */
  const char *method;
  char *url, *body, *token;
  size_t body_len;
  hsa_effect effect;
  hsa_park park;
  int64_t timeout, deadline, started;
  int max_attempts, attempts;
  bool refreshed, ambiguous;
  bool must_park;           /* HSA_PARK_EVERY: at the end of this wait for another attempt */
  bool told_wait;           /* this time in the queue has its WAIT event */
  hsa_timer timer;
  hsa_transfer *transfer;   /* while SENDING */
  uint64_t send_number;     /* of hsa_pace_count */
  hsa_result result;        /* of the last attempt */
  hsa_outcome outcome;
  hsa_event *events;
  size_t nevents, next_event, events_cap;
};

struct hsa_engine {
  hsa_config config;        /* its strings are owned */
  hsa_transport *transport; /* NULL until the first call */
  hsa_pace pace;
  hsa_budget budget;
  hsa_timers timers;
  hsa_call *calls;
  size_t ncalls;
  hsa_call *queue_first, *queue_last; /* calls that wait for their turn to be sent */
  int64_t queue_at;         /* when the queue may go on; with a queue only */
  uint64_t random;
  pid_t pid;
};

/* ---- small helpers ---- */

static char *copy(const char *bytes, size_t len)
{
  char *text = malloc(len + 1);

  if (text) {
    memcpy(text, bytes, len);
    text[len] = '\0';
  }
  return text;
}

static double next_random(hsa_engine *engine) /* xorshift64*: enough to spread retries */
{
  uint64_t x = engine->random;

  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  engine->random = x;
  return (double)((x * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

static void add_event(hsa_call *call, hsa_event_type type, int64_t delay)
{
  hsa_event *events;

  if (!call->engine->config.events)
    return;
  if (call->nevents == call->events_cap) {
    size_t cap = call->events_cap ? call->events_cap * 2 : 8;

    events = realloc(call->events, cap * sizeof *events);
    if (!events)
      return; /* an event less harms no call */
    call->events = events;
    call->events_cap = cap;
  }
  call->events[call->nevents++] = (hsa_event){
    .type = type,
    .attempt = call->attempts,
    .http_status = call->result.http_status,
    .kind = type == HSA_EVENT_DONE ? call->outcome.kind : call->result.kind,
    .delay = delay,
  };
}

/* ---- the queue ---- */

static void enqueue(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  call->stage = STAGE_QUEUED;
  call->told_wait = false;
  call->qnext = NULL;
  call->qprev = engine->queue_last;
  if (engine->queue_last)
    engine->queue_last->qnext = call;
  else
    engine->queue_first = call;
  engine->queue_last = call;
  engine->queue_at = INT64_MIN;
  hsa_timer_set(&engine->timers, &call->timer, call->deadline);
}

static void dequeue(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  if (call->qprev)
    call->qprev->qnext = call->qnext;
  else
    engine->queue_first = call->qnext;
  if (call->qnext)
    call->qnext->qprev = call->qprev;
  else
    engine->queue_last = call->qprev;
  engine->queue_at = INT64_MIN;
}

/* ---- the stages of a call ---- */

/* Takes the call out of whatever it is doing. */
static void stop(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  if (call->stage == STAGE_QUEUED)
    dequeue(call);
  hsa_timer_clear(&engine->timers, &call->timer);
  if (call->transfer)
    hsa_transfer_release(call->transfer);
  call->transfer = NULL;
}

/* Ends the call. The outcome's flags not given here come from `verdict`. */
static void end(hsa_call *call, const hsa_verdict *verdict, const char *detail)
{
  hsa_result *result = &call->result;
  hsa_outcome *outcome = &call->outcome;

  stop(call);
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
    .retry_after = verdict->retry_after,
    .elapsed = hsa_now() - call->started,
    .detail = detail ? detail : result->detail,
    .body = hsa_buf_str(&result->body),
    .body_len = result->body.len,
    .correlation_id = result->headers.correlation_id,
    .rate = result->headers.rate,
  };
  add_event(call, HSA_EVENT_DONE, 0);
}

/* Ends a call that no answer decided: time ran out, or it could not go on. */
static void end_early(hsa_call *call, hsa_kind kind, int64_t retry_after, const char *detail)
{
  hsa_verdict verdict = {
    .kind = kind,
    .ambiguous = call->ambiguous,
    .retryable = (kind == HSA_TIMEOUT || kind == HSA_THROTTLED) && (call->effect != HSA_ONCE || !call->ambiguous),
    .retry_after = retry_after,
  };

  end(call, &verdict, detail);
}

static void cancel(hsa_call *call)
{
  bool may_be_applied = call->stage == STAGE_SENDING && call->effect != HSA_SAFE;

  call->ambiguous = call->ambiguous || may_be_applied;
  end_early(call, HSA_CANCELED, -1, "the call was canceled");
}

static void park(hsa_call *call, hsa_reason reason)
{
  call->stage = STAGE_PARKED;
  call->reason = reason;
  call->must_park = false;
  hsa_timer_set(&call->engine->timers, &call->timer, call->deadline);
}

static void wait_until(hsa_call *call, int64_t at)
{
  call->stage = STAGE_WAITING;
  hsa_timer_set(&call->engine->timers, &call->timer, at);
}

static void end_rate_limited(hsa_call *call, int64_t wait)
{
  end_early(call, HSA_THROTTLED, wait, "the rate limit lets nothing be sent before the deadline");
}

static void send_now(hsa_call *call, int64_t now)
{
  hsa_engine *engine = call->engine;
  int64_t left = call->deadline - now;
  hsa_attempt attempt = {
    .method = call->method,
    .url = call->url,
    .token = call->token,
    .body = call->body,
    .body_len = call->body_len,
    .once = call->effect == HSA_ONCE,
    .timeout = call->timeout < left ? call->timeout : left,
    .owner = call,
  };

  dequeue(call);
  hsa_timer_clear(&engine->timers, &call->timer);
  call->stage = STAGE_WAITING;
  if (hsa_transport_start(engine->transport, &attempt, &call->transfer) != HSA_OK) {
    end_early(call, HSA_CONFIG, -1, "libcurl could not set up the request (out of memory?)");
    return;
  }
  call->stage = STAGE_SENDING;
  hsa_timer_set(&engine->timers, &call->timer, now + attempt.timeout + TIMEOUT_GRACE);
  call->attempts++;
  call->send_number = hsa_pace_count(&engine->pace, now);
  add_event(call, HSA_EVENT_ATTEMPT, 0);
}

/* Sends from the queue what the rate allows. */
static void pump(hsa_engine *engine, int64_t now)
{
  hsa_call *call;

  while (now >= engine->queue_at && (call = engine->queue_first) != NULL) {
    int64_t at = hsa_pace_next(&engine->pace, now);

    if (now >= call->deadline)
      end_early(call, HSA_TIMEOUT, -1, "the deadline passed before the request was sent");
    else if (at >= call->deadline)
      end_rate_limited(call, at - now);
    else if (at <= now)
      send_now(call, now);
    else {
      engine->queue_at = at;
      if (!call->told_wait)
        add_event(call, HSA_EVENT_WAIT, at - now);
      call->told_wait = true;
    }
  }
}

static void conclude_attempt(hsa_call *call, int64_t now)
{
  hsa_engine *engine = call->engine;
  hsa_retry_input input = {
    .result = &call->result,
    .effect = call->effect,
    .refreshable = call->park != HSA_PARK_NEVER && !call->refreshed,
    .ambiguous = call->ambiguous,
    .attempt = call->attempts,
    .max_attempts = call->max_attempts,
    .now = now,
    .deadline = call->deadline,
    .random = next_random(engine),
  };
  hsa_verdict verdict = hsa_retry_judge(&input, &engine->budget);

  call->ambiguous = verdict.ambiguous;
  if (verdict.throttled)
    hsa_pace_hold(&engine->pace, now + verdict.retry_after);
  if (verdict.action == HSA_GIVE_UP)
    end(call, &verdict, NULL);
  else if (verdict.action == HSA_RETRY) {
    add_event(call, HSA_EVENT_RETRY, verdict.delay);
    call->must_park = call->park == HSA_PARK_EVERY;
    wait_until(call, now + verdict.delay);
  } else {
    call->refreshed = true;
    park(call, HSA_REASON_EXPIRED);
  }
}

/* Takes in an attempt that has ended. */
static void take_in(hsa_engine *engine, hsa_transfer *transfer)
{
  hsa_call *call = hsa_transfer_owner(transfer);
  int64_t now = hsa_now();

  hsa_buf_free(&call->result.body);
  hsa_transfer_take(transfer, &call->result);
  stop(call);
  if (call->result.sent) {
    hsa_pace_sent(&engine->pace, call->send_number, call->result.sent_at);
    hsa_pace_learn(&engine->pace, &call->result.headers.rate, call->result.sent_at, now);
  }
  engine->queue_at = INT64_MIN; /* the rate may have changed */
  conclude_attempt(call, now);
}

/* Takes in the attempts that have ended; false if there was none. */
static bool collect(hsa_engine *engine)
{
  bool any = false;
  hsa_transfer *transfer;

  hsa_transport_perform(engine->transport);
  while ((transfer = hsa_transport_ended(engine->transport)) != NULL) {
    take_in(engine, transfer);
    any = true;
  }
  return any;
}

static void end_past_deadline(hsa_call *call, int64_t now)
{
  hsa_engine *engine = call->engine;

  if (call->stage == STAGE_PARKED)
    end_early(call, HSA_TIMEOUT, -1, "the deadline passed before a token or a go was given");
  else if (engine->queue_at > now)
    end_rate_limited(call, engine->queue_at - now);
  else
    end_early(call, HSA_TIMEOUT, -1, "the deadline passed before the request was sent");
}

static void expire(hsa_engine *engine, int64_t now)
{
  hsa_timer *timer;

  while ((timer = hsa_timers_first(&engine->timers)) != NULL && timer->at <= now) {
    hsa_call *call = (hsa_call *)(void *)((char *)timer - offsetof(hsa_call, timer));

    hsa_timer_clear(&engine->timers, timer);
    if (call->stage == STAGE_SENDING) {
      hsa_transfer_time_out(call->transfer);
      take_in(engine, call->transfer);
    } else if (call->stage != STAGE_WAITING)
      end_past_deadline(call, now);
    else if (call->must_park)
      park(call, HSA_REASON_RETRY);
    else
      enqueue(call);
  }
}

/* ---- engines ---- */

static void check_fork(hsa_engine *engine)
{
  pid_t pid = getpid();
  hsa_call *call;

  if (engine->pid == pid)
    return;
  engine->pid = pid;
  engine->random ^= (uint64_t)pid << 32;
  if (engine->transport)
    hsa_transport_abandon(engine->transport);
  engine->transport = NULL;
  for (call = engine->calls; call; call = call->next) {
    call->transfer = NULL;
    if (call->stage != STAGE_ENDED)
      cancel(call);
  }
}

static bool own(const char **string)
{
  if (*string)
    *string = strdup(*string);
  return *string != NULL;
}

/* Replaces the strings by copies, also where memory runs out: what is left can then be freed. */
static bool own_strings(hsa_config *config)
{
  const char **strings[] = {&config->base_url, &config->proxy, &config->ca_file, &config->user_agent};
  bool ok = true;
  size_t i;

  for (i = 0; i < sizeof strings / sizeof *strings; i++) {
    bool given = *strings[i] != NULL;

    ok = (own(strings[i]) || !given) && ok;
  }
  return ok;
}

hsa_status hsa_engine_new(const hsa_config *config, hsa_engine **out)
{
  hsa_engine *engine = calloc(1, sizeof *engine);

  if (!engine)
    return HSA_NOMEM;
  engine->config = *config;
  engine->pid = getpid();
  engine->random = (uint64_t)hsa_now() * UINT64_C(0x9E3779B97F4A7C15) ^ ((uint64_t)engine->pid << 32) ^
                   (uint64_t)(uintptr_t)engine;
  if (!engine->random)
    engine->random = 1;
  hsa_budget_init(&engine->budget);
  if (!own_strings(&engine->config) || hsa_pace_init(&engine->pace, config->rate_requests, config->rate_interval,
                                                      config->rate_is_ceiling) != HSA_OK) {
    hsa_engine_free(engine);
    return HSA_NOMEM;
  }
  *out = engine;
  return HSA_OK;
}

void hsa_engine_free(hsa_engine *engine)
{
  hsa_sigpipe saved;

  if (!engine)
    return;
  hsa_sigpipe_block(&saved);
  check_fork(engine);
  while (engine->calls) {
    hsa_call *call = engine->calls;

    if (call->stage != STAGE_ENDED)
      cancel(call);
    engine->calls = call->next;
    call->engine = NULL;
  }
  hsa_transport_free(engine->transport);
  hsa_sigpipe_restore(&saved);
  hsa_pace_free(&engine->pace);
  hsa_timers_free(&engine->timers);
  free((char *)engine->config.base_url);
  free((char *)engine->config.proxy);
  free((char *)engine->config.ca_file);
  free((char *)engine->config.user_agent);
  free(engine);
}

/* ---- calls ---- */

static hsa_status set_up_call(hsa_call *call, const hsa_request *request)
{
  hsa_buf url;
  hsa_status status;

  hsa_buf_init(&url, MAX_URL);
  status = hsa_url_build(&url, call->engine->config.base_url, request);
  call->url = url.data;
  if (status != HSA_OK)
    return status;
  if (request->park == HSA_PARK_NEVER) {
    if (!request->token || hsa_check_header_value(request->token, strlen(request->token)))
      return HSA_INVALID;
    call->token = copy(request->token, strlen(request->token));
    if (!call->token)
      return HSA_NOMEM;
  }
  if (request->body) {
    call->body = copy(request->body, request->body_len);
    call->body_len = request->body_len;
    if (!call->body)
      return HSA_NOMEM;
  }
  return HSA_OK;
}

static void free_call(hsa_call *call)
{
  free(call->url);
  free(call->body);
  free(call->token);
  free(call->events);
  hsa_buf_free(&call->result.body);
  free(call);
}

static hsa_call *new_call(hsa_engine *engine, const hsa_request *request)
{
  hsa_call *call = calloc(1, sizeof *call);

  if (!call)
    return NULL;
  call->engine = engine;
  call->stage = STAGE_WAITING;
  call->method = request->method;
  call->effect = request->effect;
  call->park = request->park;
  call->timeout = request->timeout;
  call->deadline = request->deadline;
  call->max_attempts = request->max_attempts;
  call->started = hsa_now();
  hsa_headers_reset(&call->result.headers);
  return call;
}

static hsa_status ensure_transport(hsa_engine *engine)
{
  return engine->transport ? HSA_OK : hsa_transport_new(&engine->config, &engine->transport);
}

hsa_status hsa_call_start(hsa_engine *engine, const hsa_request *request, hsa_call **out)
{
  hsa_call *call;
  hsa_status status;

  check_fork(engine);
  call = new_call(engine, request);
  status = call ? ensure_transport(engine) : HSA_NOMEM;
  if (status == HSA_OK)
    status = hsa_timers_reserve(&engine->timers, engine->ncalls + 1);
  if (status == HSA_OK)
    status = set_up_call(call, request);
  if (status != HSA_OK) {
    if (call)
      free_call(call);
    return status;
  }
  engine->ncalls++;
  call->next = engine->calls;
  if (call->next)
    call->next->prev = call;
  engine->calls = call;
  if (call->park == HSA_PARK_NEVER)
    enqueue(call);
  else
    park(call, HSA_REASON_FIRST);
  *out = call;
  return HSA_OK;
}

hsa_state hsa_call_state(const hsa_call *call)
{
  if (call->stage == STAGE_ENDED)
    return HSA_DONE;
  return call->stage == STAGE_PARKED ? HSA_PARKED : HSA_RUNNING;
}

hsa_reason hsa_call_reason(const hsa_call *call)
{
  return call->reason;
}

static int64_t next_wake(const hsa_engine *engine, int64_t until)
{
  const hsa_timer *timer = hsa_timers_first(&engine->timers);

  if (timer && timer->at < until)
    until = timer->at;
  if (engine->queue_first && engine->queue_at < until)
    until = engine->queue_at;
  return until;
}

static bool wants_attention(const hsa_call *call)
{
  return hsa_call_state(call) != HSA_RUNNING || call->next_event < call->nevents;
}

hsa_state hsa_call_run(hsa_call *call, int64_t until)
{
  hsa_engine *engine = call->engine;
  hsa_sigpipe saved;
  int64_t now, wake;

  if (!engine)
    return hsa_call_state(call);
  hsa_sigpipe_block(&saved);
  check_fork(engine);
  expire(engine, hsa_now()); /* also where the call is parked, and nothing else is looked at */
  while (!wants_attention(call)) {
    now = hsa_now();
    expire(engine, now);
    pump(engine, now);
    if (collect(engine) || wants_attention(call))
      continue;
    wake = next_wake(engine, until);
    now = hsa_now();
    if (now >= until)
      break;
    if (wake > now)
      hsa_transport_wait(engine->transport, wake - now);
  }
  hsa_sigpipe_restore(&saved);
  return hsa_call_state(call);
}

hsa_status hsa_call_go(hsa_call *call, const char *token, int64_t delay)
{
  int64_t now = hsa_now();
  char *fresh = NULL;

  if (!call->engine)
    return HSA_OK; /* it ended with its engine */
  check_fork(call->engine);
  if (call->stage != STAGE_PARKED)
    return HSA_OK; /* its deadline passed meanwhile: the outcome says so */
  if (token && hsa_check_header_value(token, strlen(token)))
    return HSA_INVALID;
  if (!token && !call->token)
    return HSA_INVALID;
  if (token) {
    fresh = copy(token, strlen(token));
    if (!fresh)
      return HSA_NOMEM;
    free(call->token);
    call->token = fresh;
  }
  if (delay <= 0 || now >= call->deadline)
    enqueue(call);
  else if (delay >= call->deadline - now)
    end_rate_limited(call, delay);
  else
    wait_until(call, now + delay);
  return HSA_OK;
}

void hsa_call_refuse(hsa_call *call)
{
  if (!call->engine)
    return;
  check_fork(call->engine);
  if (call->stage == STAGE_PARKED)
    end_early(call, HSA_CONFIG, -1, "no token was given");
}

bool hsa_call_mask(const hsa_call *call, char *text, size_t len)
{
  return call && call->token && hsa_mask(text, len, call->token);
}

bool hsa_call_event(hsa_call *call, hsa_event *event)
{
  if (call->next_event >= call->nevents) {
    call->next_event = call->nevents = 0;
    return false;
  }
  *event = call->events[call->next_event++];
  return true;
}

const hsa_outcome *hsa_call_outcome(const hsa_call *call)
{
  return &call->outcome;
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

void hsa_call_free(hsa_call *call)
{
  hsa_sigpipe saved;

  if (!call)
    return;
  if (call->engine) {
    check_fork(call->engine);
    if (call->transfer) {
      hsa_sigpipe_block(&saved);
      stop(call);
      hsa_sigpipe_restore(&saved);
    } else
      stop(call);
    unlink_call(call);
  }
  free_call(call);
}

/* ---- names ---- */

const char *hsa_kind_name(hsa_kind kind)
{
  static const char *const names[] = {NULL,        "api",      "throttled", "timeout",
                                      "transport", "protocol", "canceled",  "config"};

  return names[kind];
}

const char *hsa_code_name(hsa_code code)
{
  static const char *const names[] = {NULL, "resolve", "connect", "tls", "proxy", "send", "receive", "other"};

  return names[code];
}

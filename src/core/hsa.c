/* hsa.c - the public functions of hsa.h: each takes the lock. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "engine.h"
#include "sigpipe.h"
#include "url.h"

enum { MAX_URL = 8 * 1024 };

/* After something that the thread may be asleep to. */
static void wake(hsa_engine *engine)
{
  if (engine->has_thread)
    hsa_transport_wake(engine->transport);
}

/* ---- driving ---- */

void hsa_engine_run(hsa_engine *engine, int64_t until)
{
  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  if (engine->transport) /* else there never was a call */
    hsa_engine_drive(engine, until, NULL);
  hsa_engine_unlock(engine);
}

hsa_call *hsa_engine_next(hsa_engine *engine)
{
  hsa_call *call;

  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  call = engine->marked_first;
  if (call)
    hsa_call_unmark(call);
  hsa_engine_unlock(engine);
  return call;
}

void hsa_engine_announce(hsa_engine *engine, bool is_more)
{
  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  engine->is_announced = is_more;
  hsa_engine_notify(engine);
  hsa_engine_unlock(engine);
}

int hsa_engine_fd(hsa_engine *engine)
{
  int fd;

  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  fd = hsa_notifier_fd(&engine->notifier);
  hsa_engine_unlock(engine);
  return fd;
}

const char *hsa_engine_listen(hsa_engine *engine)
{
  const char *path;

  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  path = hsa_notifier_listen(&engine->notifier);
  hsa_engine_unlock(engine);
  return path;
}

bool hsa_engine_accept(hsa_engine *engine)
{
  bool ok;

  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  ok = hsa_notifier_accept(&engine->notifier);
  hsa_engine_unlock(engine);
  return ok;
}

/* ---- engines ---- */

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

static uint64_t seed(const hsa_engine *engine)
{
  uint64_t value = (uint64_t)hsa_now() * UINT64_C(0x9E3779B97F4A7C15) ^ ((uint64_t)getpid() << 32) ^
                   (uint64_t)(uintptr_t)engine;

  return value ? value : 1;
}

hsa_status hsa_engine_new(const hsa_config *config, hsa_engine **out)
{
  hsa_engine *engine = calloc(1, sizeof *engine);

  if (!engine)
    return HSA_NOMEM;
  engine->config = *config;
  engine->random = seed(engine);
  hsa_notifier_init(&engine->notifier);
  engine->told = (hsa_rate_limit){-1, -1, -1, -1, -1};
  engine->told_at = INT64_MIN;
  hsa_budget_init(&engine->budget, config->retry_budget);
  if (!hsa_count_forks(&engine->forks) || !own_strings(&engine->config) || !hsa_engine_init_locks(engine) ||
      hsa_pace_init(&engine->pace, config->rate_requests, config->rate_interval, config->rate_is_ceiling,
                    config->rate_shares) != HSA_OK) {
    hsa_engine_free(engine);
    return HSA_NOMEM;
  }
  *out = engine;
  return HSA_OK;
}

/* Takes all calls from the engine. Their users still have them. */
static void release_calls(hsa_engine *engine)
{
  hsa_engine_reap(engine);
  hsa_engine_cancel_calls(engine, "the call was canceled");
  while (engine->calls) {
    hsa_call *call = engine->calls;

    hsa_call_unmark(call);
    engine->calls = call->next;
    call->engine = NULL;
  }
}

void hsa_engine_close(hsa_engine *engine)
{
  hsa_sigpipe saved;

  hsa_engine_check_fork(engine);
  hsa_engine_stop_thread(engine);
  hsa_sigpipe_block(&saved);
  release_calls(engine);
  hsa_fork_enter();
  hsa_transport_free(engine->transport);
  hsa_fork_leave();
  hsa_sigpipe_restore(&saved);
  engine->transport = NULL;
  engine->is_closed = true;
}

void hsa_engine_free(hsa_engine *engine)
{
  if (!engine)
    return;
  hsa_engine_close(engine);
  hsa_notifier_close(&engine->notifier);
  hsa_pace_free(&engine->pace);
  hsa_timers_free(&engine->timers);
  free((char *)engine->config.base_url);
  free((char *)engine->config.proxy);
  free((char *)engine->config.ca_file);
  free((char *)engine->config.user_agent);
  pthread_mutex_destroy(&engine->lock);
  pthread_cond_destroy(&engine->changed);
  free(engine);
}

/* ---- what it has done, and knows ---- */

static bool is_under_way(const hsa_call *call)
{
  return call->stage == STAGE_SENDING || (call->stage == STAGE_PARKED && call->reason == HSA_REASON_SEND);
}

void hsa_engine_stats(hsa_engine *engine, hsa_stats *out)
{
  const hsa_call *call;

  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  *out = engine->stats;
  for (call = engine->calls; call; call = call->next)
    if (is_under_way(call))
      out->in_flight++;
    else if (call->stage != STAGE_ENDED)
      out->queued++;
  hsa_engine_unlock(engine);
}

void hsa_engine_rate(hsa_engine *engine, hsa_rate_state *out)
{
  int64_t now = hsa_now(), age;
  const hsa_rate_limit *told = &engine->told;
  bool is_paced;

  hsa_engine_check_fork(engine);
  hsa_engine_lock(engine);
  is_paced = engine->pace.own.requests > 0;
  age = engine->told_at == INT64_MIN ? -1 : now - engine->told_at;
  *out = (hsa_rate_state){
    .requests = told->max > 0 ? told->max : is_paced ? engine->config.rate_requests : -1,
    .interval = told->max > 0 ? told->interval_ms * 1000 : is_paced ? engine->config.rate_interval : -1,
    .remaining = is_paced ? hsa_pace_remaining(&engine->pace, engine->told_group, now) : -1,
    .daily = told->daily,
    .daily_remaining = told->daily_remaining,
    .hold = engine->pace.hold > now ? engine->pace.hold - now : -1,
    .age = age,
  };
  if (!is_paced && told->remaining >= 0 && age <= told->interval_ms * 1000)
    out->remaining = told->remaining;
  hsa_engine_unlock(engine);
}

/* ---- calls ---- */

static char *copy(const char *bytes, size_t len)
{
  char *text = malloc(len + 1);

  if (text) {
    memcpy(text, bytes, len);
    text[len] = '\0';
  }
  return text;
}

/* An empty one, which would end them, is passed over. */
static hsa_status keep_secrets(hsa_call *call, const hsa_request *request)
{
  size_t size = 1, i;
  char *end;

  if (request->nsecrets == 0)
    return HSA_OK;
  for (i = 0; i < request->nsecrets; i++)
    size += request->secrets[i].len + 1;
  call->secrets = end = calloc(1, size);
  if (!end)
    return HSA_NOMEM;
  for (i = 0; i < request->nsecrets; i++)
    if (request->secrets[i].len > 0) {
      memcpy(end, request->secrets[i].value, request->secrets[i].len);
      end += request->secrets[i].len + 1;
    }
  return HSA_OK;
}

static hsa_status set_up_call(hsa_call *call, const hsa_request *request)
{
  hsa_buf url;
  hsa_status status;

  hsa_buf_init(&url, MAX_URL);
  status = hsa_url_build(&url, call->engine->config.base_url, request);
  call->url = url.data;
  if (status != HSA_OK)
    return status;
  if (!request->token && !request->bears_no_token && request->park == HSA_PARK_NEVER)
    return HSA_INVALID;
  if (request->token || request->bears_no_token) {
    const char *token = request->bears_no_token ? "" : request->token;

    if (!request->bears_no_token && hsa_check_header_value(token, strlen(token)))
      return HSA_INVALID;
    call->token = copy(token, strlen(token));
    if (!call->token)
      return HSA_NOMEM;
  }
  if (request->headers) {
    if (hsa_check_header_lines(request->headers) != HSA_OK)
      return HSA_INVALID;
    call->headers = copy(request->headers, strlen(request->headers));
    if (!call->headers)
      return HSA_NOMEM;
  }
  if (request->body) {
    call->body = copy(request->body, request->body_len);
    call->body_len = request->body_len;
    if (!call->body)
      return HSA_NOMEM;
  }
  return keep_secrets(call, request);
}

static hsa_call *new_call(hsa_engine *engine, const hsa_request *request)
{
  hsa_call *call = malloc(sizeof *call); /* glibc's calloc passes over what the last one has just given back */

  if (!call)
    return NULL;
  *call = (hsa_call){
    .engine = engine,
    .stage = STAGE_WAITING,
    .waits_for = HSA_WAITS,
    .method = request->method,
    .effect = request->effect,
    .park = request->park,
    .group = request->rate_group,
    .asks_answer = request->asks_answer,
    .is_form = request->is_form,
    .is_refreshable = !request->token && !request->bears_no_token,
    .timeout = request->timeout,
    .deadline = request->deadline,
    .max_attempts = request->max_attempts,
    .user = request->user,
    .started = hsa_now(),
  };
  hsa_headers_reset(&call->result.headers);
  return call;
}

/* Takes the new call in, with the lock held. */
static hsa_status admit(hsa_engine *engine, hsa_call *call, const hsa_request *request)
{
  hsa_status status = engine->is_closed ? HSA_INVALID : HSA_OK;

  if (status == HSA_OK && !engine->transport) {
    hsa_fork_enter();
    status = hsa_transport_new(&engine->config, &engine->transport);
    hsa_fork_leave();
  }
  if (status == HSA_OK)
    status = hsa_timers_reserve(&engine->timers, engine->ncalls + 1);
  if (status == HSA_OK)
    status = set_up_call(call, request);
  if (status != HSA_OK)
    return status;
  engine->ncalls++;
  engine->stats.requests++;
  call->next = engine->calls;
  if (call->next)
    call->next->prev = call;
  engine->calls = call;
  if (engine->is_ending)
    hsa_call_end_early(call, HSA_CANCELED, -1, HSA_ENDING);
  else if (call->park == HSA_PARK_FIRST)
    hsa_call_park(call, HSA_REASON_FIRST);
  else
    hsa_call_enqueue(call);
  if (call->stage == STAGE_QUEUED && call->park == HSA_PARK_EVERY)
    hsa_call_ask_at_once(call);
  wake(engine);
  return HSA_OK;
}

hsa_status hsa_call_start(hsa_engine *engine, const hsa_request *request, hsa_call **out)
{
  hsa_call *call;
  hsa_status status;

  hsa_engine_check_fork(engine);
  call = new_call(engine, request);
  if (!call)
    return HSA_NOMEM;
  hsa_engine_lock(engine);
  status = admit(engine, call, request);
  hsa_engine_unlock(engine);
  if (status == HSA_OK)
    *out = call;
  else {
    call->engine = NULL;
    hsa_call_destroy(call);
  }
  return status;
}

void *hsa_call_user(const hsa_call *call)
{
  return call->user;
}

/* The calls below read or change a call that its engine may be working on. */
static hsa_engine *lock_of(const hsa_call *call)
{
  if (call->engine) {
    hsa_engine_check_fork(call->engine);
    hsa_engine_lock(call->engine);
  }
  return call->engine;
}

static void unlock_of(hsa_engine *engine)
{
  if (engine)
    hsa_engine_unlock(engine);
}

static hsa_state state_of(const hsa_call *call)
{
  if (call->stage == STAGE_ENDED)
    return HSA_DONE;
  return call->stage == STAGE_PARKED ? HSA_PARKED : HSA_RUNNING;
}

hsa_state hsa_call_state(const hsa_call *call)
{
  hsa_engine *engine = lock_of(call);
  hsa_state state = state_of(call);

  unlock_of(engine);
  return state;
}

hsa_reason hsa_call_reason(const hsa_call *call)
{
  return call->reason; /* does not change while it is parked */
}

hsa_state hsa_call_run(hsa_call *call, int64_t until)
{
  hsa_engine *engine = lock_of(call);
  hsa_state state;

  if (!engine)
    return state_of(call);
  hsa_engine_drive(engine, until, call);
  if (hsa_call_wants_attention(call))
    hsa_call_unmark(call);
  state = state_of(call);
  hsa_engine_unlock(engine);
  return state;
}

static hsa_status proceed(hsa_call *call, const char *token, int64_t delay)
{
  int64_t now = hsa_now();
  char *fresh;

  if (call->stage != STAGE_PARKED || call->reason == HSA_REASON_SEND)
    return HSA_OK; /* its deadline passed meanwhile: the outcome says so */
  if (token ? hsa_check_header_value(token, strlen(token)) != NULL : !call->token)
    return HSA_INVALID;
  if (token) {
    fresh = copy(token, strlen(token));
    if (!fresh)
      return HSA_NOMEM;
    free(call->token);
    call->token = fresh;
  }
  hsa_call_unmark(call);
  call->released = now;
  hsa_call_have_leave(call);
  if (delay <= 0 || now >= call->deadline)
    hsa_call_enqueue(call);
  else if (delay >= call->deadline - now)
    hsa_call_end_limited(call, delay);
  else {
    call->released += delay;
    hsa_call_wait(call, HSA_WAIT_LEAVE, call->released);
    call->told_wait = false;
    hsa_call_tell_wait(call, delay);
  }
  wake(call->engine);
  return HSA_OK;
}

hsa_status hsa_call_proceed(hsa_call *call, const char *token, int64_t delay)
{
  hsa_engine *engine = lock_of(call);
  hsa_status status = engine ? proceed(call, token, delay) : HSA_OK; /* it ended with its engine */

  unlock_of(engine);
  return status;
}

void hsa_call_refuse(hsa_call *call, hsa_kind kind, bool retryable)
{
  hsa_engine *engine = lock_of(call);

  if (engine && call->stage == STAGE_PARKED)
    hsa_call_end_refused(call, kind, retryable);
  unlock_of(engine);
}

unsigned hsa_call_questions(const hsa_call *call)
{
  return call->questions; /* does not change while it is parked, but by its end */
}

int hsa_call_attempts(const hsa_call *call)
{
  return call->attempts; /* does not change while it is parked */
}

const char *hsa_call_token(const hsa_call *call)
{
  return call->token;
}

const char *hsa_call_url(const hsa_call *call)
{
  return call->url;
}

hsa_status hsa_call_answer(hsa_call *call, const hsa_answer *answer)
{
  hsa_engine *engine = lock_of(call);
  hsa_status status = HSA_OK;
  int64_t now = hsa_now();

  if (engine && call->stage == STAGE_PARKED && call->reason == HSA_REASON_SEND) {
    status = hsa_call_take_answer(call, now < call->timer.at ? answer : &(hsa_answer){.kind = HSA_TIMEOUT}, now);
    wake(engine);
  }
  unlock_of(engine);
  return status;
}

bool hsa_call_mask(const hsa_call *call, char *text, size_t len)
{
  return call && hsa_call_hide(call, text, len);
}

bool hsa_call_event(hsa_call *call, hsa_event *event)
{
  hsa_engine *engine = lock_of(call);
  bool any = call->next_event < call->nevents;

  if (any)
    *event = call->events[call->next_event++];
  else
    call->next_event = call->nevents = 0;
  if (engine && !hsa_call_wants_attention(call))
    hsa_call_unmark(call);
  unlock_of(engine);
  return any;
}

const hsa_outcome *hsa_call_outcome(const hsa_call *call)
{
  return &call->outcome;
}

/* Only who drives the engine may take a transfer from libcurl: the thread is told to. */
static void give_up(hsa_call *call)
{
  hsa_engine *engine = call->engine;

  hsa_call_unmark(call);
  call->is_given_up = true;
  call->qnext = engine->given_up;
  engine->given_up = call;
  wake(engine);
}

/* Frees the call of this engine, with its lock held. Returns whether its transfer is still to be taken from libcurl. */
static bool free_locked(hsa_engine *engine, hsa_call *call)
{
  bool is_out = call->transfer != NULL;

  if (is_out && engine->has_thread) {
    give_up(call);
    return false;
  }
  hsa_call_unmark(call);
  hsa_call_stop(call);
  hsa_call_destroy(call);
  return is_out;
}

/* Frees the call, which is of this engine, or of none. */
static void free_call(hsa_engine *engine, hsa_call *call)
{
  bool is_out = false;
  hsa_sigpipe saved;

  if (engine)
    is_out = free_locked(engine, call);
  else
    hsa_call_destroy(call);
  unlock_of(engine);
  if (!is_out)
    return;
  hsa_sigpipe_block(&saved);
  hsa_fork_enter();
  hsa_transport_settle(engine->transport);
  hsa_fork_leave();
  hsa_sigpipe_restore(&saved);
}

hsa_outcome hsa_call_cancel(hsa_call *call)
{
  hsa_engine *engine = lock_of(call);
  hsa_outcome outcome = {
    .kind = HSA_CANCELED,
    .attempts = call->attempts,
    .ambiguous = hsa_call_may_be_applied(call),
    .retry_after = -1,
    .elapsed = hsa_now() - call->started,
    .detail = "the call was canceled",
    .body = "",
    .correlation_id = "",
    .rate = {-1, -1, -1, -1, -1},
  };

  free_call(engine, call);
  return outcome;
}

void hsa_call_free(hsa_call *call)
{
  if (call)
    free_call(lock_of(call), call);
}

/* ---- names ---- */

const char *hsa_kind_name(hsa_kind kind)
{
  static const char *const names[] = {NULL,        "api",      "throttled", "timeout",
                                      "transport", "protocol", "canceled",  "config", "pending"};

  return names[kind];
}

const char *hsa_wait_name(hsa_wait wait)
{
  static const char *const names[] = {"rate", "hold", "connection", "retry", "leave", "token"};

  return names[wait];
}

const char *hsa_code_name(hsa_code code)
{
  static const char *const names[] = {NULL, "resolve", "connect", "tls", "proxy", "send", "receive", "other"};

  return names[code];
}

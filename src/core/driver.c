/* driver.c - moves an engine on: what time asks for, what the rate lets go, what has ended. The caller's time drives
 * it, or that of a thread (thread.c). */
#include <time.h>

#include "clock.h"
#include "engine.h"
#include "sigpipe.h"

#define ASKING_TIME (HSA_SECOND / 50)

/* ---- one step ---- */

/* The first call of the group's queue, and when it may go. What cannot go before its deadline is ended. */
static hsa_call *first_of(hsa_engine *engine, int group, int64_t now, hsa_leave *leave)
{
  hsa_queue *queue = &engine->queues[group];

  while (queue->first) {
    *leave = hsa_pace_next(&engine->pace, group, now);
    if (leave->at > now)
      queue->obstacle = *leave;
    if (now >= queue->first->deadline)
      hsa_call_end_past_deadline(queue->first, now);
    else if (leave->at >= queue->first->deadline && leave->reason != HSA_PACE_PROBE) /* its answer may come sooner */
      hsa_call_end_rate_limited(queue->first, now);
    else
      break;
  }
  return queue->first;
}

static bool is_free(const hsa_engine *engine, const hsa_call *call)
{
  return hsa_transport_has_room(engine->transport, call->has_leave ? 0 : engine->expected - engine->slow);
}

/* Is a connection free for the first call of a queue? One is kept for each that has leave, or asks for it; but who
 * asks holds others up for a moment at most: the answer may take long, or itself need a call. Sets *at to when to
 * look again, if that is sooner. */
static bool has_room(hsa_engine *engine, const hsa_call *call, int64_t now, int64_t *at)
{
  int64_t patience = engine->asking > engine->slow ? engine->asked_at + ASKING_TIME : INT64_MAX;

  if (!is_free(engine, call) && now >= patience) {
    engine->slow = engine->asking;
    engine->slow_number = engine->asks;
    patience = INT64_MAX;
  }
  engine->needs_room = !is_free(engine, call);
  if (!engine->needs_room)
    return true;
  engine->queues[call->group].obstacle = (hsa_leave){now, HSA_PACE_NOW};
  *at = patience < *at ? patience : *at;
  return false;
}

/* Sends from the queues what the rate allows and what a connection is free for, in the order in which the calls came.
 * What is given to libcurl sooner could not be called back after a 429. */
static void pump(hsa_engine *engine, int64_t now)
{
  while (now >= engine->queue_at) {
    hsa_call *next = NULL;
    int64_t at = INT64_MAX;
    int group;

    engine->needs_room = false;
    for (group = 0; group < HSA_RATE_GROUPS; group++) {
      hsa_leave leave;
      hsa_call *call = first_of(engine, group, now, &leave);

      if (call && leave.at > now) {
        at = leave.at < at ? leave.at : at;
        hsa_call_tell_wait(call, leave.at - now);
      } else if (call && (!next || call->order < next->order))
        next = call;
    }
    if (!next || !has_room(engine, next, now, &at))
      engine->queue_at = at;
    else if (hsa_call_needs_leave(next, now))
      hsa_call_ask_leave(next, now);
    else
      hsa_call_send(next, now);
  }
}

/* Takes in the attempts that have ended; false if there was none. */
static bool end_attempts(hsa_engine *engine)
{
  bool any = false;
  hsa_transfer *transfer;

  while ((transfer = hsa_transport_ended(engine->transport)) != NULL) {
    hsa_call_end_attempt(transfer);
    any = true;
  }
  return any;
}

static void expire(hsa_engine *engine, int64_t now)
{
  hsa_timer *timer;

  while ((timer = hsa_timers_first(&engine->timers)) != NULL && timer->at <= now) {
    hsa_call *call = (hsa_call *)(void *)((char *)timer - offsetof(hsa_call, timer));

    hsa_timer_clear(&engine->timers, timer);
    if (call->stage == STAGE_SENDING)
      hsa_transfer_time_out(call->transfer);
    else if (call->stage == STAGE_PARKED && call->reason == HSA_REASON_SEND)
      hsa_call_take_answer(call, &(hsa_answer){.kind = HSA_TIMEOUT}, now);
    else if (call->stage != STAGE_WAITING)
      hsa_call_end_past_deadline(call, now);
    else
      hsa_call_enqueue(call);
  }
}

static bool has_news(const hsa_engine *engine, const hsa_call *awaited)
{
  if (engine->must_stop || engine->must_pause)
    return true;
  if (engine->has_thread)
    return false; /* the thread goes on; others hear of news by `changed` */
  return awaited ? hsa_call_wants_attention(awaited) : engine->marked_first != NULL;
}

static int64_t next_wake(const hsa_engine *engine, int64_t until)
{
  const hsa_timer *timer = hsa_timers_first(&engine->timers);

  if (timer && timer->at < until)
    until = timer->at;
  if (engine->queue_at < until)
    until = engine->queue_at;
  return until;
}

void hsa_engine_reap(hsa_engine *engine)
{
  while (engine->given_up) {
    hsa_call *call = engine->given_up;

    engine->given_up = call->qnext;
    hsa_call_stop(call);
    hsa_call_destroy(call);
  }
}

/* Does what the engine's lock is not needed for, nor held. */
static void in_libcurl(hsa_engine *engine, void (*act)(hsa_transport *))
{
  bool is_thread = engine->has_thread; /* which pauses for a fork */

  hsa_engine_unlock(engine);
  if (!is_thread)
    hsa_fork_enter();
  act(engine->transport);
  if (!is_thread)
    hsa_fork_leave();
  hsa_engine_lock(engine);
}

/* Is there nothing to wait for but time? A call that is parked waits for somebody. */
static bool waits_for_time(const hsa_engine *engine)
{
  const hsa_call *call;

  if (engine->marked_first)
    return false;
  for (call = engine->calls; call; call = call->next)
    if (call->stage == STAGE_PARKED || call->stage == STAGE_SENDING)
      return false;
  return true;
}

void hsa_engine_turn(hsa_engine *engine, int64_t until, const hsa_call *awaited)
{
  int64_t now = hsa_now(), at;

  hsa_engine_reap(engine);
  expire(engine, now);
  pump(engine, now);
  if (!engine->transport || has_news(engine, awaited))
    return;
  in_libcurl(engine, hsa_transport_perform);
  if (engine->needs_room)
    engine->queue_at = INT64_MIN;
  if (end_attempts(engine) || engine->needs_room)
    pump(engine, hsa_now()); /* the rate may let more go, or a connection is free */
  if (hsa_transport_is_unsettled(engine->transport)) {
    in_libcurl(engine, hsa_transport_settle);
    end_attempts(engine); /* those that could not even begin */
  }
  now = hsa_now();
  at = next_wake(engine, until);
  if (engine->given_up || has_news(engine, awaited) || at <= now)
    return;
  if (engine->config.skips_waits && at < INT64_MAX && waits_for_time(engine)) {
    hsa_clock_skip(at - now);
    return;
  }
  hsa_engine_unlock(engine);
  hsa_transport_wait(engine->transport, at - now);
  hsa_engine_lock(engine);
}

/* ---- who drives ---- */

/* Waits for the thread to have news, until `until` at most. */
static void wait_for_thread(hsa_engine *engine, int64_t until)
{
  int64_t shown = hsa_clock_monotonic(until);
  struct timespec at = {.tv_sec = (time_t)(shown / HSA_SECOND), .tv_nsec = (long)(shown % HSA_SECOND) * 1000};

  if (until == INT64_MAX)
    pthread_cond_wait(&engine->changed, &engine->lock);
  else
    pthread_cond_timedwait(&engine->changed, &engine->lock, &at);
}

/* Drives the engine, or lets its thread do so, until the awaited call, or any, wants attention. */
void hsa_engine_drive(hsa_engine *engine, int64_t until, const hsa_call *awaited)
{
  hsa_sigpipe saved;
  bool is_driver = !engine->has_thread;

  if (is_driver) {
    hsa_sigpipe_block(&saved);
    expire(engine, hsa_now()); /* also where the call is parked, and nothing else is looked at */
  }
  while (!engine->is_closed && (awaited ? !hsa_call_wants_attention(awaited) : !engine->marked_first)) {
    if (is_driver)
      hsa_engine_turn(engine, until, awaited);
    if (hsa_now() >= until)
      break;
    if (!is_driver)
      wait_for_thread(engine, until);
  }
  if (is_driver)
    hsa_sigpipe_restore(&saved);
}

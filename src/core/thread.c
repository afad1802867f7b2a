/* thread.c - an engine's own I/O thread, and what fork has to do with it.
 *
 * The thread sleeps in hsa_transport_wait. Before a fork it is brought to a place where it holds no lock, neither ours
 * nor one inside OpenSSL or libc's allocator, that the child would find locked for ever. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine.h"

/* Engines with a thread, linked by next_threaded. The lock also keeps them from being freed during a fork. */
static pthread_mutex_t threaded_lock = PTHREAD_MUTEX_INITIALIZER;
static hsa_engine *threaded;

static pthread_once_t guard_once = PTHREAD_ONCE_INIT;
static bool is_guarded, is_exiting;

static pthread_once_t count_once = PTHREAD_ONCE_INIT;
static bool is_counted;
static atomic_uint forks;

/* ---- fork and exit ---- */

static void count_fork(void)
{
  atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

static void begin_to_count(void)
{
  is_counted = pthread_atfork(NULL, NULL, count_fork) == 0;
}

bool hsa_count_forks(unsigned *count)
{
  pthread_once(&count_once, begin_to_count);
  *count = atomic_load_explicit(&forks, memory_order_relaxed);
  return is_counted;
}

static void prepare(void)
{
  hsa_engine *engine;

  pthread_mutex_lock(&threaded_lock);
  for (engine = threaded; engine; engine = engine->next_threaded) {
    pthread_mutex_lock(&engine->lock);
    engine->must_pause = true;
    hsa_transport_wake(engine->transport);
    while (!engine->is_paused)
      pthread_cond_wait(&engine->changed, &engine->lock);
  }
}

static void in_parent(void)
{
  hsa_engine *engine;

  for (engine = threaded; engine; engine = engine->next_threaded) {
    engine->must_pause = is_exiting;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
  }
  pthread_mutex_unlock(&threaded_lock);
}

/* The process exits without having freed its engines: OpenSSL cleans up after this, and no thread may be inside. They
 * pause for good, but can still be stopped. */
static void at_exit(void)
{
  prepare();
  is_exiting = true;
  in_parent();
}

/* The threads are not there. Each engine finds out by itself when it is next used. */
static void in_child(void)
{
  hsa_engine *engine;

  for (engine = threaded; engine; engine = engine->next_threaded) {
    engine->must_pause = engine->is_paused = false;
    engine->has_thread = false;
    /* Made anew, not destroyed: they remember a waiter that is not there. */
    hsa_engine_init_locks(engine);
  }
  threaded = NULL;
  pthread_mutex_unlock(&threaded_lock); /* taken by this thread, in prepare */
}

/* With libcurl and so OpenSSL set up: handlers run in the reverse order of their registration. */
static void guard(void)
{
  is_guarded = pthread_atfork(prepare, in_parent, in_child) == 0 && atexit(at_exit) == 0;
}

/* ---- the thread ---- */

static void pause_here(hsa_engine *engine)
{
  engine->is_paused = true;
  pthread_cond_broadcast(&engine->changed);
  while (engine->must_pause && !engine->must_stop)
    pthread_cond_wait(&engine->changed, &engine->lock);
  engine->is_paused = false;
}

static void *thread_main(void *data)
{
  hsa_engine *engine = data;

  pthread_mutex_lock(&engine->lock);
  while (!engine->must_stop) {
    if (engine->must_pause)
      pause_here(engine);
    else
      hsa_engine_turn(engine, INT64_MAX, NULL);
  }
  pthread_mutex_unlock(&engine->lock);
  return NULL;
}

/* All signals are the host's: none is handled in the thread. */
static bool create(hsa_engine *engine)
{
  sigset_t all, before;
  bool ok;

  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  ok = pthread_create(&engine->thread, NULL, thread_main, engine) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return ok;
}

hsa_status hsa_engine_start_thread(hsa_engine *engine)
{
  bool ok = true;

  hsa_engine_check_fork(engine);
  pthread_mutex_lock(&threaded_lock);
  pthread_mutex_lock(&engine->lock);
  if (!engine->has_thread) {
    if (!engine->transport)
      ok = hsa_transport_new(&engine->config, &engine->transport) == HSA_OK;
    pthread_once(&guard_once, guard);
    engine->has_thread = ok && is_guarded && !is_exiting; /* before the thread looks */
    if (engine->has_thread)
      engine->has_thread = create(engine);
    ok = engine->has_thread;
    if (ok) {
      engine->next_threaded = threaded;
      threaded = engine;
    }
  }
  pthread_mutex_unlock(&engine->lock);
  pthread_mutex_unlock(&threaded_lock);
  return ok ? HSA_OK : HSA_NOMEM;
}

static void forget(hsa_engine *engine)
{
  hsa_engine **link = &threaded;

  while (*link && *link != engine)
    link = &(*link)->next_threaded;
  if (*link)
    *link = engine->next_threaded;
}

void hsa_engine_stop_thread(hsa_engine *engine)
{
  if (!engine->has_thread)
    return;
  pthread_mutex_lock(&threaded_lock);
  pthread_mutex_lock(&engine->lock);
  engine->must_stop = true;
  pthread_cond_broadcast(&engine->changed);
  hsa_transport_wake(engine->transport);
  pthread_mutex_unlock(&engine->lock);
  pthread_join(engine->thread, NULL);
  engine->has_thread = engine->must_stop = false;
  forget(engine);
  pthread_mutex_unlock(&threaded_lock);
}

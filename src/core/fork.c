/* fork.c - what fork does to engines. Before one, every I/O thread is brought to a place where it holds no lock,
 * neither ours nor one inside OpenSSL or libc's allocator, that the child would find locked for ever; and other threads
 * have left libcurl. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

/* Engines with a thread, linked by next_threaded. The lock also keeps them from being freed during a fork. */
pthread_mutex_t hsa_threaded_lock = PTHREAD_MUTEX_INITIALIZER;
static hsa_engine *threaded;

static pthread_once_t guard_once = PTHREAD_ONCE_INIT;
static bool is_guarded, is_exiting;

static pthread_once_t count_once = PTHREAD_ONCE_INIT;
static bool is_counted;
static atomic_uint forks;

/* ---- how often, and when ---- */

/* Threads that are inside libcurl, and are no I/O threads: any of them may hold a lock of OpenSSL's. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static unsigned inside;
static pthread_key_t here; /* so often is this thread: a signal handler may fork. (_Thread_local in a module that is
                            * loaded later crashes leak sanitizers.) */
static bool is_gate_closed;

static unsigned inside_here(void)
{
  return (unsigned)(uintptr_t)pthread_getspecific(here);
}

static void move(unsigned by)
{
  inside += by;
  pthread_setspecific(here, (void *)(uintptr_t)(inside_here() + by));
}

void hsa_fork_enter(void)
{
  pthread_mutex_lock(&gate);
  while (is_gate_closed)
    pthread_cond_wait(&gate_moved, &gate);
  move(1);
  pthread_mutex_unlock(&gate);
}

void hsa_fork_leave(void)
{
  pthread_mutex_lock(&gate);
  move(-1U);
  if (is_gate_closed)
    pthread_cond_broadcast(&gate_moved);
  pthread_mutex_unlock(&gate);
}

static void close_gate(void)
{
  pthread_mutex_lock(&gate);
  is_gate_closed = true;
  while (inside > inside_here())
    pthread_cond_wait(&gate_moved, &gate);
}

static void open_gate(void)
{
  is_gate_closed = false;
  pthread_cond_broadcast(&gate_moved);
  pthread_mutex_unlock(&gate);
}

static void begin_in_child(void)
{
  pthread_cond_init(&gate_moved, NULL); /* anew, not destroyed: it remembers waiters that are not there */
  open_gate();
  atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

static void begin_to_count(void)
{
  is_counted = pthread_key_create(&here, NULL) == 0 && pthread_atfork(close_gate, open_gate, begin_in_child) == 0;
}

bool hsa_count_forks(unsigned *count)
{
  pthread_once(&count_once, begin_to_count);
  *count = atomic_load_explicit(&forks, memory_order_relaxed);
  return is_counted;
}

/* ---- threads pause ---- */

static void prepare(void)
{
  hsa_engine *engine;

  pthread_mutex_lock(&hsa_threaded_lock);
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
  pthread_mutex_unlock(&hsa_threaded_lock);
}

/* The process exits without having freed its engines: OpenSSL cleans up after this, and no thread may be inside. They
 * pause for good, but can still be stopped. What is under way ends here, for a later handler may wait for it. */
static void at_exit(void)
{
  hsa_engine *engine;

  prepare();
  is_exiting = true;
  for (engine = threaded; engine; engine = engine->next_threaded) {
    engine->is_ending = true;
    hsa_engine_cancel_calls(engine, HSA_ENDING);
  }
  in_parent();
}

/* The threads are not there. Each engine finds out by itself when it is next used. */
static void in_child(void)
{
  hsa_engine *engine;

  for (engine = threaded; engine; engine = engine->next_threaded) {
    engine->must_pause = engine->is_paused = false;
    engine->has_thread = false;
  }
  threaded = NULL;
  pthread_mutex_unlock(&hsa_threaded_lock); /* taken by this thread, in prepare */
}

/* With libcurl and so OpenSSL set up: handlers run in the reverse order of their registration. */
static void guard(void)
{
  is_guarded = pthread_atfork(prepare, in_parent, in_child) == 0 && atexit(at_exit) == 0;
}

bool hsa_fork_guard(void)
{
  pthread_once(&guard_once, guard);
  return is_guarded && !is_exiting;
}

void hsa_fork_watch(hsa_engine *engine)
{
  engine->next_threaded = threaded;
  threaded = engine;
}

void hsa_fork_forget(hsa_engine *engine)
{
  hsa_engine **link = &threaded;

  while (*link && *link != engine)
    link = &(*link)->next_threaded;
  if (*link)
    *link = engine->next_threaded;
}

/* ---- one engine ---- */

bool hsa_engine_init_locks(hsa_engine *engine)
{
  pthread_condattr_t monotonic;
  bool ok = pthread_condattr_init(&monotonic) == 0;

  ok = ok && pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
       pthread_cond_init(&engine->changed, &monotonic) == 0;
  pthread_condattr_destroy(&monotonic);
  return ok && pthread_mutex_init(&engine->lock, NULL) == 0;
}

void hsa_engine_check_fork(hsa_engine *engine)
{
  unsigned forks;
  hsa_call *call;

  hsa_count_forks(&forks);
  if (engine->forks == forks)
    return;
  engine->forks = forks;
  hsa_engine_init_locks(engine); /* anew, not destroyed: threads that are not there have held them, or waited */
  engine->random ^= (uint64_t)getpid() << 32;
  engine->has_thread = false;
  hsa_notifier_abandon(&engine->notifier); /* the parent reads from it */
  if (engine->transport)
    hsa_transport_abandon(engine->transport);
  engine->transport = NULL;
  for (call = engine->calls; call; call = call->next)
    call->transfer = NULL;
  engine->sending = 0;
  hsa_engine_cancel_calls(engine, "the call was canceled");
}

/* thread.c - an engine's own I/O thread. It sleeps in hsa_transport_wait. */
#include <signal.h>

#include "engine.h"

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
  hsa_status status = HSA_OK;

  hsa_engine_check_fork(engine);
  pthread_mutex_lock(&hsa_threaded_lock);
  pthread_mutex_lock(&engine->lock);
  if (!engine->has_thread) {
    if (!engine->transport)
      status = hsa_transport_new(&engine->config, &engine->transport);
    engine->has_thread = hsa_fork_guard() && status == HSA_OK; /* before the thread looks */
    if (engine->has_thread)
      engine->has_thread = create(engine);
    if (engine->has_thread)
      hsa_fork_watch(engine);
    else if (status == HSA_OK)
      status = HSA_NOMEM;
  }
  pthread_mutex_unlock(&engine->lock);
  pthread_mutex_unlock(&hsa_threaded_lock);
  return status;
}

void hsa_engine_stop_thread(hsa_engine *engine)
{
  if (!engine->has_thread)
    return;
  pthread_mutex_lock(&hsa_threaded_lock);
  pthread_mutex_lock(&engine->lock);
  engine->must_stop = true;
  pthread_cond_broadcast(&engine->changed);
  hsa_transport_wake(engine->transport);
  pthread_mutex_unlock(&engine->lock);
  pthread_join(engine->thread, NULL);
  engine->has_thread = engine->must_stop = false;
  hsa_fork_forget(engine);
  pthread_mutex_unlock(&hsa_threaded_lock);
}

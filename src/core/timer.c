#include "timer.h"

#include <stdlib.h>

static bool before(const hsa_timer *a, const hsa_timer *b)
{
  return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void put(hsa_timers *timers, size_t i, hsa_timer *timer)
{
  timers->heap[i] = timer;
  timer->place = i + 1;
}

static void sift_up(hsa_timers *timers, size_t i)
{
  hsa_timer *timer = timers->heap[i];

  while (i > 0 && before(timer, timers->heap[(i - 1) / 2])) {
    put(timers, i, timers->heap[(i - 1) / 2]);
    i = (i - 1) / 2;
  }
  put(timers, i, timer);
}

static void sift_down(hsa_timers *timers, size_t i)
{
  hsa_timer *timer = timers->heap[i];

  for (;;) {
    size_t child = 2 * i + 1;

    if (child >= timers->len)
      break;
    if (child + 1 < timers->len && before(timers->heap[child + 1], timers->heap[child]))
      child++;
    if (!before(timers->heap[child], timer))
      break;
    put(timers, i, timers->heap[child]);
    i = child;
  }
  put(timers, i, timer);
}

hsa_status hsa_timers_reserve(hsa_timers *timers, size_t total)
{
  size_t cap = timers->cap ? timers->cap : 8;
  hsa_timer **heap;

  if (total <= timers->cap)
    return HSA_OK;
  while (cap < total)
    cap *= 2;
  heap = realloc(timers->heap, cap * sizeof *heap);
  if (!heap)
    return HSA_NOMEM;
  timers->heap = heap;
  timers->cap = cap;
  return HSA_OK;
}

void hsa_timer_set(hsa_timers *timers, hsa_timer *timer, int64_t at)
{
  hsa_timer_clear(timers, timer);
  timer->at = at;
  timer->order = ++timers->count;
  put(timers, timers->len++, timer);
  sift_up(timers, timers->len - 1);
}

void hsa_timer_clear(hsa_timers *timers, hsa_timer *timer)
{
  size_t i;
  hsa_timer *last;

  if (!timer->place)
    return;
  i = timer->place - 1;
  timer->place = 0;
  last = timers->heap[--timers->len];
  if (last == timer)
    return;
  put(timers, i, last);
  sift_up(timers, i);
  sift_down(timers, last->place - 1);
}

hsa_timer *hsa_timers_first(const hsa_timers *timers)
{
  return timers->len ? timers->heap[0] : NULL;
}

void hsa_timers_free(hsa_timers *timers)
{
  free(timers->heap);
  timers->heap = NULL;
  timers->len = timers->cap = 0;
}

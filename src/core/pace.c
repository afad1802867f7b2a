#include "pace.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_REQUESTS = 1000000 };                      /* keeps a ring at 24 MB at most */
enum { FIRST_CAP = 1000 };                            /* of the ring of a window that is not known yet, at most */
#define MIN_MARGIN (INT64_C(20) * HSA_SECOND / 1000)  /* 20 ms */
#define MAX_INTERVAL (INT64_C(60) * HSA_SECOND)       /* that headers may tell: one senseless answer silences nobody */
#define SENSELESS (INT64_C(24) * 3600 * 1000)         /* ms */
#define PROBE_WAIT (HSA_SECOND) /* for an answer that tells more */

/* ---- one window ---- */

/* The window of one of so many processes that share it. */
static void set_window(hsa_window *window, int64_t requests, int64_t interval, int shares)
{
  int64_t margin, part = requests / shares;

  if (part == 0) { /* more processes than sends: each has one, in a window so much longer */
    part = 1;
    interval = (interval * shares + requests - 1) / requests;
  }
  margin = interval / 200;
  if (margin < MIN_MARGIN)
    margin = MIN_MARGIN;
  window->requests = part;
  window->interval = interval + margin;
}

/* The place in the ring of a send by its number; only with a ring, which clang-tidy cannot see. */
static hsa_send *at_number(const hsa_window *window, uint64_t number)
{
  /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
  return &window->sends[number % window->cap];
}

static uint64_t kept(const hsa_window *window)
{
  return window->count < window->cap ? window->count : window->cap;
}

/* Makes the ring large enough; what it holds stays, the newest last. */
static hsa_status grow(hsa_window *window, int64_t requests)
{
  size_t cap = (size_t)requests;
  uint64_t i;
  hsa_send *sends;

  if (cap <= window->cap)
    return HSA_OK;
  sends = calloc(cap, sizeof *sends);
  if (!sends)
    return HSA_NOMEM;
  for (i = 1; i <= kept(window); i++)
    sends[(window->count - i) % cap] = *at_number(window, window->count - i);
  /* Slots between the kept ones and the ring's size were never sent: long ago. */
  for (; i <= cap && i <= window->count; i++)
    sends[(window->count - i) % cap].ended = INT64_MIN / 2;
  free(window->sends);
  window->sends = sends;
  window->cap = cap;
  return HSA_OK;
}

static void add(hsa_window *window, int64_t left, int64_t now, hsa_send_kind kind)
{
  if (window->cap == 0)
    return;
  if (window->count > 0 && at_number(window, window->count - 1)->ended > now) /* in order */
    now = at_number(window, window->count - 1)->ended;
  *at_number(window, window->count) = (hsa_send){.left = left, .ended = now, .kind = kind};
  window->count++;
}

static int64_t window_next(const hsa_window *window, int64_t now)
{
  int64_t spare = window->requests - window->open, at;

  if (window->requests == 0)
    return now;
  if (spare <= 0)
    return now + window->interval; /* if an answer came this moment */
  if (window->count < (uint64_t)spare)
    return now;
  at = at_number(window, window->count - (uint64_t)spare)->ended + window->interval;
  return at > now ? at : now;
}

/* How many sends in the ring ended later than `since`. */
static uint64_t ended_since(const hsa_window *window, int64_t since)
{
  uint64_t low = 0, high = kept(window);

  while (low < high) {
    uint64_t middle = (low + high + 1) / 2;

    if (at_number(window, window->count - middle)->ended > since)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

/* ---- all windows ---- */

hsa_status hsa_pace_init(hsa_pace *pace, int64_t requests, int64_t interval, bool is_ceiling, int shares)
{
  hsa_status status;
  int i;

  memset(pace, 0, sizeof *pace);
  pace->shares = shares > 1 ? shares : 1;
  pace->hold = INT64_MIN;
  if (requests <= 0)
    return HSA_OK;
  if (requests > MAX_REQUESTS)
    requests = MAX_REQUESTS;
  set_window(&pace->own, requests, interval, pace->shares);
  pace->own_interval = interval;
  pace->is_ceiling = is_ceiling;
  pace->last_group = -1;
  status = grow(&pace->own, pace->own.requests);
  for (i = 0; i < HSA_RATE_GROUPS && status == HSA_OK; i++) {
    hsa_group *group = &pace->groups[i];

    group->heard_at = group->refused_at = group->foreign_at = INT64_MIN;
    status = grow(&group->server, pace->own.requests < FIRST_CAP ? pace->own.requests : FIRST_CAP);
  }
  return status;
}

void hsa_pace_free(hsa_pace *pace)
{
  int i;

  free(pace->own.sends);
  pace->own.sends = NULL;
  for (i = 0; i < HSA_RATE_GROUPS; i++) {
    free(pace->groups[i].server.sends);
    pace->groups[i].server.sends = NULL;
  }
}

/* Until when the group's window holds that headers have told; INT64_MIN: they have told none. */
static int64_t told_until(const hsa_group *group)
{
  int64_t interval = group->server.interval;

  return group->server.requests ? group->told_at + (interval > MAX_INTERVAL ? interval : MAX_INTERVAL) : INT64_MIN;
}

static bool is_told(const hsa_group *group, int64_t now)
{
  return now <= told_until(group);
}

/* Is what is known of the group's rate older than its window? */
static bool is_stale(const hsa_pace *pace, const hsa_group *group, int64_t now)
{
  int64_t interval = is_told(group, now) ? group->server.interval : pace->own.interval;

  return group->heard_at == INT64_MIN || now - group->heard_at > interval;
}

/* Are so many under way that others, who send too, may have taken the rest? */
static bool is_crowded(const hsa_group *group, int64_t now)
{
  const hsa_window *window = &group->server;

  if (window->open == 0 || !is_told(group, now) || group->foreign_at == INT64_MIN ||
      now - group->foreign_at > window->interval)
    return false;
  return window->open >= (window->requests - (int64_t)ended_since(window, now - window->interval)) / 2;
}

static int64_t sooner(int64_t a, int64_t b)
{
  return a < b ? a : b;
}

static void later(hsa_leave *leave, int64_t at, hsa_pace_reason reason)
{
  if (at > leave->at)
    *leave = (hsa_leave){at, reason};
}

hsa_leave hsa_pace_next(const hsa_pace *pace, int group_number, int64_t now)
{
  const hsa_group *group = &pace->groups[group_number];
  hsa_leave leave = {now, HSA_PACE_NOW};
  bool has_told = is_told(group, now);

  if (pace->own.requests == 0)
    return leave;
  if (pace->is_ceiling || !has_told)
    later(&leave, window_next(&pace->own, now), HSA_PACE_OWN);
  if (has_told)
    later(&leave, sooner(window_next(&group->server, now), told_until(group) + 1), HSA_PACE_SERVER);
  later(&leave, pace->hold, HSA_PACE_HOLD);
  if (group->open > 0 && is_stale(pace, group, now))
    later(&leave, group->probed_at + PROBE_WAIT, HSA_PACE_PROBE);
  if (is_crowded(group, now))
    later(&leave, group->begun_at + PROBE_WAIT, HSA_PACE_PROBE);
  return leave;
}

/* Which bit of a slot's windows stands for a group's; the first is the own window's. */
static unsigned bit(int group)
{
  return 2U << group;
}

hsa_slot hsa_pace_begin(hsa_pace *pace, int group_number, int64_t now)
{
  hsa_group *group = &pace->groups[group_number];
  hsa_slot slot = {.group = group_number, .left = now};
  int i;

  if (pace->own.requests == 0)
    return slot;
  if (group->open++ == 0)
    group->probed_at = now;
  group->begun_at = now;
  if (pace->last_group >= 0 && pace->last_group != group_number)
    pace->is_mixed = true;
  pace->last_group = group_number;
  pace->own.open++;
  slot.windows = 1;
  for (i = 0; i < HSA_RATE_GROUPS; i++)
    if (i == group_number || !pace->groups[i].is_apart) {
      pace->groups[i].server.open++;
      slot.windows |= bit(i);
    }
  return slot;
}

static void end_in(hsa_window *window, const hsa_slot *slot, hsa_ending ending, int64_t now)
{
  window->open--;
  if (ending != HSA_ENDING_UNSENT)
    add(window, slot->left, now, ending == HSA_ENDING_REFUSED ? HSA_SEND_REFUSED : HSA_SEND_DONE);
}

void hsa_pace_end(hsa_pace *pace, const hsa_slot *slot, hsa_ending ending, int64_t now)
{
  hsa_group *group = &pace->groups[slot->group];
  int i;

  if (!slot->windows)
    return;
  group->open--;
  if (ending == HSA_ENDING_DONE && slot->left >= group->refused_at)
    group->heard_at = now;
  end_in(&pace->own, slot, ending, now);
  for (i = 0; i < HSA_RATE_GROUPS; i++)
    if (slot->windows & bit(i))
      end_in(&pace->groups[i].server, slot, ending, now);
}

void hsa_pace_hold(hsa_pace *pace, int64_t until, int http_status, bool is_named, int64_t now)
{
  int i;

  if (!pace->own.requests)
    return;
  for (i = 0; i < HSA_RATE_GROUPS; i++) {
    pace->groups[i].heard_at = INT64_MIN;
    pace->groups[i].refused_at = now;
    pace->groups[i].is_apart = false;
  }
  if (until > pace->hold) {
    pace->hold = until;
    pace->hold_status = http_status;
    pace->is_hold_named = is_named;
  }
}

static int64_t remaining_in(const hsa_window *window, int64_t now)
{
  int64_t left = window->requests - window->open - (int64_t)ended_since(window, now - window->interval);

  return left > 0 ? left : 0;
}

int64_t hsa_pace_remaining(const hsa_pace *pace, int group_number, int64_t now)
{
  const hsa_group *group = &pace->groups[group_number];
  bool has_told = is_told(group, now);
  int64_t own = pace->is_ceiling || !has_told ? remaining_in(&pace->own, now) : INT64_MAX;
  int64_t server = has_told ? remaining_in(&group->server, now) : INT64_MAX;

  if (pace->hold > now)
    return 0;
  return own < server ? own : server;
}

int64_t hsa_pace_oldest(const hsa_pace *pace, int group, int64_t now)
{
  const hsa_window *window = &pace->groups[group].server;
  uint64_t n;

  if (!is_told(&pace->groups[group], now))
    window = &pace->own;
  if (window->requests == 0)
    return -1;
  for (n = ended_since(window, now - window->interval); n > 0; n--) {
    const hsa_send *send = at_number(window, window->count - n);

    if (send->kind != HSA_SEND_REFUSED)
      return send->ended + window->interval - now;
  }
  return -1;
}

/* ---- learning ---- */

/* How much of the server's rate a ceiling leaves to others. */
static int64_t left_to_others(const hsa_pace *pace, int64_t max, int64_t interval)
{
  int64_t times, share;

  if (!pace->is_ceiling || pace->own.requests >= max)
    return 0;
  times = (interval + pace->own_interval - 1) / pace->own_interval;
  share = times < max ? pace->own.requests * times : max;
  return share < max ? max - share : 0;
}

/* The server has counted fewer than we have surely sent in its window: not those of the other groups. */
static void find_apart(hsa_pace *pace, hsa_group *group, int64_t used, int64_t sent_at, int64_t now)
{
  const hsa_window *window = &group->server;
  uint64_t n = ended_since(window, now - group->told);
  int64_t surely = 0;

  if (!pace->is_mixed || group->is_apart || (int64_t)n <= used)
    return;
  for (; n > 0; n--) {
    const hsa_send *send = at_number(window, window->count - n);

    surely += send->kind == HSA_SEND_DONE && send->left > now - group->told && send->ended <= sent_at;
  }
  group->is_apart = surely > used;
}

/* What the server has counted and we have not was sent by others. */
static void count_others(hsa_group *group, int64_t used, int64_t sent_at, int64_t now)
{
  hsa_window *window = &group->server;
  int64_t since = sent_at - window->interval, n = used - window->open;

  /* The usual case: so many of ours have not left the window. */
  if (n <= 0 || ((uint64_t)n <= kept(window) && at_number(window, window->count - (uint64_t)n)->ended > since))
    return;
  group->foreign_at = now;
  for (n -= (int64_t)ended_since(window, since); n > 0; n--)
    add(window, now, now, HSA_SEND_FOREIGN);
}

hsa_status hsa_pace_learn(hsa_pace *pace, int group_number, const hsa_rate_limit *rate, int64_t sent_at, int64_t now)
{
  hsa_group *group = &pace->groups[group_number];
  int64_t interval, spared;

  if (pace->own.requests == 0 || rate->max <= 0 || rate->max > MAX_REQUESTS || rate->interval_ms <= 0 ||
      rate->interval_ms > SENSELESS)
    return HSA_OK;
  interval = rate->interval_ms < MAX_INTERVAL / 1000 ? rate->interval_ms * 1000 : MAX_INTERVAL;
  spared = left_to_others(pace, rate->max, interval);
  if (grow(&group->server, rate->max) != HSA_OK)
    return HSA_NOMEM;
  group->told = interval;
  group->told_at = now;
  set_window(&group->server, rate->max - spared, interval, pace->shares);
  if (rate->remaining < 0 || rate->remaining > rate->max || pace->shares > 1)
    return HSA_OK;
  find_apart(pace, group, rate->max - rate->remaining, sent_at, now);
  count_others(group, rate->max - rate->remaining - spared, sent_at, now);
  return HSA_OK;
}

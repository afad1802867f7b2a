/* The pace: whatever comes in whatever order, no window of the configured rate ever holds more sends than it may. */
#include "fuzz.h"
#include "pace.h"

enum { REQUESTS = 5, INTERVAL = 1000000, MAX_SENDS = 512 };

typedef struct sent {
  hsa_slot slot;
  int64_t left, ended; /* ended < 0: not yet */
  bool is_unsent;
} sent;

typedef struct world {
  hsa_pace pace;
  int64_t now;
  int nsends;
  sent sends[MAX_SENDS];
} world;

/* A send may have been counted at any moment between its leaving and its end. So those whose leaving lies in the window
 * that ends now, or that ended in it, are the most that it can hold. */
static void check_window(const world *w)
{
  int i, n = 0;

  for (i = 0; i < w->nsends; i++)
    if (!w->sends[i].is_unsent && (w->sends[i].ended < 0 || w->sends[i].ended > w->now - INTERVAL))
      n++;
  MUST(n <= REQUESTS);
}

static void begin(world *w, int group)
{
  sent *send = &w->sends[w->nsends];
  hsa_leave leave = hsa_pace_next(&w->pace, group, w->now);

  MUST(leave.at >= w->now);
  if (leave.at > w->now || w->nsends == MAX_SENDS)
    return;
  w->nsends++;
  *send = (sent){.slot = hsa_pace_begin(&w->pace, group, w->now), .left = w->now, .ended = -1};
  check_window(w);
}

static void end(world *w, fuzz_input *in)
{
  int n = w->nsends ? (int)fuzz_below(in, (unsigned)w->nsends) : 0;
  hsa_ending ending = fuzz_below(in, 4);

  if (n >= w->nsends || w->sends[n].ended >= 0)
    return;
  hsa_pace_end(&w->pace, &w->sends[n].slot, ending, w->now);
  w->sends[n].ended = w->now;
  w->sends[n].is_unsent = ending == HSA_ENDING_UNSENT;
}

static int64_t odd_number(fuzz_input *in)
{
  static const int64_t odd[] = {-1, 0, 1, 2, 10, 1000, 10000, INT32_MAX, INT64_MAX, INT64_MAX - 1};
  unsigned n = fuzz_below(in, 32);

  return n < sizeof odd / sizeof *odd ? odd[n] : (int64_t)n;
}

static void learn(world *w, fuzz_input *in, int group)
{
  hsa_rate_limit rate = {odd_number(in), odd_number(in), odd_number(in), odd_number(in), odd_number(in)};
  int64_t ago = (int64_t)fuzz_below(in, 1000) * 1000;

  (void)hsa_pace_learn(&w->pace, group, &rate, w->now > ago ? w->now - ago : 0, w->now);
}

static void step(world *w, fuzz_input *in)
{
  unsigned what = fuzz_byte(in);
  int group = (int)(what >> 7);

  switch (what % 8) {
  case 0: case 1: case 2: begin(w, group); break;
  case 3: case 4: end(w, in); break;
  case 5: w->now += (int64_t)fuzz_below(in, 1000) * 2000; break;
  case 6: learn(w, in, group); break;
  default: hsa_pace_hold(&w->pace, w->now + (int64_t)fuzz_below(in, 1000) * 1000, 429, fuzz_byte(in) & 1, w->now);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
  static world w;
  fuzz_input in = fuzz_begin(data, len);

  w.now = HSA_SECOND;
  w.nsends = 0;
  MUST(hsa_pace_init(&w.pace, REQUESTS, INTERVAL, true, 1) == HSA_OK);
  while (fuzz_more(&in))
    step(&w, &in);
  hsa_pace_free(&w.pace);
  return 0;
}

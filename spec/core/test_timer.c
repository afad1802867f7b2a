/* The heap of deadlines. */
#include "unit.h"

#include "timer.h"

enum { MANY = 100 };

static void nothing_set(void **state)
{
  hsa_timers timers = {0};
  hsa_timer timer = {0};

  (void)state;
  assert_null(hsa_timers_first(&timers));
  hsa_timer_clear(&timers, &timer);
  assert_null(hsa_timers_first(&timers));
  hsa_timers_free(&timers);
}

/* Sets the timers, then takes out the first again and again. */
static void expect_order(const char *row, const int64_t *at, size_t n, const size_t *order)
{
  hsa_timers timers = {0};
  hsa_timer set[MANY] = {{0}};
  size_t i;

  expect_int(row, "reserve", hsa_timers_reserve(&timers, n), HSA_OK);
  for (i = 0; i < n; i++)
    hsa_timer_set(&timers, &set[i], at[i]);
  for (i = 0; i < n; i++) {
    hsa_timer *first = hsa_timers_first(&timers);

    assert_non_null(first);
    expect_int(row, "first", first - set, (int64_t)order[i]);
    hsa_timer_clear(&timers, first);
  }
  assert_null(hsa_timers_first(&timers));
  hsa_timers_free(&timers);
}

static void earliest_first(void **state)
{
  static const struct {
    const char *row;
    int64_t at[6];
    size_t order[6];
  } rows[] = {
    {"rising", {1, 2, 3, 4, 5, 6}, {0, 1, 2, 3, 4, 5}},
    {"falling", {6, 5, 4, 3, 2, 1}, {5, 4, 3, 2, 1, 0}},
    {"mixed", {4, 1, 6, 2, 5, 3}, {1, 3, 5, 0, 4, 2}},
    {"equals: in the order of setting", {7, 7, 7, 7, 7, 7}, {0, 1, 2, 3, 4, 5}},
    {"some equals", {2, 1, 2, 1, 2, 1}, {1, 3, 5, 0, 2, 4}},
    {"extremes", {0, INT64_MAX, INT64_MIN, -1, INT64_MAX, INT64_MIN}, {2, 5, 3, 0, 1, 4}},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++)
    expect_order(rows[i].row, rows[i].at, 6, rows[i].order);
}

static void moves_a_set_timer(void **state)
{
  hsa_timers timers = {0};
  hsa_timer a = {0}, b = {0};

  (void)state;
  assert_int_equal(hsa_timers_reserve(&timers, 2), HSA_OK);
  hsa_timer_set(&timers, &a, 10);
  hsa_timer_set(&timers, &b, 20);
  hsa_timer_set(&timers, &a, 30);
  assert_ptr_equal(hsa_timers_first(&timers), &b);
  hsa_timer_set(&timers, &a, 5);
  assert_ptr_equal(hsa_timers_first(&timers), &a);
  hsa_timer_set(&timers, &a, 20); /* now behind its equal */
  assert_ptr_equal(hsa_timers_first(&timers), &b);
  assert_int_equal(timers.len, 2);
  hsa_timers_free(&timers);
}

static void clear_takes_out_any(void **state)
{
  hsa_timers timers = {0};
  hsa_timer a = {0}, b = {0}, c = {0};

  (void)state;
  assert_int_equal(hsa_timers_reserve(&timers, 3), HSA_OK);
  hsa_timer_set(&timers, &a, 1);
  hsa_timer_set(&timers, &b, 2);
  hsa_timer_set(&timers, &c, 3);
  hsa_timer_clear(&timers, &b);
  hsa_timer_clear(&timers, &b);
  hsa_timer_clear(&timers, &a);
  assert_ptr_equal(hsa_timers_first(&timers), &c);
  hsa_timer_clear(&timers, &c);
  assert_null(hsa_timers_first(&timers));
  hsa_timers_free(&timers);
}

static void reserve_keeps_what_is_set(void **state)
{
  hsa_timers timers = {0};
  hsa_timer set[MANY] = {{0}};
  size_t i;

  (void)state;
  for (i = 0; i < MANY; i++) {
    assert_int_equal(hsa_timers_reserve(&timers, i + 1), HSA_OK);
    assert_true(timers.cap >= i + 1);
    hsa_timer_set(&timers, &set[i], -(int64_t)i);
    assert_ptr_equal(hsa_timers_first(&timers), &set[i]);
  }
  assert_int_equal(hsa_timers_reserve(&timers, 1), HSA_OK); /* never less room */
  assert_true(timers.cap >= MANY);
  hsa_timers_free(&timers);
  assert_null(hsa_timers_first(&timers));
}

/* The earliest by looking at all of them. `order` is what hsa_timer_set counts, kept here on our own. */
static hsa_timer *search(hsa_timer *set, const uint64_t *order)
{
  hsa_timer *first = NULL;
  size_t i;

  for (i = 0; i < MANY; i++)
    if (order[i] && (!first || set[i].at < first->at || (set[i].at == first->at && order[i] < order[first - set])))
      first = &set[i];
  return first;
}

static void agrees_with_a_search(void **state)
{
  hsa_timers timers = {0};
  hsa_timer set[MANY] = {{0}};
  uint64_t order[MANY] = {0}, seed = 1, step;

  (void)state;
  assert_int_equal(hsa_timers_reserve(&timers, MANY), HSA_OK);
  for (step = 1; step <= 20000; step++) {
    size_t i = (size_t)unit_random(&seed, MANY);

    if (unit_random(&seed, 3)) { /* few points in time, so that many are equal */
      hsa_timer_set(&timers, &set[i], unit_random(&seed, 20));
      order[i] = step;
    } else {
      hsa_timer_clear(&timers, &set[i]);
      order[i] = 0;
    }
    assert_ptr_equal(hsa_timers_first(&timers), search(set, order));
  }
  hsa_timers_free(&timers);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_set),
    cmocka_unit_test(earliest_first),
    cmocka_unit_test(moves_a_set_timer),
    cmocka_unit_test(clear_takes_out_any),
    cmocka_unit_test(reserve_keeps_what_is_set),
    cmocka_unit_test(agrees_with_a_search),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

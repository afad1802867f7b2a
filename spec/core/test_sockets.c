/* Which sockets are ready: the same by epoll and by poll (CI runs this with HSA_USE_POLL, too). */
#include "unit.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockets.h"

enum { MANY = 300 }; /* more than one look of epoll takes */

typedef struct pair {
  int ours, theirs;
} pair;

static pair new_pair(void)
{
  int ends[2];

  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  return (pair){ends[0], ends[1]};
}

static void close_pair(pair *sockets)
{
  close(sockets->ours);
  close(sockets->theirs);
}

/* What the next look finds of this socket; there may be others. */
static short look(hsa_sockets *sockets, int wanted)
{
  short events = 0, found = 0;
  int fd;

  while ((fd = hsa_sockets_next(sockets, &events)) >= 0)
    if (fd == wanted)
      found = (short)(found | events);
  return found;
}

static void what_is_ready_is_given_for_as_long_as_it_is(void **state)
{
  hsa_sockets sockets;
  pair one = new_pair();
  char byte;

  (void)state;
  assert_int_equal(hsa_sockets_init(&sockets), HSA_OK);
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, POLLIN), HSA_OK);
  assert_int_equal(look(&sockets, one.ours), 0);
  assert_int_equal(write(one.theirs, "", 1), 1);
  assert_int_equal(look(&sockets, one.ours), POLLIN);
  assert_int_equal(look(&sockets, one.ours), POLLIN); /* nobody has read it */
  assert_int_equal(read(one.ours, &byte, 1), 1);
  assert_int_equal(look(&sockets, one.ours), 0);
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, POLLIN | POLLOUT), HSA_OK);
  assert_int_equal(look(&sockets, one.ours), POLLOUT);
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, POLLIN), HSA_OK);
  assert_int_equal(look(&sockets, one.ours), 0);
  close(one.theirs);
  assert_true(look(&sockets, one.ours) & (POLLIN | POLLHUP));
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, 0), HSA_OK);
  assert_int_equal(look(&sockets, one.ours), 0);
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, 0), HSA_OK); /* it is not watched */
  close(one.ours);
  hsa_sockets_free(&sockets);
}

static void any_number_of_sockets_is_given(void **state)
{
  hsa_sockets sockets;
  pair pairs[MANY];
  bool seen[MANY + 100] = {false};
  short events;
  int i, fd, n = 0;

  (void)state;
  assert_int_equal(hsa_sockets_init(&sockets), HSA_OK);
  for (i = 0; i < MANY; i++) {
    pairs[i] = new_pair();
    assert_int_equal(hsa_sockets_watch(&sockets, pairs[i].ours, POLLIN), HSA_OK);
    assert_int_equal(write(pairs[i].theirs, "", 1), 1);
  }
  for (i = 0; i < MANY && n < MANY; i++) /* looks */
    while ((fd = hsa_sockets_next(&sockets, &events)) >= 0) {
      char byte;
      int at = 0;

      while (at < MANY && pairs[at].ours != fd)
        at++;
      assert_true(at < MANY && !seen[at]);
      seen[at] = true;
      n++;
      assert_int_equal(read(fd, &byte, 1), 1);
    }
  assert_int_equal(n, MANY);
  for (i = 0; i < MANY; i++)
    close_pair(&pairs[i]);
  hsa_sockets_free(&sockets);
}

/* A look may have no place for all that is ready; but each comes, sooner or later. */
static void expect_found(hsa_sockets *sockets, const pair *one)
{
  int looks;

  assert_int_equal(write(one->theirs, "", 1), 1);
  for (looks = 0; looks < MANY; looks++)
    if (look(sockets, one->ours) == POLLIN)
      return;
  fail_msg("a socket that is ready was not given");
}

/* Between two that are given some may be given up, closed, and their numbers used again. */
static void sockets_go_and_come_while_others_are_given(void **state)
{
  hsa_sockets sockets;
  pair pairs[MANY];
  uint64_t seed = 7;
  int i, rounds;

  (void)state;
  assert_int_equal(hsa_sockets_init(&sockets), HSA_OK);
  for (i = 0; i < MANY; i++) {
    pairs[i] = new_pair();
    assert_int_equal(hsa_sockets_watch(&sockets, pairs[i].ours, POLLIN), HSA_OK);
  }
  for (rounds = 0; rounds < 2000; rounds++) {
    short events;
    pair *one = &pairs[unit_random(&seed, MANY)];

    assert_int_equal(hsa_sockets_watch(&sockets, one->ours, 0), HSA_OK);
    close_pair(one);
    *one = new_pair();
    assert_int_equal(hsa_sockets_watch(&sockets, one->ours, POLLIN), HSA_OK);
    assert_int_equal(write(pairs[unit_random(&seed, MANY)].theirs, "", 1), 1);
    hsa_sockets_next(&sockets, &events);
  }
  while (hsa_sockets_next(&sockets, &(short){0}) >= 0) /* the rest of that look */
    ;
  for (i = 0; i < MANY; i++)
    expect_found(&sockets, &pairs[i]);
  for (i = 0; i < MANY; i++)
    close_pair(&pairs[i]);
  hsa_sockets_free(&sockets);
}

/* Of a connection that is kept nothing is told while it is not waited for, whatever happens on it; but all that is of it
 * when it is waited for again. */
static void a_kept_socket_is_not_given_while_it_is_idle(void **state)
{
  hsa_sockets sockets;
  pair one = new_pair();
  int64_t started;
  char byte;
  int i;

  (void)state;
  assert_int_equal(hsa_sockets_init(&sockets), HSA_OK);
  hsa_sockets_keep(&sockets, one.ours);
  for (i = 0; i < 3; i++) {
    assert_int_equal(hsa_sockets_watch(&sockets, one.ours, POLLIN), HSA_OK);
    assert_int_equal(look(&sockets, one.ours), 0);
    assert_int_equal(write(one.theirs, "", 1), 1);
    assert_int_equal(look(&sockets, one.ours), POLLIN);
    assert_int_equal(hsa_sockets_watch(&sockets, one.ours, 0), HSA_OK);
    if (i == 1) { /* it says something though nobody asked; once is enough */
      assert_int_equal(look(&sockets, one.ours), 0);
      started = hsa_now();
      hsa_sockets_wait(&sockets, 30);
      expect_between("idle", "us", hsa_now() - started, 25 * 1000, 5 * HSA_SECOND);
      assert_int_equal(look(&sockets, one.ours), 0);
    }
    assert_int_equal(read(one.ours, &byte, 1), 1);
    assert_int_equal(look(&sockets, one.ours), 0);
  }
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, POLLIN | POLLOUT), HSA_OK);
  assert_int_equal(look(&sockets, one.ours), POLLOUT);
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, 0), HSA_OK);
  assert_int_equal(hsa_sockets_watch(&sockets, one.ours, POLLIN), HSA_OK);
  assert_int_equal(look(&sockets, one.ours), 0);
  hsa_sockets_forget(&sockets, one.ours);
  close_pair(&one);
  hsa_sockets_free(&sockets);
}

/* Another socket has its number: kept again, or one that libcurl has opened by itself. */
static void a_number_that_is_used_again_is_another_socket(void **state)
{
  hsa_sockets sockets;
  int i, number = -1;

  (void)state;
  assert_int_equal(hsa_sockets_init(&sockets), HSA_OK);
  for (i = 0; i < 6; i++) {
    pair one = new_pair();

    assert_true(number < 0 || one.ours == number);
    number = one.ours;
    if (i % 3 != 2)
      hsa_sockets_keep(&sockets, one.ours);
    assert_int_equal(hsa_sockets_watch(&sockets, one.ours, POLLIN), HSA_OK);
    expect_found(&sockets, &one);
    if (i % 2)
      assert_int_equal(hsa_sockets_watch(&sockets, one.ours, 0), HSA_OK);
    hsa_sockets_forget(&sockets, one.ours);
    close_pair(&one);
  }
  hsa_sockets_keep(&sockets, -1); /* none could be opened */
  hsa_sockets_free(&sockets);
}

/* What a look has found of a socket that is closed before it is given is not told of the next with its number. */
static void what_was_found_goes_with_the_socket(void **state)
{
  hsa_sockets sockets;
  pair first = new_pair(), second = new_pair(), third;
  pair *other;
  short events;
  int given;

  (void)state;
  assert_int_equal(hsa_sockets_init(&sockets), HSA_OK);
  assert_int_equal(hsa_sockets_watch(&sockets, first.ours, POLLIN), HSA_OK);
  assert_int_equal(hsa_sockets_watch(&sockets, second.ours, POLLIN), HSA_OK);
  assert_int_equal(write(first.theirs, "", 1), 1);
  assert_int_equal(write(second.theirs, "", 1), 1);
  given = hsa_sockets_next(&sockets, &events);
  assert_true(given == first.ours || given == second.ours);
  other = given == first.ours ? &second : &first;
  hsa_sockets_forget(&sockets, other->ours);
  close_pair(other);
  third = new_pair();
  assert_true(third.ours == other->ours || third.theirs == other->ours);
  assert_int_equal(hsa_sockets_watch(&sockets, other->ours, POLLIN), HSA_OK);
  assert_int_equal(look(&sockets, other->ours), 0);
  close_pair(&third);
  close_pair(given == first.ours ? &first : &second);
  hsa_sockets_free(&sockets);
}

static void *wake(void *data)
{
  usleep(20 * 1000);
  hsa_sockets_wake(data);
  return NULL;
}

static void a_wake_ends_a_wait_under_way_or_else_the_next(void **state)
{
  hsa_sockets sockets;
  pthread_t thread;
  int64_t started = hsa_now();
  int i;

  (void)state;
  assert_int_equal(hsa_sockets_init(&sockets), HSA_OK);
  for (i = 0; i < 3; i++) {
    assert_int_equal(pthread_create(&thread, NULL, wake, &sockets), 0);
    hsa_sockets_wait(&sockets, 10000);
    assert_int_equal(look(&sockets, -2), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
  }
  for (i = 0; i < 100 * 1000; i++)
    hsa_sockets_wake(&sockets);
  hsa_sockets_wait(&sockets, 10000);
  expect_between("all", "us", hsa_now() - started, 60 * 1000, 5 * HSA_SECOND);
  assert_int_equal(look(&sockets, -2), 0);
  started = hsa_now();
  hsa_sockets_wait(&sockets, 30); /* one wait was ended, not two */
  expect_between("none", "us", hsa_now() - started, 25 * 1000, 5 * HSA_SECOND);
  hsa_sockets_free(&sockets);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_ready_is_given_for_as_long_as_it_is),
    cmocka_unit_test(any_number_of_sockets_is_given),
    cmocka_unit_test(sockets_go_and_come_while_others_are_given),
    cmocka_unit_test(a_kept_socket_is_not_given_while_it_is_idle),
    cmocka_unit_test(a_number_that_is_used_again_is_another_socket),
    cmocka_unit_test(what_was_found_goes_with_the_socket),
    cmocka_unit_test(a_wake_ends_a_wait_under_way_or_else_the_next),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The descriptor that is readable while something is to be had. */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "notice.h"

/* 1 or 0 */
static int readable(int fd)
{
  struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

  return poll(&poll_fd, 1, 0);
}

static void nothing_is_open_before_it_is_asked_for(void **state)
{
  hsa_notice notice;
  int before = dup(STDIN_FILENO), after;

  (void)state;
  assert_true(before >= 0);
  close(before);
  hsa_notice_init(&notice);
  hsa_notice_set(&notice, true);
  hsa_notice_set(&notice, false);
  after = dup(STDIN_FILENO);
  assert_int_equal(after, before);
  close(after);
  hsa_notice_close(&notice);
}

static void says_what_was_set_last(void **state)
{
  static const struct {
    const char *row;
    bool before[4]; /* it is opened */
    size_t nbefore;
    bool then[4];
    size_t nthen;
    int want;
  } rows[] = {
    {"nothing", {false}, 0, {false}, 0, 0},
    {"never set", {false}, 1, {false}, 1, 0},
    {"set before", {true}, 1, {false}, 0, 1},
    {"set and taken back before", {true, false}, 2, {false}, 0, 0},
    {"set twice before", {true, true}, 2, {false}, 0, 1},
    {"set after", {false}, 0, {true}, 1, 1},
    {"set on both sides", {true}, 1, {true}, 1, 1},
    {"set before, taken back after", {true}, 1, {false}, 1, 0},
    {"taken back twice", {true}, 1, {false, false}, 2, 0},
    {"set, taken back, set", {false}, 0, {true, false, true}, 3, 1},
    {"set twice, taken back once", {true, true}, 2, {true, false}, 2, 0},
  };
  size_t i, j;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_notice notice;
    int fd;

    hsa_notice_init(&notice);
    for (j = 0; j < rows[i].nbefore; j++)
      hsa_notice_set(&notice, rows[i].before[j]);
    fd = hsa_notice_fd(&notice);
    assert_true(fd >= 0);
    for (j = 0; j < rows[i].nthen; j++)
      hsa_notice_set(&notice, rows[i].then[j]);
    expect_int(rows[i].row, "readable", readable(fd), rows[i].want);
    expect_int(rows[i].row, "the descriptor", hsa_notice_fd(&notice), fd); /* the same, and as it was */
    expect_int(rows[i].row, "readable after that", readable(fd), rows[i].want);
    hsa_notice_close(&notice);
  }
}

/* A pipe that kept a byte for each change would be full some day. */
static void any_number_of_changes(void **state)
{
  hsa_notice notice;
  char bytes[4];
  int fd, i;

  (void)state;
  hsa_notice_init(&notice);
  fd = hsa_notice_fd(&notice);
  for (i = 0; i < 100 * 1000; i++)
    hsa_notice_set(&notice, i % 3 != 0);
  hsa_notice_set(&notice, true);
  assert_int_equal(readable(fd), 1);
  assert_int_equal(read(fd, bytes, sizeof bytes), 1);
  hsa_notice_close(&notice);
}

static void leaks_into_no_program_and_blocks_nobody(void **state)
{
  hsa_notice notice;
  int i;

  (void)state;
  hsa_notice_init(&notice);
  assert_true(hsa_notice_fd(&notice) >= 0);
  for (i = 0; i < 2; i++) {
    assert_true(fcntl(notice.ends[i], F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(notice.ends[i], F_GETFL) & O_NONBLOCK);
  }
  hsa_notice_close(&notice);
}

/* As in a forked child, which opens one of its own. */
static void closed_and_opened_again(void **state)
{
  hsa_notice notice;
  int ends[2], i, is_set;

  (void)state;
  for (is_set = 0; is_set < 2; is_set++) {
    hsa_notice_init(&notice);
    hsa_notice_close(&notice); /* nothing is open */
    hsa_notice_set(&notice, is_set);
    hsa_notice_fd(&notice);
    memcpy(ends, notice.ends, sizeof ends);
    hsa_notice_close(&notice);
    for (i = 0; i < 2; i++)
      assert_int_equal(fcntl(ends[i], F_GETFD), -1);
    hsa_notice_close(&notice);
    assert_int_equal(readable(hsa_notice_fd(&notice)), is_set);
    hsa_notice_set(&notice, !is_set);
    assert_int_equal(readable(hsa_notice_fd(&notice)), !is_set);
    hsa_notice_close(&notice);
  }
}

/* A host that is out of descriptors is told so; later it works. */
static void no_descriptors_left(void **state)
{
  struct rlimit before, none;
  hsa_notice notice;
  int lowest = dup(STDIN_FILENO), spare; /* all below are in use */

  (void)state;
  assert_true(lowest >= 0);
  close(lowest);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  hsa_notice_init(&notice);
  for (spare = 0; spare < 2; spare++) { /* room for one end is not enough */
    none = before;
    none.rlim_cur = (rlim_t)(lowest + spare);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_true(hsa_notice_fd(&notice) < 0);
    hsa_notice_set(&notice, true);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(dup(STDIN_FILENO), lowest); /* neither end stayed open */
    close(lowest);
  }
  assert_int_equal(readable(hsa_notice_fd(&notice)), 1);
  hsa_notice_close(&notice);
}

/* Against its header somebody reads from it or closes it: it may say nothing then, but it never hangs, nor does it raise
 * what it cannot put right. */
static void a_host_that_meddles(void **state)
{
  hsa_notice notice;
  char byte;
  int fd;

  (void)state;
  alarm(10); /* instead of a test that hangs */
  hsa_notice_init(&notice);
  fd = hsa_notice_fd(&notice);
  hsa_notice_set(&notice, true);
  assert_int_equal(read(fd, &byte, 1), 1);
  hsa_notice_set(&notice, false);
  hsa_notice_set(&notice, true);
  assert_int_equal(readable(fd), 1); /* and it is itself again */
  close(notice.ends[0]);
  close(notice.ends[1]);
  hsa_notice_set(&notice, false);
  hsa_notice_set(&notice, true);
  hsa_notice_close(&notice);
  alarm(0);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signal)
{
  (void)signal;
  alarms++;
}

/* Signals that come all the time, with handlers that do not restart what they interrupt. */
static void under_a_storm_of_signals(void **state)
{
  const struct sigaction action = {.sa_handler = on_alarm};
  const struct itimerval storm = {{0, 50}, {0, 50}}, calm = {{0, 0}, {0, 0}}; /* us */
  struct sigaction before;
  hsa_notice notice;
  int fd, i;

  (void)state;
  hsa_notice_init(&notice);
  fd = hsa_notice_fd(&notice);
  sigaction(SIGALRM, &action, &before);
  setitimer(ITIMER_REAL, &storm, NULL);
  for (i = 0; alarms < 100; i++) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    hsa_notice_set(&notice, i % 2 == 0);
    while (poll(&poll_fd, 1, 0) < 0)
      ;
    if ((poll_fd.revents != 0) != (i % 2 == 0))
      break;
  }
  setitimer(ITIMER_REAL, &calm, NULL);
  sigaction(SIGALRM, &before, NULL);
  assert_true(alarms >= 100);
  hsa_notice_close(&notice);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_is_open_before_it_is_asked_for),
    cmocka_unit_test(says_what_was_set_last),
    cmocka_unit_test(any_number_of_changes),
    cmocka_unit_test(leaks_into_no_program_and_blocks_nobody),
    cmocka_unit_test(closed_and_opened_again),
    cmocka_unit_test(no_descriptors_left),
    cmocka_unit_test(a_host_that_meddles),
    cmocka_unit_test(under_a_storm_of_signals),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

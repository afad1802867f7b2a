/* The descriptor that is readable while something is to be had, and the connection on which a byte tells of it. */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "notifier.h"

/* 1 or 0 */
static int readable(int fd)
{
  struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

  return poll(&poll_fd, 1, 0);
}

static void nothing_is_open_before_it_is_asked_for(void **state)
{
  hsa_notifier notifier;
  int before = dup(STDIN_FILENO), after;

  (void)state;
  assert_true(before >= 0);
  close(before);
  hsa_notifier_init(&notifier);
  hsa_notifier_set(&notifier, true);
  hsa_notifier_set(&notifier, false);
  after = dup(STDIN_FILENO);
  assert_int_equal(after, before);
  close(after);
  hsa_notifier_close(&notifier);
}

/* What a program prints that was started without standard output would be taken for news. */
static void takes_no_standard_descriptor(void **state)
{
  hsa_notifier notifier;
  int saved = dup(STDIN_FILENO);

  (void)state;
  assert_true(saved > STDERR_FILENO);
  close(STDIN_FILENO);
  hsa_notifier_init(&notifier);
  assert_true(hsa_notifier_fd(&notifier) > STDERR_FILENO);
  assert_true(notifier.ends[1] > STDERR_FILENO);
  assert_int_equal(fcntl(notifier.ends[0], F_GETFD), FD_CLOEXEC);
  assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), -1);
  hsa_notifier_close(&notifier);
  assert_int_equal(dup2(saved, STDIN_FILENO), STDIN_FILENO);
  close(saved);
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
    hsa_notifier notifier;
    int fd;

    hsa_notifier_init(&notifier);
    for (j = 0; j < rows[i].nbefore; j++)
      hsa_notifier_set(&notifier, rows[i].before[j]);
    fd = hsa_notifier_fd(&notifier);
    assert_true(fd >= 0);
    for (j = 0; j < rows[i].nthen; j++)
      hsa_notifier_set(&notifier, rows[i].then[j]);
    expect_int(rows[i].row, "readable", readable(fd), rows[i].want);
    expect_int(rows[i].row, "the descriptor", hsa_notifier_fd(&notifier), fd); /* the same, and as it was */
    expect_int(rows[i].row, "readable after that", readable(fd), rows[i].want);
    hsa_notifier_close(&notifier);
  }
}

/* A pipe that kept a byte for each change would be full some day. */
static void any_number_of_changes(void **state)
{
  hsa_notifier notifier;
  char bytes[4];
  int fd, i;

  (void)state;
  hsa_notifier_init(&notifier);
  fd = hsa_notifier_fd(&notifier);
  for (i = 0; i < 100 * 1000; i++)
    hsa_notifier_set(&notifier, i % 3 != 0);
  hsa_notifier_set(&notifier, true);
  assert_int_equal(readable(fd), 1);
  assert_int_equal(read(fd, bytes, sizeof bytes), 1);
  hsa_notifier_close(&notifier);
}

static void leaks_into_no_program_and_blocks_nobody(void **state)
{
  hsa_notifier notifier;
  int i;

  (void)state;
  hsa_notifier_init(&notifier);
  assert_true(hsa_notifier_fd(&notifier) >= 0);
  for (i = 0; i < 2; i++) {
    assert_true(fcntl(notifier.ends[i], F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(notifier.ends[i], F_GETFL) & O_NONBLOCK);
  }
  hsa_notifier_close(&notifier);
}

/* As in a forked child, which opens one of its own. */
static void closed_and_opened_again(void **state)
{
  hsa_notifier notifier;
  int ends[2], i, is_set;

  (void)state;
  for (is_set = 0; is_set < 2; is_set++) {
    hsa_notifier_init(&notifier);
    hsa_notifier_close(&notifier); /* nothing is open */
    hsa_notifier_set(&notifier, is_set);
    hsa_notifier_fd(&notifier);
    memcpy(ends, notifier.ends, sizeof ends);
    hsa_notifier_close(&notifier);
    for (i = 0; i < 2; i++)
      assert_int_equal(fcntl(ends[i], F_GETFD), -1);
    hsa_notifier_close(&notifier);
    assert_int_equal(readable(hsa_notifier_fd(&notifier)), is_set);
    hsa_notifier_set(&notifier, !is_set);
    assert_int_equal(readable(hsa_notifier_fd(&notifier)), !is_set);
    hsa_notifier_close(&notifier);
  }
}

/* A host that is out of descriptors is told so; later it works. */
static void no_descriptors_left(void **state)
{
  struct rlimit before, none;
  hsa_notifier notifier;
  int lowest = dup(STDIN_FILENO), spare; /* all below are in use */

  (void)state;
  assert_true(lowest >= 0);
  close(lowest);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  hsa_notifier_init(&notifier);
  for (spare = 0; spare < 2; spare++) { /* room for one end is not enough */
    none = before;
    none.rlim_cur = (rlim_t)(lowest + spare);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_true(hsa_notifier_fd(&notifier) < 0);
    hsa_notifier_set(&notifier, true);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(dup(STDIN_FILENO), lowest); /* neither end stayed open */
    close(lowest);
  }
  assert_int_equal(readable(hsa_notifier_fd(&notifier)), 1);
  hsa_notifier_close(&notifier);
}

/* Against its header somebody reads from it or closes it: it may say nothing then, but it never hangs, nor does it raise
 * what it cannot put right. */
static void a_host_that_meddles(void **state)
{
  hsa_notifier notifier;
  char byte;
  int fd;

  (void)state;
  alarm(10); /* instead of a test that hangs */
  hsa_notifier_init(&notifier);
  fd = hsa_notifier_fd(&notifier);
  hsa_notifier_set(&notifier, true);
  assert_int_equal(read(fd, &byte, 1), 1);
  hsa_notifier_set(&notifier, false);
  hsa_notifier_set(&notifier, true);
  assert_int_equal(readable(fd), 1); /* and it is itself again */
  close(notifier.ends[0]);
  close(notifier.ends[1]);
  hsa_notifier_set(&notifier, false);
  hsa_notifier_set(&notifier, true);
  hsa_notifier_close(&notifier);
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
  hsa_notifier notifier;
  int fd, i;

  (void)state;
  hsa_notifier_init(&notifier);
  fd = hsa_notifier_fd(&notifier);
  sigaction(SIGALRM, &action, &before);
  setitimer(ITIMER_REAL, &storm, NULL);
  for (i = 0; alarms < 100; i++) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    hsa_notifier_set(&notifier, i % 2 == 0);
    while (poll(&poll_fd, 1, 0) < 0)
      ;
    if ((poll_fd.revents != 0) != (i % 2 == 0))
      break;
  }
  setitimer(ITIMER_REAL, &calm, NULL);
  sigaction(SIGALRM, &before, NULL);
  assert_true(alarms >= 100);
  hsa_notifier_close(&notifier);
}

/* ---- the connection ---- */

/* Our end of a connection to the path, or -1. */
static int connect_to(const char *path)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);

  assert_true(strlen(path) < sizeof address.sun_path);
  memcpy(address.sun_path, path, strlen(path) + 1);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
    return fd;
  close(fd);
  return -1;
}

static int connected(hsa_notifier *notifier)
{
  int fd;

  hsa_notifier_init(notifier);
  fd = connect_to(hsa_notifier_listen(notifier));
  assert_true(fd >= 0);
  assert_true(hsa_notifier_accept(notifier));
  return fd;
}

/* How many have arrived; -1: the other end is closed. */
static int bytes(int fd)
{
  char buffer[64];
  ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);

  return n > 0 ? (int)n : n == 0 ? -1 : 0;
}

static void only_this_user_finds_the_socket_and_nobody_later(void **state)
{
  struct stat folder_stat;
  hsa_notifier notifier;
  char folder[128], *slash;
  int fd;

  (void)state;
  hsa_notifier_init(&notifier);
  strncpy(folder, hsa_notifier_listen(&notifier), sizeof folder - 1);
  slash = strrchr(folder, '/');
  fd = connect_to(folder);
  *slash = '\0';
  assert_int_equal(stat(folder, &folder_stat), 0);
  assert_int_equal(folder_stat.st_mode & 0777, 0700);
  assert_true(hsa_notifier_accept(&notifier));
  assert_int_equal(stat(folder, &folder_stat), -1);
  assert_true(fcntl(notifier.peer, F_GETFD) & FD_CLOEXEC);
  assert_false(hsa_notifier_accept(&notifier)); /* nobody listens any more */
  close(fd);
  hsa_notifier_close(&notifier);
}

static void accept_without_a_connection_ends_the_listening(void **state)
{
  struct stat folder_stat;
  hsa_notifier notifier;
  char path[128];
  int i;

  (void)state;
  hsa_notifier_init(&notifier);
  assert_false(hsa_notifier_accept(&notifier));
  for (i = 0; i < 3; i++) { /* by accept, by another listen, by close */
    strncpy(path, hsa_notifier_listen(&notifier), sizeof path - 1);
    if (i == 0)
      assert_false(hsa_notifier_accept(&notifier));
    else if (i == 1)
      assert_string_not_equal(hsa_notifier_listen(&notifier), path);
    else
      hsa_notifier_close(&notifier);
    assert_int_equal(stat(path, &folder_stat), -1);
    assert_int_equal(connect_to(path), -1);
  }
  hsa_notifier_close(&notifier);
}

/* A reader that has taken a byte and looked after one reason must hear of another that came meanwhile. */
static void a_byte_comes_for_each_reason_that_is_new(void **state)
{
  static const struct {
    unsigned reasons;
    int want;
  } steps[] = {{0, 0}, {1, 1}, {1, 0}, {3, 1}, {1, 0}, {3, 1}, {2, 0}, {3, 1}, {0, 0}, {3, 1}, {0, 0}, {2, 1}, {1, 1}};
  hsa_notifier notifier;
  int fd = connected(&notifier);
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(steps); i++) {
    char row[32];

    snprintf(row, sizeof row, "step %zu", i);
    hsa_notifier_set(&notifier, steps[i].reasons);
    expect_int(row, "bytes", bytes(fd), steps[i].want);
  }
  close(fd);
  hsa_notifier_close(&notifier);
}

static void what_was_set_before_is_told_at_once(void **state)
{
  hsa_notifier notifier;
  int first, second;

  (void)state;
  first = connected(&notifier);
  hsa_notifier_set(&notifier, 1);
  assert_int_equal(bytes(first), 1);
  second = connect_to(hsa_notifier_listen(&notifier));
  assert_true(hsa_notifier_accept(&notifier));
  assert_int_equal(bytes(first), -1); /* the other one takes its place */
  assert_int_equal(bytes(second), 1);
  assert_int_equal(readable(hsa_notifier_fd(&notifier)), 1); /* both ways at once */
  hsa_notifier_close(&notifier);
  assert_int_equal(bytes(second), -1);
  close(first);
  close(second);
}

/* A host that reads nothing, or has closed its end, costs no signal and no wait. */
static void a_host_that_does_not_read(void **state)
{
  hsa_notifier notifier;
  int fd = connected(&notifier), i;

  (void)state;
  alarm(10);
  for (i = 0; i < 1000 * 1000; i++)
    hsa_notifier_set(&notifier, i % 2 == 0);
  assert_true(bytes(fd) > 0);
  assert_true(notifier.peer >= 0);
  close(fd);
  for (i = 0; i < 4; i++)
    hsa_notifier_set(&notifier, i % 2 == 0);
  assert_int_equal(notifier.peer, -1);
  hsa_notifier_close(&notifier);
  alarm(0);
}

/* The parent goes on listening. */
static void a_child_leaves_the_path_alone(void **state)
{
  hsa_notifier notifier, childs;
  int fd;

  (void)state;
  hsa_notifier_init(&notifier);
  assert_non_null(hsa_notifier_listen(&notifier));
  childs = notifier;
  childs.listener = dup(notifier.listener);
  childs.path = strdup(notifier.path);
  hsa_notifier_abandon(&childs);
  fd = connect_to(notifier.path);
  assert_true(fd >= 0);
  assert_true(hsa_notifier_accept(&notifier));
  close(fd);
  hsa_notifier_close(&notifier);
}

static void folders_that_cannot_be_used_are_passed_over(void **state)
{
  static const char *const folders[] = {
    "/nowhere", "relative", "",
    "/tmp/a-name-that-is-too-long-for-the-address-of-a-unix-socket-which-has-room-for-only-a-hundred-bytes-or-so"};
  char *before = getenv("TMPDIR") ? strdup(getenv("TMPDIR")) : NULL;
  hsa_notifier notifier;
  size_t i;

  (void)state;
  hsa_notifier_init(&notifier);
  mkdir(folders[3], 0700);
  for (i = 0; i < COUNT(folders); i++) {
    setenv("TMPDIR", folders[i], 1);
    assert_non_null(hsa_notifier_listen(&notifier));
    assert_true(strncmp(notifier.path, "/tmp/hubspot_assoc.", 19) == 0);
    assert_false(hsa_notifier_accept(&notifier));
  }
  assert_int_equal(rmdir(folders[3]), 0); /* nothing was left in it */
  if (before)
    setenv("TMPDIR", before, 1);
  else
    unsetenv("TMPDIR");
  free(before);
  hsa_notifier_close(&notifier);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_is_open_before_it_is_asked_for),
    cmocka_unit_test(takes_no_standard_descriptor),
    cmocka_unit_test(says_what_was_set_last),
    cmocka_unit_test(any_number_of_changes),
    cmocka_unit_test(leaks_into_no_program_and_blocks_nobody),
    cmocka_unit_test(closed_and_opened_again),
    cmocka_unit_test(no_descriptors_left),
    cmocka_unit_test(a_host_that_meddles),
    cmocka_unit_test(under_a_storm_of_signals),
    cmocka_unit_test(only_this_user_finds_the_socket_and_nobody_later),
    cmocka_unit_test(accept_without_a_connection_ends_the_listening),
    cmocka_unit_test(a_byte_comes_for_each_reason_that_is_new),
    cmocka_unit_test(what_was_set_before_is_told_at_once),
    cmocka_unit_test(a_host_that_does_not_read),
    cmocka_unit_test(a_child_leaves_the_path_alone),
    cmocka_unit_test(folders_that_cannot_be_used_are_passed_over),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The engine as a guest in its process: fork, and SIGPIPE. */
#include "engine.h"
#include "fixture.h"

/* ---- fork ---- */

/* Runs `child` in a forked process; it answers 0 if all was as it should be. No assertion may run there: a failed one
 * would go on with the parent's tests. */
static void in_child(fixture *f, hsa_call *call, int (*child)(fixture *, hsa_call *))
{
  pid_t pid;
  int status = -1;

  fflush(NULL);
  pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(10);
    _exit(child(f, call));
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0); /* exited, with 0 */
}

static int child_only_calls(fixture *f, hsa_call *unused)
{
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  hsa_call *call = NULL;

  (void)unused;
  if (hsa_call_start(f->engine, &request, &call) != HSA_OK)
    return 1;
  if (hsa_call_run(call, hsa_now() + LIMIT) != HSA_DONE || hsa_call_outcome(call)->http_status != 200)
    return 2;
  hsa_call_free(call);
  return 0;
}

static int child_calls(fixture *f, hsa_call *unused)
{
  int result = child_only_calls(f, unused);

  hsa_engine_free(f->engine);
  return result;
}

static void fork_with_a_warm_connection(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;

  begin(f, steps, 1);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  in_child(f, NULL, child_calls);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  in_child(f, NULL, child_calls);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  assert_int_equal(requests(f), 5);
  assert_int_equal(connections(f), 3);
  assert_int_equal(seen(f, 0)->connection, 0);
  assert_int_equal(seen(f, 1)->connection, 1); /* the child's own */
  assert_int_equal(seen(f, 2)->connection, 0); /* the parent's old one still works */
  assert_int_equal(seen(f, 3)->connection, 2);
  assert_int_equal(seen(f, 4)->connection, 0);
  assert_int_equal(atomic_load(&f->server.log->junk), 0);
}

static int child_frees(fixture *f, hsa_call *call)
{
  hsa_engine_free(f->engine);
  if (hsa_call_state(call) != HSA_DONE || hsa_call_outcome(call)->kind != HSA_CANCELED)
    return 1;
  if (!hsa_call_outcome(call)->ambiguous) /* the parent sends it */
    return 2;
  hsa_call_free(call);
  return 0;
}

static int child_frees_the_call(fixture *f, hsa_call *call)
{
  hsa_call_free(call);
  return child_calls(f, NULL);
}

static int child_runs_the_call(fixture *f, hsa_call *call)
{
  if (hsa_call_run(call, hsa_now() + LIMIT) != HSA_DONE || hsa_call_outcome(call)->kind != HSA_CANCELED)
    return 1;
  hsa_call_free(call);
  return child_calls(f, NULL);
}

/* A call is under way at the fork: it goes on in the parent, whatever the child does with its copy. */
static void fork_with_a_call_under_way(void **state)
{
  static const struct {
    int (*child)(fixture *, hsa_call *);
    int calls; /* of its own */
  } rows[] = {{child_frees, 0}, {child_frees_the_call, 1}, {child_runs_the_call, 1}};
  fixture *f = *state;
  size_t i;

  for (i = 0; i < COUNT(rows); i++) {
    const server_step steps[] = {{.reply = OK_REPLY}, {.reply = OK_REPLY, .delay = 30}, {.reply = OK_REPLY}};
    hsa_call *call;

    begin(f, steps, COUNT(steps));
    assert_int_equal(status_of_one(f, HSA_ONCE), 200);
    call = start_simple(f, HSA_ONCE);
    while (requests(f) < 2)
      hsa_call_run(call, hsa_now() + MS);
    in_child(f, call, rows[i].child);
    assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
    assert_int_equal(status_of_one(f, HSA_ONCE), 200);
    assert_int_equal(requests(f), 3 + rows[i].calls);
    assert_int_equal(seen(f, 2 + rows[i].calls)->connection, 0);
    assert_int_equal(atomic_load(&f->server.log->junk), 0);
    hsa_call_free(call);
    finish(f);
  }
}

static int child_goes(fixture *f, hsa_call *call)
{
  (void)f;
  if (hsa_call_proceed(call, "token", 0) != HSA_OK || hsa_call_state(call) != HSA_DONE)
    return 1;
  return hsa_call_outcome(call)->kind == HSA_CANCELED && !hsa_call_outcome(call)->ambiguous ? 0 : 2;
}

static int child_refuses(fixture *f, hsa_call *call)
{
  (void)f;
  hsa_call_refuse(call, HSA_CONFIG, false);
  return hsa_call_state(call) == HSA_DONE && hsa_call_outcome(call)->kind == HSA_CANCELED ? 0 : 1;
}

static void fork_with_a_parked_call(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;
  const hsa_request request = request_of(HSA_ONCE, HSA_PARK_FIRST);
  hsa_call *call;

  begin(f, steps, 1);
  call = start(f, &request);
  in_child(f, call, child_goes);
  in_child(f, call, child_refuses);
  assert_int_equal(hsa_call_proceed(call, "token", 0), HSA_OK);
  assert_int_equal(outcome_of(call)->kind, HSA_SUCCESS);
  assert_int_equal(requests(f), 1);
  hsa_call_free(call);
}

/* As if another thread, which the child has not, was driving the engine, that has none of its own. (A thread sanitizer
 * does not know that the lock is made anew, and finds fault with a child that frees it.) */
static void fork_while_the_lock_is_held(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  fixture *f = *state;

  begin(f, steps, 1);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
  hsa_engine_lock(f->engine);
  in_child(f, NULL, child_only_calls);
  hsa_engine_unlock(f->engine);
  assert_int_equal(status_of_one(f, HSA_ONCE), 200);
}

static atomic_bool is_inside, has_left;

static void *stay_inside(void *unused)
{
  hsa_fork_enter();
  atomic_store(&is_inside, true);
  usleep(100 * 1000);
  atomic_store(&has_left, true);
  hsa_fork_leave();
  return unused;
}

static int child_enters(fixture *f, hsa_call *unused)
{
  (void)f;
  (void)unused;
  hsa_fork_enter();
  hsa_fork_leave();
  return atomic_load(&has_left) ? 0 : 1;
}

/* A thread that is inside libcurl may hold a lock there; a fork by itself, in a signal handler, can but come. */
static void fork_waits_for_who_is_inside(void **state)
{
  pthread_t thread;

  begin(*state, NULL, 0);
  assert_int_equal(pthread_create(&thread, NULL, stay_inside, NULL), 0);
  pthread_detach(thread);
  while (!atomic_load(&is_inside))
    usleep(1000);
  in_child(*state, NULL, child_enters);
  hsa_fork_enter();
  in_child(*state, NULL, child_enters);
  hsa_fork_leave();
}

/* ---- SIGPIPE ---- */

static volatile sig_atomic_t sigpipes; /* delivered */
static int broken_pipe = -1;           /* writing end of a pipe without a reader: send() writes there while >= 0 */
static int broken_sends;

static void on_sigpipe(int signal)
{
  (void)signal;
  sigpipes++;
}

/* Stands before libc's for libcurl too. libcurl's own sends come with MSG_NOSIGNAL; OpenSSL's do not, and so do these
 * while `broken_pipe` is set. */
__attribute__((visibility("default"))) ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
  if (broken_pipe < 0)
    return sendto(fd, bytes, len, flags, NULL, 0);
  broken_sends++;
  return write(broken_pipe, bytes, len);
}

static bool sigpipe_is_pending(void)
{
  sigset_t pending;

  sigpending(&pending);
  return sigismember(&pending, SIGPIPE) == 1;
}

static bool sigpipe_is_blocked(void)
{
  sigset_t mask;

  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  return sigismember(&mask, SIGPIPE) == 1;
}

/* Makes a call whose sending raises SIGPIPE. */
static void call_into_a_broken_pipe(fixture *f)
{
  hsa_request request = request_of(HSA_ONCE, HSA_PARK_NEVER);
  int ends[2];
  hsa_call *call;

  assert_int_equal(pipe(ends), 0);
  close(ends[0]);
  broken_sends = 0;
  request.max_attempts = 1;
  call = start(f, &request);
  broken_pipe = ends[1];
  hsa_call_run(call, hsa_now() + LIMIT);
  broken_pipe = -1;
  close(ends[1]);
  assert_int_equal(hsa_call_state(call), HSA_DONE);
  assert_int_equal(hsa_call_outcome(call)->kind, HSA_TRANSPORT);
  assert_true(broken_sends > 0); /* else this test tests nothing */
  hsa_call_free(call);
}

static void no_sigpipe_for_the_host(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY}};
  const struct sigaction action = {.sa_handler = on_sigpipe};
  struct sigaction before;
  sigset_t only, mask;

  begin(*state, steps, 1);
  sigaction(SIGPIPE, &action, &before);
  sigpipes = 0;
  call_into_a_broken_pipe(*state);
  assert_int_equal(sigpipes, 0);
  assert_false(sigpipe_is_pending());
  assert_false(sigpipe_is_blocked());

  /* A host that blocks it finds its own still pending, and only its own. */
  sigemptyset(&only);
  sigaddset(&only, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &only, &mask);
  call_into_a_broken_pipe(*state);
  assert_false(sigpipe_is_pending());
  assert_true(sigpipe_is_blocked());
  raise(SIGPIPE);
  call_into_a_broken_pipe(*state);
  assert_true(sigpipe_is_pending());
  assert_int_equal(sigpipes, 0);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  assert_int_equal(sigpipes, 1); /* delivered now that it may */
  sigaction(SIGPIPE, &before, NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(fork_with_a_warm_connection),
    TEST(fork_with_a_call_under_way),
    TEST(fork_with_a_parked_call),
    TEST(fork_while_the_lock_is_held),
    TEST(fork_waits_for_who_is_inside),
    TEST(no_sigpipe_for_the_host),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Memory that runs out, and a system that watches no more sockets: wherever it happens, in the engine or in libcurl, the
 * calls end and say so, and the next one goes well. The allocator is glibc's own, with this program between it and
 * everybody else; sanitizers and valgrind bring theirs, and nothing fails then. */
#include "fixture.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#define HEAD_REPLY \
  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-HubSpot-Correlation-Id: a\r\nX-HubSpot-RateLimit-Max: 100\r\n" \
  "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n{}"

/* ---- what fails ---- */

typedef enum resource { NOTHING, MEMORY, WATCHES } resource;

static resource scarce;
static long left;     /* that can be had */
static bool for_good; /* none after them, else one cannot */
static bool has_failed;

static bool fails(resource wanted, int error)
{
  if (scarce != wanted || left-- > 0)
    return false;
  if (!for_good)
    scarce = NOTHING;
  has_failed = true;
  errno = error;
  return true;
}

static void make_scarce(resource what, long n, bool all)
{
  scarce = what;
  left = n;
  for_good = all;
  has_failed = false;
}

__attribute__((visibility("default"))) int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event)
{
  if (what == EPOLL_CTL_ADD && fails(WATCHES, ENOSPC))
    return -1;
  return (int)syscall(SYS_epoll_ctl, epoll, what, fd, event);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#define HAS_SANITIZER (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define HAS_SANITIZER 0
#endif

#if defined(__GLIBC__) && !HAS_SANITIZER
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

__attribute__((visibility("default"))) void *malloc(size_t size)
{
  return fails(MEMORY, ENOMEM) ? NULL : __libc_malloc(size);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
  return fails(MEMORY, ENOMEM) ? NULL : __libc_calloc(n, size);
}

__attribute__((visibility("default"))) void *realloc(void *old, size_t size)
{
  return fails(MEMORY, ENOMEM) ? NULL : __libc_realloc(old, size);
}

#define ALLOCATIONS 10 /* of a call, at least */
#else
#define ALLOCATIONS 0
#endif

/* ---- tests ---- */

static void check(hsa_call *call, long n)
{
  const hsa_outcome *outcome = hsa_call_outcome(call);
  char row[64];

  snprintf(row, sizeof row, "the %ldth%s", n, for_good ? " and all others" : "");
  if (outcome->kind == HSA_SUCCESS)
    return;
  if (outcome->kind != HSA_CONFIG && outcome->kind != HSA_TRANSPORT && outcome->kind != HSA_PROTOCOL)
    fail_msg("%s: the kind is %s: %s", row, hsa_kind_name(outcome->kind), outcome->detail);
  if (outcome->code != HSA_CODE_RESOLVE && !strstr(outcome->detail, "memory")) /* the resolver gives no reason */
    fail_msg("%s reads as something else: %s", row, outcome->detail);
}

/* Allocation n of a call fails; false: there is none. */
static bool call_without(fixture *f, long n, bool all)
{
  hsa_request request = request_of(HSA_IDEMPOTENT, HSA_PARK_NEVER);
  hsa_status status;
  hsa_call *call = NULL;

  request.max_attempts = 1;
  request.timeout = 2 * S;
  make_scarce(MEMORY, n, all);
  status = hsa_call_start(f->engine, &request, &call);
  if (status == HSA_OK && hsa_call_run(call, hsa_now() + LIMIT) != HSA_DONE)
    fail_msg("without the %ldth allocation the call does not end", n);
  scarce = NOTHING;
  if (status == HSA_OK)
    check(call, n);
  else
    assert_int_equal(status, HSA_NOMEM);
  hsa_call_free(call);
  return has_failed;
}

static void begin_one(fixture *f)
{
  static const server_step steps[] = {{.reply = HEAD_REPLY}};

  begin(f, steps, 1);
}

/* On a client that has a connection and handles. */
static void fail_warm(fixture *f, bool all)
{
  long n = 0;

  begin_one(f);
  do
    assert_int_equal(status_of_one(f, HSA_IDEMPOTENT), 200);
  while (call_without(f, n++, all));
  assert_true(n > ALLOCATIONS);
  assert_int_equal(status_of_one(f, HSA_IDEMPOTENT), 200);
}

/* On a client that has nothing yet. */
static void fail_cold(fixture *f, bool all)
{
  bool goes_on = true;
  long n;

  begin_one(f);
  for (n = 0; goes_on; n++) {
    hsa_engine_free(f->engine);
    f->engine = NULL;
    assert_int_equal(hsa_engine_new(&f->config, &f->engine), HSA_OK);
    goes_on = call_without(f, n, all);
    assert_int_equal(status_of_one(f, HSA_IDEMPOTENT), 200);
  }
  assert_true(n > ALLOCATIONS);
}

static void one_allocation_on_a_used_client(void **state)
{
  fail_warm(*state, false);
}

static void all_from_one_on_on_a_used_client(void **state)
{
  fail_warm(*state, true);
}

static void one_allocation_on_a_new_client(void **state)
{
  fail_cold(*state, false);
}

static void all_from_one_on_on_a_new_client(void **state)
{
  fail_cold(*state, true);
}

#ifndef HSA_USE_POLL /* poll asks the system to watch nothing beforehand, which it could refuse */
/* Three calls at a time: of two the answers are awaited when the third connects. */
static void a_socket_that_is_not_watched(void **state)
{
  static const server_step steps[] = {{.reply = OK_REPLY, .together = 3}};
  fixture *f = *state;
  hsa_request request = request_of(HSA_IDEMPOTENT, HSA_PARK_NEVER);
  hsa_call *calls[3];
  size_t i;

  begin(f, steps, 1);
  request.max_attempts = 1;
  make_scarce(WATCHES, 3, false); /* our own pipe, and two connections */
  for (i = 0; i < COUNT(calls); i++)
    calls[i] = start(f, &request);
  for (i = 0; i < COUNT(calls); i++) {
    const hsa_outcome *outcome = outcome_of(calls[i]);

    assert_int_equal(outcome->kind, HSA_TRANSPORT);
    assert_int_equal(outcome->code, HSA_CODE_OTHER);
    assert_string_equal(outcome->detail, "libcurl could not go on: the system watches no more sockets");
    hsa_call_free(calls[i]);
  }
  assert_true(has_failed);
  scarce = NOTHING;
  for (i = 0; i < COUNT(calls); i++)
    calls[i] = start(f, &request);
  for (i = 0; i < COUNT(calls); i++) {
    assert_int_equal(outcome_of(calls[i])->kind, HSA_SUCCESS);
    hsa_call_free(calls[i]);
  }
}
#endif

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(one_allocation_on_a_used_client),
    TEST(all_from_one_on_on_a_used_client),
    TEST(one_allocation_on_a_new_client),
    TEST(all_from_one_on_on_a_new_client),
#ifndef HSA_USE_POLL
    TEST(a_socket_that_is_not_watched),
#endif
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

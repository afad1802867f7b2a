#include "sigpipe.h"

#include <pthread.h>
#include <time.h>

static sigset_t only_sigpipe(void)
{
  sigset_t set;

  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  return set;
}

static bool is_pending(void)
{
  sigset_t pending;

  return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

void hsa_sigpipe_block(hsa_sigpipe *saved)
{
  sigset_t set = only_sigpipe();

  saved->was_pending = is_pending();
  pthread_sigmask(SIG_BLOCK, &set, &saved->before);
}

void hsa_sigpipe_restore(const hsa_sigpipe *saved)
{
  sigset_t set = only_sigpipe();

  if (!saved->was_pending && is_pending())
    sigtimedwait(&set, NULL, &(struct timespec){0, 0});
  pthread_sigmask(SIG_SETMASK, &saved->before, NULL);
}

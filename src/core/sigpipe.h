/* sigpipe.h - keeps SIGPIPE from the host while this thread writes to sockets.
 *
 * With CURLOPT_NOSIGNAL libcurl leaves SIGPIPE alone, and OpenSSL writes without MSG_NOSIGNAL. */
#ifndef HSA_SIGPIPE_H
#define HSA_SIGPIPE_H

#include <signal.h>
#include <stdbool.h>

typedef struct hsa_sigpipe {
  sigset_t before;
  bool was_pending;
} hsa_sigpipe;

void hsa_sigpipe_block(hsa_sigpipe *saved);

/* Takes away a SIGPIPE raised since, and restores the thread's signal mask. */
void hsa_sigpipe_restore(const hsa_sigpipe *saved);

#endif

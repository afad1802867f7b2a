/* descriptor.h - file descriptors that get in nobody's way. Prefix hsa_fd_. */
#ifndef HSA_DESCRIPTOR_H
#define HSA_DESCRIPTOR_H

#include "hsa.h" /* hsa_fd_keep_clear */

/* Closed in programs that are started, and never waited for. */
bool hsa_fd_set_flags(int fd);

/* A pipe of such descriptors, clear of standard ones; false, and both are -1: errno says why not. */
bool hsa_fd_pipe(int ends[2]);

/* Closes it, unless it is -1, which it is then. errno stays. */
void hsa_fd_close(int *fd);

#endif

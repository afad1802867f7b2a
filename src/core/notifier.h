/* notifier.h - tells a host that something is to be had: a descriptor that is readable meanwhile, or, where a host
 * cannot watch a descriptor of ours, a connection that it has made to us, on which a byte arrives whenever there is
 * more. */
#ifndef HSA_NOTIFIER_H
#define HSA_NOTIFIER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct hsa_notifier {
  int ends[2]; /* of a pipe with a byte in it: read, write; negative: not open */
  int listener, peer; /* a socket that listens at `path`, and our end of the connection; negative: none */
  char *path;
  unsigned reasons; /* why it is readable, one bit each; 0: it is not */
} hsa_notifier;

void hsa_notifier_init(hsa_notifier *notifier);

/* Opens it if it is not open. The descriptor to watch, or negative. */
int hsa_notifier_fd(hsa_notifier *notifier);

/* Listens at a unix socket in a folder of its own, which only this user can enter. Returns its path, which is there
 * until hsa_notifier_accept, or NULL (errno says why) where none can be made: TMPDIR, /tmp, /var/tmp and /dev/shm
 * are tried. */
const char *hsa_notifier_listen(hsa_notifier *notifier);

/* Takes the connection that was made to hsa_notifier_listen's path, in place of an earlier one, and removes the
 * path; a byte arrives at once if there is a reason. false: nobody has connected. */
bool hsa_notifier_accept(hsa_notifier *notifier);

/* Makes it readable for these reasons; 0: for none. On the connection a byte arrives for each that is new: who has
 * looked after one may not have heard of another. Nothing happens if it is not open, and opening it then catches up. */
void hsa_notifier_set(hsa_notifier *notifier, unsigned reasons);

void hsa_notifier_close(hsa_notifier *notifier);

/* As hsa_notifier_close, in a forked child: the path is the parent's. */
void hsa_notifier_abandon(hsa_notifier *notifier);

#endif

/* notice.h - one descriptor that is readable while something is to be had: a pipe with a byte in it. */
#ifndef HSA_NOTICE_H
#define HSA_NOTICE_H

#include <stdbool.h>

typedef struct hsa_notice {
  int ends[2]; /* read, write; negative: not open */
  bool is_set;
} hsa_notice;

void hsa_notice_init(hsa_notice *notice);

/* Opens it if it is not open. The descriptor to watch, or negative. */
int hsa_notice_fd(hsa_notice *notice);

/* Makes it readable, or not; nothing happens if it is not open, and opening it then catches up. */
void hsa_notice_set(hsa_notice *notice, bool is_set);

void hsa_notice_close(hsa_notice *notice);

#endif

/* buf.h - a growing byte buffer with a cap set when it is made. Its owner frees it. */
#ifndef HSA_BUF_H
#define HSA_BUF_H

#include "hsa.h"

typedef struct hsa_buf {
  char *data; /* NULL until the first add; then NUL-terminated */
  size_t len; /* without the NUL */
  size_t cap; /* bytes allocated */
  size_t max; /* len never exceeds it */
} hsa_buf;

void hsa_buf_init(hsa_buf *buf, size_t max);

/* Appends; HSA_TOOLARGE or HSA_NOMEM leave the buffer as it was. */
hsa_status hsa_buf_add(hsa_buf *buf, const void *bytes, size_t len);
hsa_status hsa_buf_adds(hsa_buf *buf, const char *string);

/* The content as a string, "" when empty. */
const char *hsa_buf_str(const hsa_buf *buf);

/* Empties it and keeps the memory. */
void hsa_buf_reset(hsa_buf *buf);

/* Frees the memory; the buffer is empty and usable again. */
void hsa_buf_free(hsa_buf *buf);

#endif

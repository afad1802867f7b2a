#include "buf.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 512 };

void hsa_buf_init(hsa_buf *buf, size_t max)
{
  memset(buf, 0, sizeof *buf);
  buf->max = max;
}

static hsa_status reserve(hsa_buf *buf, size_t more)
{
  size_t cap = buf->cap ? buf->cap : FIRST_CAPACITY;
  char *data;

  if (more > buf->max - buf->len)
    return HSA_TOOLARGE;
  if (buf->len + more < buf->cap)
    return HSA_OK;
  while (cap <= buf->len + more)
    cap *= 2;
  data = realloc(buf->data, cap);
  if (!data)
    return HSA_NOMEM;
  buf->data = data;
  buf->cap = cap;
  return HSA_OK;
}

hsa_status hsa_buf_add(hsa_buf *buf, const void *bytes, size_t len)
{
  hsa_status status = reserve(buf, len);

  if (status != HSA_OK)
    return status;
  if (len)
    memcpy(buf->data + buf->len, bytes, len);
  buf->len += len;
  buf->data[buf->len] = '\0';
  return HSA_OK;
}

hsa_status hsa_buf_adds(hsa_buf *buf, const char *string)
{
  return hsa_buf_add(buf, string, strlen(string));
}

const char *hsa_buf_str(const hsa_buf *buf)
{
  return buf->data ? buf->data : "";
}

void hsa_buf_reset(hsa_buf *buf)
{
  buf->len = 0;
  if (buf->data)
    buf->data[0] = '\0';
}

void hsa_buf_free(hsa_buf *buf)
{
  free(buf->data);
  hsa_buf_init(buf, buf->max);
}

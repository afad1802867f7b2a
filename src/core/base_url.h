/* base_url.h - which base URLs can be used, and what they say. */
#ifndef HSA_BASE_URL_H
#define HSA_BASE_URL_H

#include "hsa.h"

typedef struct hsa_base_url {
  bool is_https, is_loopback;
  char *host; /* an IPv6 address in its brackets */
} hsa_base_url;

/* Fills *base, which is to be freed in any case. Returns NULL, or a static text that says why the URL cannot be used. */
const char *hsa_base_url_read(const char *text, bool allow_http, hsa_base_url *base);
void hsa_base_url_free(hsa_base_url *base);

#endif

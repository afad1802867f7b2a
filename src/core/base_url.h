/* base_url.h - pure: which base URLs can be used, and what they say. The rules are stricter than those of any libcurl,
 * and so the same with all of them. */
#ifndef HSA_BASE_URL_H
#define HSA_BASE_URL_H

#include "hsa.h"

enum { HSA_MAX_HOST = 253 }; /* bytes: DNS has no longer names */

typedef struct hsa_base_url {
  bool is_https, is_loopback;
  char host[HSA_MAX_HOST + 1]; /* a name or address; IPv6 without brackets, in its shortest form */
} hsa_base_url;

/* Fills *base. Returns NULL, or a static text that says why the URL cannot be used. */
const char *hsa_base_url_read(const char *text, bool allow_http, hsa_base_url *base);

#endif

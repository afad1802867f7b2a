/* handles.h - what the files of this folder share: a transfer is an easy handle, a transport the multi handle. */
#ifndef HSA_CURL_HANDLES_H
#define HSA_CURL_HANDLES_H

#include <curl/curl.h>

#include "base_url.h"
#include "head.h"
#include "sockets.h"
#include "transport.h"

#if LIBCURL_VERSION_NUM < 0x075000
#error "libcurl 7.80 or newer is needed (CURLOPT_PREREQFUNCTION)"
#endif

#define HSA_MAX_HEADER_BYTES (64 * 1024)

/* Which headers a request has. Only for a body that long does libcurl send Expect, which is then
 * switched off: it costs a wait where a server does not know it. */
typedef enum header_set { HEADERS_NO_BODY, HEADERS_BODY, HEADERS_LARGE_BODY } header_set;

struct hsa_transfer {
  CURL *easy;
  CURLU *url;
  char *url_text; /* that url was made from */
  hsa_transport *transport;
  hsa_transfer *next; /* in idle or ended */
  void *owner;
  struct curl_slist *headers;
  char *token;      /* that headers were made with */
  header_set which; /* likewise */
  bool once;
  bool is_running; /* in the multi handle */
  bool shows_head; /* the lines of a head go to the callback for the body first */
  bool too_large;
  size_t header_bytes;
  hsa_head head;
  hsa_result result;
  char error[CURL_ERROR_SIZE];
};
struct hsa_transport {
  CURLM *multi;
  hsa_sockets sockets; /* those that libcurl waits for */
  int64_t timer_at;    /* when libcurl wants to be called in any case */
  const hsa_config *config;
  hsa_base_url base;
  hsa_transfer *idle;                      /* kept with their settings for the next attempt */
  hsa_transfer *ended, **ended_tail;       /* in the order in which they ended */
  hsa_transport *next;                     /* in abandoned */
};

/* ---- library.c ---- */

/* Sets libcurl up, once per process; false: it cannot be. */
bool hsa_libcurl_is_ready(void);

/* ---- request.c ---- */

/* A transfer with its easy handle, set up with what is the same for every attempt; NULL: no memory. */
hsa_transfer *hsa_transfer_create(hsa_transport *transport);
void hsa_transfer_destroy(hsa_transfer *transfer);

/* Sets the handle up for this attempt; false: no memory, or libcurl refuses a setting. */
bool hsa_transfer_prepare(hsa_transfer *transfer, const hsa_attempt *attempt);

/* ---- error.c ---- */

/* Judges what the transfer ended with, and fills its result. */
void hsa_transfer_conclude(hsa_transfer *transfer, CURLcode code);

#endif

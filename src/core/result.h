/* result.h - what one HTTP attempt ended with: made by curl/error.c, judged by retry.c. */
#ifndef HSA_RESULT_H
#define HSA_RESULT_H

#include "buf.h"
#include "header.h"

enum { HSA_DETAIL_MAX = 256 };

/* Of all runs of an attempt; heads included, without TLS. */
typedef struct hsa_traffic {
  int64_t sent, received; /* bytes */
  int opened, reused;     /* connections; runs on one that had been used before */
} hsa_traffic;

typedef struct hsa_result {
  hsa_kind kind;       /* SUCCESS, API, TIMEOUT, TRANSPORT, PROTOCOL or CONFIG */
  hsa_code code;       /* with TRANSPORT */
  int http_status;     /* 0: no status line was received */
  bool sent;           /* the request may have left; false: it surely did not */
  bool is_permanent;   /* with TRANSPORT: it stays until somebody changes something */
  bool died;           /* with TRANSPORT: sent on a kept connection that then ended before any answer */
  bool cut_short;      /* with PROTOCOL: the connection ended inside the answer */
  bool too_large;      /* the body is larger than max_response_bytes */
  int64_t sent_at;     /* point in time; with sent */
  int64_t retry_after; /* us; -1: none */
  hsa_traffic traffic;
  hsa_headers headers;
  char detail[HSA_DETAIL_MAX];
  hsa_buf body;
} hsa_result;

#endif

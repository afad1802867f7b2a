/* handles.h - what the files of this folder share: a transfer is an easy handle, a transport the multi handle. */
#ifndef HSA_CURL_HANDLES_H
#define HSA_CURL_HANDLES_H

#include <curl/curl.h>

#include "base_url.h"
#include "head.h"
#include "sockets.h"
#include "transport.h"

#define HSA_OLDEST_LIBCURL 0x075000

#if LIBCURL_VERSION_NUM < HSA_OLDEST_LIBCURL
#error "libcurl 7.80 or newer is needed (CURLOPT_PREREQFUNCTION)"
#endif

#define HSA_MAX_HEADER_BYTES (64 * 1024)

/* Which headers a request has. Only for a body that long does libcurl send Expect, which is then
 * switched off: it costs a wait where a server does not know it. */
typedef enum header_set { HEADERS_NO_BODY, HEADERS_BODY, HEADERS_LARGE_BODY, HEADERS_FORM } header_set;

/* What is known of a connection beside what libcurl knows. Those that are open are in the transport's list. */
typedef struct hsa_connection {
  struct hsa_connection *next;
  int users;            /* transfers that hold it, and one more while it is open */
  int fd, port;         /* our end's port; 0: not known yet */
  bool is_up;           /* a request has been sent on it */
  bool is_http1;        /* an answer has told so */
  int64_t came_at;      /* when something came last; 0: never */
  int64_t silent_since; /* an attempt sent then has timed out, and nothing had come since; INT64_MIN: none */
  int64_t last_stream;  /* of HTTP/2 that the server still processes, by its GOAWAY; INT64_MAX: it sent none */
} hsa_connection;

/* Which certificate authorities are trusted. */
typedef struct hsa_trust {
  char *file, *folder; /* NULL: libcurl's own */
  const char *source;  /* who named them: an option, a variable, "the system" */
} hsa_trust;

/* What a handshake failed of. All but the first stay until somebody changes something. */
typedef enum hsa_tls_fault {
  HSA_TLS_PASSING,
  HSA_TLS_AUTHORITY,
  HSA_TLS_DATE,
  HSA_TLS_NAME,
  HSA_TLS_VERSION,
  HSA_TLS_REFUSED
} hsa_tls_fault;

/* How a run of a transfer ended that libcurl alone cannot tell. */
typedef enum run_end {
  RUN_END_OTHER,
  RUN_END_UNFIT,  /* the connection could not be used: nothing was sent */
  RUN_END_LATE,   /* the time was up while a proxy, or a handshake, went on: nothing was sent */
  RUN_END_REFUSED /* the server says that it has not processed the request */
} run_end;

/* What is to be done with a transfer in libcurl when the engine's lock is not held. */
typedef enum errand { ERRAND_NONE, ERRAND_START, ERRAND_TIME_OUT, ERRAND_DROP } errand;

struct hsa_transfer {
  CURL *easy;          /* NULL: never run yet */
  CURLU *url;
  char *url_text; /* of the last run; NULL: none has been set in `easy` yet */
  hsa_transport *transport;
  hsa_transfer *next;  /* in idle, ended or running */
  hsa_transfer **link; /* what points to it, in running */
  errand errand;
  hsa_transfer *next_errand;
  struct curl_slist *headers;
  char *token, *more; /* that headers were made with: the attempt's token and headers */
  header_set which; /* likewise */
  hsa_attempt attempt; /* to be run again on another connection, if that is safe */
  int64_t run_out_at;  /* when its time is up */
  int runs, fruitless; /* so often begun; so often refused while nobody got an answer */
  uint64_t answers;    /* the transport's, when it was refused last */
  bool is_started;     /* and not ended yet */
  bool has_ended;      /* it is in ended */
  bool is_waiting;     /* to leave */
  hsa_connection *connection; /* that it was sent on; NULL: not known */
  bool is_reused;      /* that had been used before */
  int64_t stream;      /* its number there, over HTTP/2; 0: not known */
  run_end end;
  bool is_spoiled;     /* not for another attempt: libcurl remembers in it what went wrong */
  bool shows_head;     /* the lines of a head go to the callback for the body first: until the first field has come */
  bool is_in_line;     /* one of them has come in part */
  hsa_status refused;  /* why a callback took no more: HSA_TOOLARGE or HSA_NOMEM */
  size_t header_bytes;
  hsa_head head;
  hsa_traffic traffic; /* of the runs that have ended */
  hsa_result result;
  char error[CURL_ERROR_SIZE];
};

struct hsa_transport {
  CURLM *multi;
  hsa_sockets sockets; /* those that libcurl waits for */
  bool lacks_files;    /* the last socket that libcurl wanted could not be opened for want of descriptors */
  int64_t timer_at;    /* when libcurl wants to be called in any case */
  bool is_late;        /* some transfer's time is up */
  const char *broken;  /* why the multi handle cannot go on; NULL: it can */
  int64_t look_at;     /* when connections that are being opened are looked at next */
  const hsa_config *config;
  hsa_base_url base;
  hsa_trust trust;
  hsa_connection *connections;
  int nopening;             /* those that are being opened, that is, on which no request has been sent yet */
  uint64_t answers;         /* so many have come */
  bool tells_refusals;      /* libcurl sends a request again only where the server has refused it */
  int nonce;                /* so many of those that are running must not be applied twice */
  hsa_transfer *running;                   /* in the multi handle */
  int nstarted, nwaiting;   /* transfers that have started and not ended; those of them that have not left yet */
  bool is_http1;            /* the last answer told so */
  bool wants_http1;         /* the server has refused HTTP/2 */
  bool looks_up_anew;       /* the last lookup of a name has failed: libcurl 8.16 would go on saying so */
  hsa_transfer *idle;                      /* kept with their settings for the next attempt */
  hsa_transfer *ended, **ended_tail;       /* in the order in which they ended */
  hsa_transfer *errands, **errands_tail;   /* those with an errand, in the order in which they got it */
  hsa_transport *next;                     /* in abandoned */
};

/* ---- library.c ---- */

/* Sets libcurl up, once per process; false: it cannot be. */
bool hsa_libcurl_is_ready(void);

/* 7.84 to 8.0.1 take a folded line for the rest of the last header that they keep. Where it is the first line of a
 * head, that header is of the handle's last transfer, and freed: the heap is corrupted, before on_header is called. */
bool hsa_libcurl_folds_into_freed_memory(void);

/* Gives the handle a buffer that holds a whole head: from 7.88 to 8.0.1 libcurl waits for more to come, over HTTP/2,
 * when there is still some of the head that its buffer (16 KiB) had no room for. false: no memory. */
bool hsa_libcurl_take_head(CURL *easy);

/* The one protocol that the handle may speak. */
bool hsa_libcurl_set_protocol(CURL *easy, bool is_https);

/* When a connection that was kept dies before any answer, libcurl sends the request again by itself. Afterwards it does
 * so only where the server has refused a stream. false: it cannot be told. */
bool hsa_libcurl_stop_resending(CURL *easy);

/* Can it be trusted with HTTP/2? Before 7.88 it does not tell (CURLOPT_DEBUGFUNCTION) which streams a server has
 * left aside when it ended a connection, and may give the answer of one to another. 8.1 to 8.3 do not tell a stream
 * that was refused from one that failed. */
bool hsa_libcurl_speaks_http2(void);

/* May transfers of one multi handle speak HTTP/1.1 and HTTP/2? Before 8.5 one that may speak HTTP/2 is put onto an
 * HTTP/1.1 connection that another one is using, and each gets the other's answer. */
bool hsa_libcurl_mixes_versions(void);

/* Around all that moves a multi handle on or ends it: 8.9.1 sets the process's action for SIGPIPE to the default. Only
 * one thread is in there at a time then, or one would keep the default that another's libcurl had set. */
void hsa_libcurl_enter(void);
void hsa_libcurl_leave(void);

/* From now on the handle's end does not wait for a name lookup that hangs; before libcurl 7.87 it does. */
void hsa_libcurl_forget_lookup(CURL *easy);
void hsa_libcurl_forget_lookups(CURLM *multi);

/* ---- request.c ---- */

/* A transfer without handles yet; NULL: no memory. */
hsa_transfer *hsa_transfer_create(hsa_transport *transport);
void hsa_transfer_destroy(hsa_transfer *transfer);

/* It is for this attempt now. No libcurl. */
void hsa_transfer_begin(hsa_transfer *transfer, const hsa_attempt *attempt);

/* Sets its easy handle up for the attempt; false: no memory, or libcurl refuses a setting. */
bool hsa_transfer_prepare(hsa_transfer *transfer);

/* Whether it is waiting to leave, for the transport's count. */
void hsa_transfer_waits(hsa_transfer *transfer, bool is_waiting);

/* Makes its easy handle anew for another run of the same attempt; false as above. */
bool hsa_transfer_renew(hsa_transfer *transfer);

/* ---- connection.c ---- */

void hsa_connection_opened(hsa_transport *transport, int fd);
void hsa_connection_closed(hsa_transport *transport, int fd);
void hsa_connection_free_all(hsa_transport *transport);

/* The connection whose end on our side has this port, or NULL. */
hsa_connection *hsa_connection_at(const hsa_transport *transport, int port);

/* The transfer is about to be sent on it, and holds it until the next time. NULL: on none. */
void hsa_connection_hold(hsa_transfer *transfer, hsa_connection *connection);

/* May a request be sent on it? Not if the server has closed it, or has written what nobody asked for, or if it seems to
 * have died in silence. */
bool hsa_connection_is_fit(const hsa_connection *connection, bool is_https);

/* A request is sent on it. */
void hsa_connection_use(hsa_transport *transport, hsa_connection *connection);

/* Something has come on it. */
void hsa_connection_came(const hsa_transport *transport, int fd);

/* libcurl says something about the transfer (CURLOPT_DEBUGFUNCTION): which stream it is, what came on its
 * connection. */
int hsa_connection_listen(CURL *easy, curl_infotype type, char *text, size_t len, void *transfer);

/* Is it a stream that the server has said it did not process? */
bool hsa_connection_has_refused(const hsa_transfer *transfer);

/* What a transfer that has ended tells of the connection that it was sent on. */
void hsa_connection_learn(const hsa_transfer *transfer, CURLcode code);

/* ---- tls.c ---- */

/* Reads them from the option (NULL: not given) or from the environment; to be freed in any case. false: no memory. */
bool hsa_trust_read(hsa_trust *trust, const char *ca_file);
void hsa_trust_free(hsa_trust *trust);

/* false: libcurl refuses. */
bool hsa_trust_apply(const hsa_trust *trust, CURL *easy);

/* Is the file not there, or no such file? Then *text says so. */
bool hsa_trust_is_broken(const hsa_trust *trust, char *text, size_t size);

/* By libcurl's code and text. */
hsa_tls_fault hsa_tls_judge(CURLcode code, const char *text);

/* libcurl's text, and what can be done about it. */
void hsa_tls_describe(hsa_tls_fault fault, const hsa_trust *trust, const char *text, char *detail, size_t size);

/* ---- error.c ---- */

/* Judges what the transfer ended with, and fills its result. */
void hsa_transfer_conclude(hsa_transfer *transfer, CURLcode code);

/* Adds what a run that has ended took to the transfer's traffic. */
void hsa_transfer_meter(hsa_transfer *transfer);

#endif

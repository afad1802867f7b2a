/* hsa.h - the engine of hubspot_assoc: calls go in, outcomes come out.
 *
 * The only public header of src/core. The engine knows HTTP, deadlines, retries
 * and pacing; it knows no Lua, and nothing in it calls back into its user.
 *
 * Ownership. Strings and bodies handed in are copied. An engine belongs to who
 * made it (hsa_engine_free), a call to who started it (hsa_call_free); either may
 * be freed first. Pointers inside an outcome live as long as its call.
 *
 * Units. Times are int64_t microseconds, on the monotonic clock where they are
 * points in time (hsa_now). Negative means unknown where a comment says so.
 *
 * Threads. An engine and its calls are used by one thread at a time. An engine may have an I/O thread
 * of its own (hsa_engine_start_thread); the choice changes no outcome.
 *
 * Fork. In a child process an engine abandons its parent's connections, untouched;
 * calls that were under way end there with HSA_CANCELED. The I/O thread does not come along. */
#ifndef HSA_H
#define HSA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HSA_VERSION "0.1.0"
#define HSA_NOFILES_TEXT "no file descriptors are left (raise the limit: ulimit -n)"
#define HSA_SECOND INT64_C(1000000) /* microseconds */

/* What a function returns. */
typedef enum hsa_status {
  HSA_OK = 0,
  HSA_NOMEM,    /* out of memory */
  HSA_TOOLARGE, /* more bytes than the buffer or the field may hold */
  HSA_NOFILES,  /* no file descriptors are left */
  HSA_INVALID   /* an argument that cannot be sent; hsa_check_* say why */
} hsa_status;

/* How a call ended. */
typedef enum hsa_kind {
  HSA_SUCCESS = 0, /* a 2xx */
  HSA_API,         /* a 4xx or 5xx, whatever its body */
  HSA_THROTTLED,   /* 429, 423 or 477, or the client's own rate, outlasted the deadline */
  HSA_TIMEOUT,     /* an attempt's time or the whole call's ran out */
  HSA_TRANSPORT,   /* no answer; the code says where it broke */
  HSA_PROTOCOL,    /* a 3xx, or an answer that is not sound HTTP or too large */
  HSA_CANCELED,    /* by hsa_call_cancel, hsa_engine_close or fork */
  HSA_CONFIG,      /* the call could not be set up: no memory, no usable CA file, ... */
  HSA_PENDING      /* no outcome: what one may tell who does not wait any longer */
} hsa_kind;

/* Where the transport broke. */
typedef enum hsa_code {
  HSA_CODE_NONE = 0,
  HSA_CODE_RESOLVE,
  HSA_CODE_CONNECT,
  HSA_CODE_TLS,
  HSA_CODE_PROXY,
  HSA_CODE_SEND,
  HSA_CODE_RECEIVE,
  HSA_CODE_OTHER
} hsa_code;

/* "api", "transport", ... and "resolve", "connect", ...; NULL for SUCCESS and NONE. */
const char *hsa_kind_name(hsa_kind kind);
const char *hsa_code_name(hsa_code code);

/* What sending a request once more would do (RFC 9110, 9.2). */
typedef enum hsa_effect {
  HSA_SAFE,       /* reads only */
  HSA_IDEMPOTENT, /* twice is the same as once */
  HSA_ONCE        /* must not be applied twice */
} hsa_effect;

/* When a call is parked, that is when it asks something of its user and waits for hsa_call_proceed. */
typedef enum hsa_park {
  HSA_PARK_NEVER, /* it needs nothing */
  HSA_PARK_FIRST, /* before its first attempt, and once after EXPIRED_AUTHENTICATION */
  HSA_PARK_EVERY  /* before every attempt, when a connection is free for it (an outside limiter takes part) */
} hsa_park;

/* Why a call is parked. */
typedef enum hsa_reason {
  HSA_REASON_FIRST,  /* its first attempt */
  HSA_REASON_RETRY,  /* another attempt; only with HSA_PARK_EVERY */
  HSA_REASON_EXPIRED, /* HubSpot answered EXPIRED_AUTHENTICATION: a fresh token is needed */
  HSA_REASON_SEND     /* an attempt whose answer comes from outside (asks_answer): hsa_call_answer */
} hsa_reason;

typedef enum hsa_state { HSA_RUNNING, HSA_PARKED, HSA_DONE } hsa_state;

/* Calls that HubSpot may count apart for its rate: those it exempts from its ten-second limit, and the others. */
enum { HSA_RATE_GROUPS = 2 };

typedef struct hsa_config {
  const char *base_url;       /* passes hsa_check_base_url; no slash at its end is needed */
  const char *proxy;          /* NULL: from the environment; "": none */
  const char *ca_file;        /* PEM; NULL: the system's */
  const char *user_agent;     /* the whole header value */
  int64_t connect_timeout;    /* us */
  size_t max_response_bytes;  /* decoded */
  int max_connections;
  int rate_requests;          /* sends in any rate_interval; 0: no pacing */
  int64_t rate_interval;      /* us */
  bool rate_is_ceiling;       /* the server's headers may lower the rate but not raise it */
  int rate_shares;            /* so many processes share the rate, each with its part; 0: 1 */
  int retry_budget;           /* retries beyond what successes give back (half a one each); negative: without end */
  bool skips_waits;           /* puts the clock forward where it would wait for time alone; for tests */
  unsigned events;            /* which to record for hsa_call_event: HSA_EVENT_BIT(type) each */
} hsa_config;

typedef struct hsa_param {
  const char *name, *value;
  size_t len; /* of value */
} hsa_param;

typedef struct hsa_request {
  const char *method;        /* static string */
  const char *path;          /* template: "/crm/{version}/{from}"; each {name} is one segment */
  const hsa_param *segments; /* what the names in the template stand for */
  size_t nsegments;
  const hsa_param *query;
  size_t nquery;
  const char *body; /* JSON, or a form; NULL: none */
  size_t body_len;
  bool is_form;
  const hsa_param *secrets; /* what else hsa_call_mask masks: of a body that bears secrets; their names do not matter */
  size_t nsecrets;
  int rate_group;   /* 0 to HSA_RATE_GROUPS - 1 */
  hsa_effect effect;
  hsa_park park;
  bool asks_answer;   /* its answers come from outside, in place of the network: each attempt parks it */
  const char *headers; /* more of them: lines "Name: value", each ended by a line break; NULL: none */
  const char *token;  /* NULL, where hsa_call_proceed is to bring it: then once more if it expires */
  bool bears_no_token; /* and never asks for one */
  int64_t timeout;    /* us, one attempt */
  int64_t deadline;   /* point in time: the whole call with waits and retries */
  int max_attempts; /* those that 429, 423 and 477 end are not counted */
  void *user;         /* the caller's own: hsa_call_user */
} hsa_request;

/* Response headers of interest; -1 where not seen. */
typedef struct hsa_rate_limit {
  int64_t max, remaining, interval_ms, daily, daily_remaining;
} hsa_rate_limit;

typedef struct hsa_outcome {
  hsa_kind kind;
  hsa_code code;            /* with HSA_TRANSPORT */
  int http_status;          /* of the last attempt; 0: nothing received */
  int attempts;             /* attempts begun; 0: nothing was sent */
  bool retryable;           /* it may pass, and calling again is safe */
  bool ambiguous;           /* some attempt may have been applied */
  bool daily;               /* the daily limit is used up */
  bool out_of_budget;       /* only for want of retry_budget it was not tried again */
  bool too_large;           /* the answer is larger than max_response_bytes */
  int64_t retry_after;      /* us from now until it is worth coming back; -1: unknown */
  int64_t elapsed;          /* us */
  const char *detail;       /* a sentence on what broke; never NULL, never holds the token or a secret */
  const char *body;         /* NUL-terminated; as it came: see hsa_call_mask */
  size_t body_len;
  const char *correlation_id; /* from the response header; "" if none */
  hsa_rate_limit rate;
} hsa_outcome;

/* What requests wait for. */
typedef enum hsa_wait {
  HSA_WAIT_RATE,       /* the client's own rate, or what the server's headers tell */
  HSA_WAIT_HOLD,       /* the pause after a 429, 423 or 477 */
  HSA_WAIT_CONNECTION, /* a free connection */
  HSA_WAIT_RETRY,      /* the pause before another attempt */
  HSA_WAIT_LEAVE,      /* an outside limiter: its answer, and the time that it asks for */
  HSA_WAIT_TOKEN,
  HSA_WAITS            /* how many there are; nothing */
} hsa_wait;

/* Since the engine was made. */
typedef struct hsa_stats {
  int64_t requests, attempts;   /* begun */
  int64_t retries[HSA_PENDING]; /* by the kind of what an attempt ended with */
  int64_t refreshes;            /* attempts with a fresh token, after EXPIRED_AUTHENTICATION */
  int64_t waits[HSA_WAITS], waited[HSA_WAITS]; /* of a millisecond and more, that have ended: how many; us */
  /* of attempts that have ended; heads included, without TLS, as compressed as it was */
  int64_t bytes_sent, bytes_received;
  int64_t connections_opened, connections_reused; /* the latter: attempts on one that had been used before */
  int64_t in_flight, queued; /* now: attempts under way, requests that wait */
} hsa_stats;

/* What is known of the account's rate; -1: nothing. */
typedef struct hsa_rate_state {
  int64_t requests, interval;     /* as HubSpot told last, else as configured; us */
  int64_t remaining;              /* so many may be sent at once, as far as is known */
  int64_t daily, daily_remaining; /* as HubSpot told last */
  int64_t hold;                   /* us for which nothing is sent */
  int64_t age;                    /* us since HubSpot told of it last */
} hsa_rate_state;

typedef enum hsa_event_type { HSA_EVENT_ATTEMPT, HSA_EVENT_RETRY, HSA_EVENT_WAIT, HSA_EVENT_DONE } hsa_event_type;

#define HSA_EVENT_BIT(type) (1U << (type))

enum { HSA_CORRELATION_MAX = 64 }; /* bytes of a correlation id, its NUL included */

typedef struct hsa_event {
  hsa_event_type type;
  int attempt;     /* 1 for the first */
  int http_status; /* RETRY, DONE: 0 if nothing was received */
  hsa_kind kind;   /* RETRY, DONE */
  int64_t delay;   /* RETRY, WAIT: us until the next attempt */
  int64_t elapsed; /* us since hsa_call_start */
  /* RETRY, DONE: */
  char correlation_id[HSA_CORRELATION_MAX]; /* of the last attempt's answer; "" if none */
  hsa_rate_limit rate; /* of the attempt's answer */
  int64_t hold;        /* us that the server wants all calls to hold still; -1: it does not */
  int64_t late;        /* us from the time that hsa_call_proceed let the attempt go until it left; -1: unknown */
  int64_t sent_at;     /* point in time when it left; -1: it did not */
} hsa_event;

typedef struct hsa_engine hsa_engine;
typedef struct hsa_call hsa_call;

/* The monotonic clock, us. */
int64_t hsa_now(void);

/* The same, but never put forward (skips_waits): what all processes of the machine see. */
int64_t hsa_common_now(void);

/* The same file, at no descriptor of standard input, output or error: those are free in a program that was started
 * without, and what it prints would get into the file. -1, and it is closed: errno says why not. */
int hsa_fd_keep_clear(int fd);

/* "libcurl/7.88.1" as loaded. */
const char *hsa_transport_version(void);

/* NULL if the libcurl that was found is new enough, else a static text: which one is needed, and which was found. With
 * such a libcurl nothing else here may be called. */
const char *hsa_check_transport(void);

/* Each returns NULL if the value can be used, else a static text that says why not.
 * A base URL is https://host[:port][/prefix]; http:// for loopback, or if allow_http.
 * A header value (a token, a user agent) has printable ASCII only. A header name is one that neither the engine nor
 * libcurl sets, and on which no framing depends. A path segment is
 * 1 to 255 bytes without control characters, and not "." or "..". */
const char *hsa_check_base_url(const char *url, bool allow_http);
const char *hsa_check_header_value(const char *value, size_t len);

/* Likewise, of an access token, which is what stands behind "Bearer ". */
const char *hsa_check_token(const char *token, size_t len);
const char *hsa_check_header_name(const char *name, size_t len);
const char *hsa_check_segment(const char *value, size_t len);

/* Writes the bytes to `out`, all but unreserved characters as %XX, as forms and URLs have them, and a NUL; returns how
 * many there are before that. There must be room for 3 * len + 1. */
size_t hsa_percent_encode(const char *bytes, size_t len, char *out);

/* Makes an engine; opens no connection and starts nothing. HSA_NOMEM. */
hsa_status hsa_engine_new(const hsa_config *config, hsa_engine **out);

/* Cancels what is under way and closes all connections; its calls stay readable. No call may be started any more; the
 * descriptor of hsa_engine_fd and the connection of hsa_engine_accept stay until hsa_engine_free. */
void hsa_engine_close(hsa_engine *engine);

/* As hsa_engine_close, and frees the engine. NULL is fine. */
void hsa_engine_free(hsa_engine *engine);

/* "rate", "hold", ... */
const char *hsa_wait_name(hsa_wait wait);

void hsa_engine_stats(hsa_engine *engine, hsa_stats *out);
void hsa_engine_rate(hsa_engine *engine, hsa_rate_state *out);

/* Starts the engine's I/O thread, if it has none: calls then move on by themselves. It blocks all signals.
 * HSA_NOMEM if there can be no thread; HSA_NOFILES. */
hsa_status hsa_engine_start_thread(hsa_engine *engine);

/* A descriptor that is readable while hsa_engine_next has a call to give; the engine's, not to be read or
 * closed. Negative if there can be none. */
int hsa_engine_fd(hsa_engine *engine);

/* For a host that cannot watch a descriptor of ours: it connects to the unix socket at the path that
 * hsa_engine_listen returns (NULL: there can be none, errno says why; valid until the next of these two calls), then
 * hsa_engine_accept takes the connection and removes the path (false: nobody has connected). From then on a byte
 * arrives on it whenever hsa_engine_next begins to have a call to give or hsa_engine_announce begins to say so; one
 * that comes too often means nothing. */
const char *hsa_engine_listen(hsa_engine *engine);
bool hsa_engine_accept(hsa_engine *engine);

/* While `is_more`, the descriptor is readable in any case: its user has taken a call and not yet handed it on. */
void hsa_engine_announce(hsa_engine *engine, bool is_more);

/* Waits until hsa_engine_next has a call to give, or until the point in time `until`; without a thread it
 * drives the engine meanwhile. */
void hsa_engine_run(hsa_engine *engine, int64_t until);

/* The next call that is parked, done or has an event, first come first served; NULL: none. Each is given once
 * for each time that it wants attention. */
hsa_call *hsa_engine_next(hsa_engine *engine);

/* Takes in a call. HSA_NOMEM; HSA_NOFILES; HSA_TOOLARGE if the URL is longer than 8 KiB; HSA_INVALID if the
 * template has a name that segments lacks, a segment, a header or the token cannot be sent, or the engine is closed. */
hsa_status hsa_call_start(hsa_engine *engine, const hsa_request *request, hsa_call **out);

/* Waits until this call is parked, done or has an event, or until the point in time `until`; without a thread it
 * drives the engine meanwhile. Returns the call's state; hsa_engine_next then does not give it. */
hsa_state hsa_call_run(hsa_call *call, int64_t until);

void *hsa_call_user(const hsa_call *call);
hsa_state hsa_call_state(const hsa_call *call);
hsa_reason hsa_call_reason(const hsa_call *call); /* while HSA_PARKED */

/* Lets a parked call go on, `delay` us from now. token: NULL keeps the one it has.
 * HSA_INVALID if the call has none or it cannot be sent: the call stays parked. */
hsa_status hsa_call_proceed(hsa_call *call, const char *token, int64_t delay);

/* Ends a parked call: it does not get what it asks for. Nothing happens if it is not parked.
 * kind: HSA_CONFIG, or what kept it from that. */
void hsa_call_refuse(hsa_call *call, hsa_kind kind, bool retryable);

/* How often the call has been parked: tells one question from the next. */
unsigned hsa_call_questions(const hsa_call *call);

/* What a parked call has: the attempts begun, its token (NULL: none yet) and its URL. */
int hsa_call_attempts(const hsa_call *call);
const char *hsa_call_token(const hsa_call *call);
const char *hsa_call_url(const hsa_call *call);

/* What came of an attempt outside. */
typedef struct hsa_answer {
  hsa_kind kind;   /* HSA_SUCCESS: an answer, whatever its status; else HSA_TIMEOUT or HSA_TRANSPORT */
  hsa_code code;   /* with HSA_TRANSPORT */
  int http_status; /* of an answer: 200 to 599 */
  const hsa_param *headers;
  size_t nheaders;
  const char *body;
  size_t body_len;
} hsa_answer;

/* Gives a call that is parked with HSA_REASON_SEND what came of its attempt; it then goes on as if it had come over the
 * network. HSA_NOMEM: the call stays parked. Nothing happens if it is not so parked. */
hsa_status hsa_call_answer(hsa_call *call, const hsa_answer *answer);

/* The next event of the call, oldest first; false: none left. */
bool hsa_call_event(hsa_call *call, hsa_event *event);

/* What came out; only when HSA_DONE. */
const hsa_outcome *hsa_call_outcome(const hsa_call *call);

/* Overwrites the call's token and its secrets wherever the text has them (a server may repeat them); returns whether it
 * did. A token under eight characters is not: it would be in words. A call that is NULL has none. */
bool hsa_call_mask(const hsa_call *call, char *text, size_t len);

/* As hsa_call_free, for a call that is not done; tells how it ended, with HSA_CANCELED. */
hsa_outcome hsa_call_cancel(hsa_call *call);

/* Ends the call, whatever it is doing, and frees it; returns at once. NULL is fine. */
void hsa_call_free(hsa_call *call);

#endif

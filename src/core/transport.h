/* transport.h - single HTTP attempts. Its code is the folder curl/, which alone knows libcurl. */
#ifndef HSA_TRANSPORT_H
#define HSA_TRANSPORT_H

#include "result.h"

/* libcurl is used by hsa_transport_perform, _settle, _wait, _new and _free only, none of which needs the engine's
 * lock; the other functions note what is to be done, which the next two of these do. */
typedef struct hsa_transport hsa_transport;
typedef struct hsa_transfer hsa_transfer; /* one attempt under way, or ended and not yet released */

/* The configuration must outlive the transport. HSA_NOMEM if libcurl cannot be set up; HSA_NOFILES. */
hsa_status hsa_transport_new(const hsa_config *config, hsa_transport **out);

/* Closes all connections; transfers must have been released. NULL is fine. */
void hsa_transport_free(hsa_transport *transport);

/* In a forked child: forgets the transport without touching the parent's connections. The memory
 * stays allocated, for libcurl could only free it by closing them. */
void hsa_transport_abandon(hsa_transport *transport);

typedef struct hsa_attempt {
  const char *method, *url, *token; /* these and the body must outlive the transfer's end; "": without a token */
  const char *headers; /* more of them: lines "Name: value", each ended by a line break; NULL: none */
  const char *body; /* NULL: none */
  size_t body_len;
  bool is_form;     /* else the body is JSON */
  bool once;        /* it must not be applied twice */
  int runs;         /* so often it was sent already, on connections that died */
  int64_t timeout;  /* us */
  void *owner;
} hsa_attempt;

/* Is a connection, or a stream, free for one attempt more? `expected` others will begin before it. */
bool hsa_transport_has_room(const hsa_transport *transport, int expected);

/* Begins an attempt. If libcurl has no memory or refuses a setting, it ends with HSA_CONFIG. HSA_NOMEM. */
hsa_status hsa_transport_start(hsa_transport *transport, const hsa_attempt *attempt, hsa_transfer **out);

/* Does what has been noted, and moves all transfers on as far as they go without waiting. */
void hsa_transport_perform(hsa_transport *transport);

/* Does what has been noted. */
void hsa_transport_settle(hsa_transport *transport);

/* Has anything been noted? */
bool hsa_transport_is_unsettled(const hsa_transport *transport);

/* Waits until a transfer can move on, `timeout` us at most. */
void hsa_transport_wait(hsa_transport *transport, int64_t timeout);

/* Ends a hsa_transport_wait under way in another thread, or else the next one. */
void hsa_transport_wake(hsa_transport *transport);

/* The next transfer that has ended, or NULL. */
hsa_transfer *hsa_transport_ended(hsa_transport *transport);

/* The time of a transfer that is under way is up: it ends, unless its answer is there. */
void hsa_transfer_time_out(hsa_transfer *transfer);

/* Has the request left, as far as is known? */
bool hsa_transfer_is_sent(const hsa_transfer *transfer);

void *hsa_transfer_owner(const hsa_transfer *transfer);

/* Moves the result of an ended transfer to *result: its body buffer goes along. */
void hsa_transfer_move_result(hsa_transfer *transfer, hsa_result *result);

/* Ends the attempt if it is under way and gives the transfer back. */
void hsa_transfer_release(hsa_transfer *transfer);

/* Overwrites the token wherever the text has it; returns whether it did. One that is "" is nowhere. */
bool hsa_mask(char *text, size_t len, const char *token);

#endif

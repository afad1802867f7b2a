/* multi.c - all transfers of an engine in one libcurl multi handle, and the sockets that it waits for. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "handles.h"

#define LOOK_INTERVAL (HSA_SECOND / 5) /* at connections that are being opened */
enum { MAX_FRUITLESS = 5 }; /* refusals in a row */
enum { FEW_STREAMS = 16 };  /* that are asked for at a time */
enum { MOST_LOOKS = 8 };    /* one after the other, where each finds something: a socket holds no more */

/* Transports of a parent process: kept reachable, never used. */
static _Atomic(hsa_transport *) abandoned;

/* ---- what libcurl waits for ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
  hsa_transport *transport = data;
  short events = (short)((what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0));

  (void)easy;
  (void)socket_data;
  if (what == CURL_POLL_REMOVE)
    events = 0;
  if (hsa_sockets_watch(&transport->sockets, fd, events) == HSA_OK)
    return 0;
  transport->broken = "the system watches no more sockets";
  return -1;
}

static int on_timer(CURLM *multi, long ms, void *data)
{
  hsa_transport *transport = data;

  (void)multi;
  transport->timer_at = ms < 0 ? INT64_MAX : hsa_now() + (int64_t)ms * 1000;
  return 0;
}

/* ---- transfers ---- */

/* Which streams a server has not processed, libcurl says only in the text that it has for debugging. Making that
 * costs something, so it is made only while a call is under way that must not be applied twice; but then by all
 * transfers, for any of them may be the one that reads what comes on a connection. */
static void listen_to(hsa_transfer *transfer)
{
  hsa_transport *transport = transfer->transport;

  curl_easy_setopt(transfer->easy, CURLOPT_VERBOSE, transport->base.is_https && transport->nonce > 0 ? 1L : 0L);
}

static void listen_to_all(hsa_transport *transport)
{
  hsa_transfer *transfer;

  for (transfer = transport->running; transfer; transfer = transfer->next)
    listen_to(transfer);
}

/* Takes the transfer out of the multi handle, if it is there. */
static void detach(hsa_transfer *transfer)
{
  hsa_transport *transport = transfer->transport;

  if (!transfer->link)
    return;
  curl_multi_remove_handle(transport->multi, transfer->easy);
  *transfer->link = transfer->next;
  if (transfer->next)
    transfer->next->link = transfer->link;
  transfer->link = NULL;
  transfer->next = NULL;
  transport->nonce -= transfer->attempt.once;
  if (transfer->attempt.once && transport->nonce == 0)
    listen_to_all(transport);
}

/* Puts the transfer into the multi handle. */
static bool attach(hsa_transfer *transfer)
{
  hsa_transport *transport = transfer->transport;

  transfer->next = transport->running;
  transfer->link = &transport->running;
  if (transfer->next)
    transfer->next->link = &transfer->next;
  transport->running = transfer;
  transport->nonce += transfer->attempt.once;
  if (transfer->attempt.once && transport->nonce == 1)
    listen_to_all(transport);
  else
    listen_to(transfer);
  if (curl_multi_add_handle(transport->multi, transfer->easy) == CURLM_OK)
    return true;
  detach(transfer);
  return false;
}

/* A multi handle in the place of the one before, whose connections are closed; false: no memory, and it stays. */
static bool open_multi(hsa_transport *transport)
{
  CURLM *multi = curl_multi_init();
  long connections = transport->config->max_connections;

  if (!multi || curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
      curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, transport) != CURLM_OK ||
      curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
      curl_multi_setopt(multi, CURLMOPT_TIMERDATA, transport) != CURLM_OK ||
      curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections) != CURLM_OK ||
      curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections) != CURLM_OK) {
    curl_multi_cleanup(multi);
    return false;
  }
  hsa_libcurl_forget_lookups(multi);
  curl_multi_cleanup(transport->multi); /* it still calls on_socket and on_close_socket */
  transport->multi = multi;
  transport->timer_at = INT64_MAX;
  transport->broken = NULL;
  return true;
}

/* ---- room ---- */

/* Whether it has started and not ended, for the transport's count. */
static void count(hsa_transfer *transfer, bool is_started)
{
  transfer->transport->nstarted += (int)is_started - (int)transfer->is_started;
  transfer->is_started = is_started;
  hsa_transfer_waits(transfer, is_started);
}

/* Over HTTP/1.1 there are as many as there may be connections. Over HTTP/2 some may wait to leave: when they have,
 * they have found a stream. Before the first answer nobody knows which it is. */
bool hsa_transport_has_room(const hsa_transport *transport, int expected)
{
  int most = transport->config->max_connections;

  if (!transport->base.is_https || transport->is_http1)
    return transport->nstarted + expected < most;
  return transport->nwaiting + expected < (most > FEW_STREAMS ? most : FEW_STREAMS);
}

/* ---- errands ---- */

static void note(hsa_transfer *transfer, errand errand)
{
  hsa_transport *transport = transfer->transport;

  if (transfer->errand == ERRAND_NONE) {
    transfer->next_errand = NULL;
    *transport->errands_tail = transfer;
    transport->errands_tail = &transfer->next_errand;
  }
  transfer->errand = errand;
}

hsa_status hsa_transport_start(hsa_transport *transport, const hsa_attempt *attempt, hsa_transfer **out)
{
  hsa_transfer *transfer = transport->idle;

  if (transfer)
    transport->idle = transfer->next;
  else
    transfer = hsa_transfer_create(transport);
  if (!transfer)
    return HSA_NOMEM;
  hsa_transfer_begin(transfer, attempt);
  count(transfer, true);
  note(transfer, ERRAND_START);
  *out = transfer;
  return HSA_OK;
}

void hsa_transfer_time_out(hsa_transfer *transfer)
{
  if (transfer->has_ended)
    return;
  note(transfer, ERRAND_TIME_OUT);
  transfer->transport->is_late = true;
}

/* Keeps the transfer for the next attempt. */
static void keep(hsa_transfer *transfer)
{
  hsa_transport *transport = transfer->transport;

  hsa_buf_free(&transfer->result.body);
  transfer->next = transport->idle;
  transport->idle = transfer;
}

/* Takes the transfer out of those that have ended, if it is there. */
static void leave_ended(hsa_transfer *transfer)
{
  hsa_transport *transport = transfer->transport;
  hsa_transfer **at = &transport->ended;

  if (!transfer->has_ended)
    return;
  transfer->has_ended = false;
  while (*at != transfer)
    at = &(*at)->next;
  *at = transfer->next;
  if (!transfer->next)
    transport->ended_tail = at;
}

void hsa_transfer_release(hsa_transfer *transfer)
{
  leave_ended(transfer);
  if (transfer->link || transfer->errand || transfer->is_spoiled)
    note(transfer, ERRAND_DROP);
  else
    keep(transfer);
}

/* Where a call of libcurl fails, libcurl may not be called for these transfers again. */
static void check(hsa_transport *transport, CURLMcode code)
{
  if (code != CURLM_OK && !transport->broken)
    transport->broken = code == CURLM_OUT_OF_MEMORY ? "memory ran out" : curl_multi_strerror(code);
}

/* Calls libcurl for a socket, or for its timers. */
static void act_on(hsa_transport *transport, int fd, int events)
{
  int n;

  check(transport, curl_multi_socket_action(transport->multi, fd, events, &n));
}

/* When the first of a host's addresses does not answer, libcurl tries the next one not before it is called for
 * another reason: it sets no timer, and waits for no socket meanwhile. So while a connection is being opened, all
 * are looked at now and then. */
static void look_at_opening(hsa_transport *transport)
{
  int64_t now = hsa_now();
  int n;

  if (transport->broken || now < transport->look_at || transport->nopening == 0)
    return;
  transport->look_at = now + LOOK_INTERVAL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* since 2008; there is no other for one transfer or all */
  check(transport, curl_multi_socket_all(transport->multi, &n));
#pragma GCC diagnostic pop
}

/* Only sockets that are ready are looked at: curl_multi_perform would look at all transfers. Returns whether there was
 * anything to do. */
static bool act(hsa_transport *transport)
{
  bool any = false;
  short events = 0;
  int fd;

  while (!transport->broken && (fd = hsa_sockets_next(&transport->sockets, &events)) >= 0) {
    any = true;
    if (events & POLLIN)
      hsa_connection_came(transport, fd);
    act_on(transport, fd, (events & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) |
                            (events & POLLOUT ? CURL_CSELECT_OUT : 0) |
                            (events & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0));
  }
  if (!transport->broken && transport->timer_at <= hsa_now()) {
    any = true;
    transport->timer_at = INT64_MAX;
    act_on(transport, CURL_SOCKET_TIMEOUT, 0);
  }
  look_at_opening(transport);
  return any;
}

/* ---- transfers that have ended ---- */

/* Did a connection that was kept die before any answer, as if by chance in the moment of its use? */
static bool has_died(const hsa_transfer *transfer, CURLcode code)
{
  return transfer->is_reused && transfer->header_bytes == 0 &&
         (code == CURLE_GOT_NOTHING || code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_HTTP2 ||
          code == CURLE_ABORTED_BY_CALLBACK);
}

/* Has the server said that it did not process the request? libcurl sends what was refused up to five times more. */
static bool has_been_refused(const hsa_transfer *transfer)
{
  return hsa_connection_has_refused(transfer) ||
         (transfer->transport->tells_refusals && strstr(transfer->error, "Connection died, tried"));
}

/* Refusals are free while the server answers others meanwhile. */
static bool is_refused_in_vain(hsa_transfer *transfer)
{
  transfer->fruitless = transfer->answers == transfer->transport->answers ? transfer->fruitless + 1 : 0;
  transfer->answers = transfer->transport->answers;
  return transfer->fruitless > MAX_FRUITLESS;
}

/* Is the attempt to go on, on another connection, because the server has not looked at it on this one? */
static bool goes_on(hsa_transfer *transfer)
{
  if (hsa_now() >= transfer->run_out_at)
    return false;
  if (transfer->end == RUN_END_REFUSED)
    return !is_refused_in_vain(transfer);
  return transfer->end == RUN_END_UNFIT && transfer->is_reused;
}

/* Has the transfer run again; false: it cannot. */
static bool run_again(hsa_transfer *transfer)
{
  hsa_transfer_meter(transfer);
  hsa_transfer_waits(transfer, true);
  return hsa_transfer_renew(transfer) && attach(transfer);
}

static void end(hsa_transfer *transfer, CURLcode code)
{
  hsa_transport *transport = transfer->transport;

  detach(transfer);
  count(transfer, false);
  hsa_connection_learn(transfer, code);
  hsa_transfer_meter(transfer);
  hsa_transfer_conclude(transfer, code);
  transfer->result.died = transfer->result.sent && has_died(transfer, code);
  transfer->is_spoiled = transfer->is_spoiled || code != CURLE_OK;
  transport->answers += transfer->result.http_status > 0;
  if (code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY)
    transport->looks_up_anew = true;
  else if (transfer->result.sent)
    transport->looks_up_anew = false;
  transfer->next = NULL;
  transfer->has_ended = true;
  *transport->ended_tail = transfer;
  transport->ended_tail = &transfer->next;
}

static void drop(hsa_transfer *transfer)
{
  detach(transfer);
  count(transfer, false);
  if (transfer->is_spoiled)
    hsa_transfer_destroy(transfer);
  else
    keep(transfer);
}

/* A multi handle that is broken is replaced when nothing runs in it. */
static bool can_start(hsa_transport *transport)
{
  return !transport->broken || (!transport->running && open_multi(transport));
}

static void time_out(hsa_transfer *transfer)
{
  if (transfer->has_ended)
    return; /* meanwhile */
  snprintf(transfer->error, sizeof transfer->error, "%s within %.3g s",
           !transfer->result.sent         ? "the request could not be sent"
           : transfer->header_bytes == 0 ? "no answer came"
                                          : "the answer did not come to its end",
           (double)transfer->attempt.timeout / (double)HSA_SECOND);
  end(transfer, CURLE_OPERATION_TIMEDOUT);
}

static void run_errand(hsa_transfer *transfer, errand errand)
{
  if (errand == ERRAND_DROP)
    drop(transfer);
  else if (errand == ERRAND_TIME_OUT)
    time_out(transfer);
  else if (!can_start(transfer->transport) || !hsa_transfer_prepare(transfer) || !attach(transfer))
    end(transfer, CURLE_OUT_OF_MEMORY);
}

static void settle(hsa_transport *transport)
{
  while (transport->errands) {
    hsa_transfer *transfer = transport->errands;
    errand errand = transfer->errand;

    transport->errands = transfer->next_errand;
    if (!transport->errands)
      transport->errands_tail = &transport->errands;
    transfer->errand = ERRAND_NONE;
    run_errand(transfer, errand);
  }
}

void hsa_transport_settle(hsa_transport *transport)
{
  hsa_libcurl_enter();
  settle(transport);
  hsa_libcurl_leave();
}

bool hsa_transport_is_unsettled(const hsa_transport *transport)
{
  return transport->errands != NULL;
}

/* The multi handle cannot go on: neither can all that it runs. */
static void end_all(hsa_transport *transport)
{
  hsa_transfer *transfer;

  while ((transfer = transport->running) != NULL) {
    snprintf(transfer->error, sizeof transfer->error, "libcurl could not go on: %s", transport->broken);
    end(transfer, CURLE_FAILED_INIT);
  }
  open_multi(transport);
}

/* Takes in what libcurl has done with. */
static void end_done(hsa_transport *transport)
{
  hsa_transfer *transfer = NULL;
  CURLMsg *message;
  int n;

  while ((message = curl_multi_info_read(transport->multi, &n)) != NULL) {
    CURLcode code = message->data.result;

    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
    detach(transfer);
    if (code == CURLE_OK && transfer->header_bytes == 0)
      code = CURLE_GOT_NOTHING; /* its connection is gone, and libcurl had thought of resending it */
    if (transfer->end == RUN_END_LATE)
      code = CURLE_OPERATION_TIMEDOUT;
    if (code != CURLE_OK && has_been_refused(transfer))
      transfer->end = RUN_END_REFUSED;
    if (goes_on(transfer) && run_again(transfer))
      continue;
    end(transfer, code);
  }
}

/* Some transfer's time is up. That may be so because nobody has looked for long: the process was stopped, or its host
 * had something else to do. So an answer that is there is read first. */
static void catch_up(hsa_transport *transport)
{
  int looks = 0;

  transport->is_late = false;
  do
    hsa_sockets_wait(&transport->sockets, 0);
  while (act(transport) && ++looks < MOST_LOOKS);
  end_done(transport);
}

void hsa_transport_perform(hsa_transport *transport)
{
  hsa_libcurl_enter();
  if (transport->is_late)
    catch_up(transport);
  settle(transport);
  act(transport);
  end_done(transport);
  if (transport->broken)
    end_all(transport);
  hsa_libcurl_leave();
}

void hsa_transport_wait(hsa_transport *transport, int64_t timeout)
{
  int64_t now = hsa_now(), left = transport->timer_at - now, ms;

  if (transport->look_at - now < left && transport->nopening > 0)
    left = transport->look_at - now;
  if (transport->broken && transport->running)
    left = 0;
  if (left < timeout)
    timeout = left > 0 ? left : 0;
  ms = timeout / 1000 + (timeout % 1000 > 0);
  hsa_sockets_wait(&transport->sockets, ms > INT_MAX ? INT_MAX : (int)ms);
}

void hsa_transport_wake(hsa_transport *transport)
{
  hsa_sockets_wake(&transport->sockets);
}

hsa_transfer *hsa_transport_ended(hsa_transport *transport)
{
  hsa_transfer *transfer = transport->ended;

  if (transfer)
    leave_ended(transfer);
  return transfer;
}

/* ---- transports ---- */

hsa_status hsa_transport_new(const hsa_config *config, hsa_transport **out)
{
  hsa_transport *transport = hsa_libcurl_is_ready() ? calloc(1, sizeof *transport) : NULL;
  hsa_status status;

  if (!transport)
    return HSA_NOMEM;
  transport->config = config;
  transport->ended_tail = &transport->ended;
  transport->errands_tail = &transport->errands;
  status = hsa_sockets_init(&transport->sockets);
  if (status != HSA_OK || !hsa_trust_read(&transport->trust, config->ca_file) ||
      hsa_base_url_read(config->base_url, true, &transport->base)) {
    hsa_transport_free(transport);
    return status != HSA_OK ? status : HSA_NOMEM;
  }
  errno = 0; /* newer versions of libcurl need a descriptor or two for a multi handle, and say so by errno alone */
  if (!open_multi(transport)) {
    status = hsa_sockets_why_not();
    hsa_transport_free(transport);
    return status;
  }
  *out = transport;
  return HSA_OK;
}

static void destroy_all(hsa_transfer *list)
{
  while (list) {
    hsa_transfer *next = list->next;

    detach(list);
    hsa_transfer_destroy(list);
    list = next;
  }
}

void hsa_transport_free(hsa_transport *transport)
{
  if (!transport)
    return;
  hsa_libcurl_enter();
  settle(transport);
  destroy_all(transport->ended);
  destroy_all(transport->idle);
  curl_multi_cleanup(transport->multi); /* it still calls on_socket and on_close_socket */
  hsa_libcurl_leave();
  hsa_connection_free_all(transport);
  hsa_sockets_free(&transport->sockets);
  hsa_trust_free(&transport->trust);
  free(transport);
}

void hsa_transport_abandon(hsa_transport *transport)
{
  hsa_sockets_free(&transport->sockets); /* they stay open, but for our pipe */
  transport->next = atomic_load(&abandoned);
  while (!atomic_compare_exchange_weak(&abandoned, &transport->next, transport))
    ;
}

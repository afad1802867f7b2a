/* multi.c - all transfers of an engine in one libcurl multi handle, and the sockets that it waits for. */
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "handles.h"

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
  return hsa_sockets_watch(&transport->sockets, fd, events) == HSA_OK ? 0 : -1;
}

static int on_timer(CURLM *multi, long ms, void *data)
{
  hsa_transport *transport = data;

  (void)multi;
  transport->timer_at = ms < 0 ? INT64_MAX : hsa_now() + (int64_t)ms * 1000;
  return 0;
}
/* ---- transfers ---- */

hsa_status hsa_transport_start(hsa_transport *transport, const hsa_attempt *attempt, hsa_transfer **out)
{
  hsa_transfer *transfer = transport->idle;

  if (transfer)
    transport->idle = transfer->next;
  else
    transfer = hsa_transfer_create(transport);
  if (!transfer)
    return HSA_NOMEM;
  if (!hsa_transfer_prepare(transfer, attempt) || curl_multi_add_handle(transport->multi, transfer->easy) != CURLM_OK) {
    hsa_transfer_destroy(transfer);
    return HSA_NOMEM;
  }
  transfer->is_running = true;
  *out = transfer;
  return HSA_OK;
}

/* Takes the transfer out of the multi handle. */
static void detach(hsa_transfer *transfer)
{
  if (transfer->is_running)
    curl_multi_remove_handle(transfer->transport->multi, transfer->easy);
  transfer->is_running = false;
}
/* Only sockets that are ready are looked at: curl_multi_perform would look at all transfers. */
static void act(hsa_transport *transport)
{
  short events = 0;
  int fd, n;

  while ((fd = hsa_sockets_next(&transport->sockets, &events)) >= 0)
    curl_multi_socket_action(transport->multi, fd,
                             (events & (POLLIN | POLLHUP) ? CURL_CSELECT_IN : 0) |
                               (events & POLLOUT ? CURL_CSELECT_OUT : 0) |
                               (events & (POLLERR | POLLNVAL) ? CURL_CSELECT_ERR : 0), &n);
  if (transport->timer_at <= hsa_now()) {
    transport->timer_at = INT64_MAX;
    curl_multi_socket_action(transport->multi, CURL_SOCKET_TIMEOUT, 0, &n);
  }
}

void hsa_transport_perform(hsa_transport *transport)
{
  hsa_transfer *transfer = NULL;
  CURLMsg *message;
  int n;

  act(transport);
  while ((message = curl_multi_info_read(transport->multi, &n)) != NULL) {
    CURLcode code = message->data.result;

    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
    detach(transfer);
    hsa_transfer_conclude(transfer, code);
    transfer->next = NULL;
    *transport->ended_tail = transfer;
    transport->ended_tail = &transfer->next;
  }
}

void hsa_transport_wait(hsa_transport *transport, int64_t timeout)
{
  int64_t left = transport->timer_at - hsa_now(), ms;

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

  if (transfer) {
    transport->ended = transfer->next;
    if (!transport->ended)
      transport->ended_tail = &transport->ended;
  }
  return transfer;
}

void hsa_transfer_time_out(hsa_transfer *transfer)
{
  detach(transfer);
  hsa_transfer_conclude(transfer, CURLE_OPERATION_TIMEDOUT);
}

void hsa_transfer_release(hsa_transfer *transfer)
{
  hsa_transport *transport = transfer->transport;

  detach(transfer);
  hsa_buf_free(&transfer->result.body);
  transfer->next = transport->idle;
  transport->idle = transfer;
}

/* ---- transports ---- */

hsa_status hsa_transport_new(const hsa_config *config, hsa_transport **out)
{
  hsa_transport *transport = hsa_libcurl_is_ready() ? calloc(1, sizeof *transport) : NULL;
  long connections = config->max_connections;

  if (!transport)
    return HSA_NOMEM;
  transport->config = config;
  transport->ended_tail = &transport->ended;
  transport->timer_at = INT64_MAX;
  transport->multi = curl_multi_init();
  if (hsa_sockets_init(&transport->sockets) != HSA_OK || !transport->multi ||
      curl_multi_setopt(transport->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
      curl_multi_setopt(transport->multi, CURLMOPT_SOCKETDATA, transport) != CURLM_OK ||
      curl_multi_setopt(transport->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
      curl_multi_setopt(transport->multi, CURLMOPT_TIMERDATA, transport) != CURLM_OK ||
      hsa_base_url_read(config->base_url, true, &transport->base) ||
      curl_multi_setopt(transport->multi, CURLMOPT_MAXCONNECTS, connections) != CURLM_OK ||
      curl_multi_setopt(transport->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections) != CURLM_OK) {
    hsa_transport_free(transport);
    return HSA_NOMEM;
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
  destroy_all(transport->ended);
  destroy_all(transport->idle);
  curl_multi_cleanup(transport->multi); /* it still calls on_socket and on_close_socket */
  hsa_sockets_free(&transport->sockets);
  free(transport);
}

void hsa_transport_abandon(hsa_transport *transport)
{
  hsa_sockets_free(&transport->sockets); /* they stay open, but for our pipe */
  transport->next = atomic_load(&abandoned);
  while (!atomic_compare_exchange_weak(&abandoned, &transport->next, transport))
    ;
}

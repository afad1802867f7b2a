#include "transport.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "sockets.h"

#if LIBCURL_VERSION_NUM < 0x075000
#error "libcurl 7.80 or newer is needed (CURLOPT_PREREQFUNCTION)"
#endif

#define MAX_HEADER_BYTES (64 * 1024)
#define MAX_CONNECTION_AGE 600L /* s: a load balancer's new addresses are found in time */

/* Which headers a request has. Only for a body that long does libcurl send Expect, which is then
 * switched off: it costs a wait where a server does not know it. */
typedef enum header_set { HEADERS_NO_BODY, HEADERS_BODY, HEADERS_LARGE_BODY } header_set;
#define LARGE_BODY (1000 * 1000)

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
  bool too_large;
  size_t header_bytes;
  hsa_result result;
  char error[CURL_ERROR_SIZE];
};

typedef struct base_url {
  bool is_https, is_loopback;
  char *host; /* from libcurl: curl_free */
} base_url;

struct hsa_transport {
  CURLM *multi;
  hsa_sockets sockets; /* those that libcurl waits for */
  int64_t timer_at;    /* when libcurl wants to be called in any case */
  const hsa_config *config;
  base_url base;
  hsa_transfer *idle;                      /* kept with their settings for the next attempt */
  hsa_transfer *ended, **ended_tail;       /* in the order in which they ended */
  hsa_transport *next;                     /* in abandoned */
};

/* Transports of a parent process: kept reachable, never used. */
static _Atomic(hsa_transport *) abandoned;

/* ---- libcurl once per process ---- */

static pthread_once_t init_once = PTHREAD_ONCE_INIT;
static CURLcode init_result;

static void init(void)
{
  init_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool libcurl_is_ready(void)
{
  return pthread_once(&init_once, init) == 0 && init_result == CURLE_OK;
}

const char *hsa_transport_version(void)
{
  static char text[32];
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

  pthread_mutex_lock(&lock);
  if (!text[0])
    snprintf(text, sizeof text, "libcurl/%s", curl_version_info(CURLVERSION_NOW)->version);
  pthread_mutex_unlock(&lock);
  return text;
}

int64_t hsa_transport_date(const char *date)
{
  return (int64_t)curl_getdate(date, NULL);
}

/* ---- base URL ---- */

static bool is_loopback_host(const char *host)
{
  struct in_addr v4;

  if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
    return true;
  return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

static bool has_part(CURLU *url, CURLUPart part)
{
  char *text = NULL;
  bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK;

  curl_free(text);
  return has;
}

static const char *check_parts(CURLU *url, const char *text, bool allow_http, base_url *base)
{
  char *scheme = NULL;
  const char *problem = NULL;

  if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK ||
      curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
      curl_url_get(url, CURLUPART_HOST, &base->host, 0) != CURLUE_OK)
    problem = "must be a URL such as https://api.hubapi.com";
  else {
    base->is_https = strcasecmp(scheme, "https") == 0;
    base->is_loopback = is_loopback_host(base->host);
    if (!base->is_https && strcasecmp(scheme, "http") != 0)
      problem = "must begin with https://";
    else if (!base->is_https && !base->is_loopback && !allow_http)
      problem = "must begin with https:// (http:// is for this machine only, or with allow_http = true)";
    else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD) || has_part(url, CURLUPART_QUERY) ||
             has_part(url, CURLUPART_FRAGMENT) || strpbrk(text, "?#"))
      problem = "must have no user, password, query or fragment";
  }
  curl_free(scheme);
  return problem;
}

/* Fills *base, whose host is to be freed in any case. */
static const char *read_base_url(const char *text, bool allow_http, base_url *base)
{
  const char *problem = hsa_check_header_value(text, strlen(text));
  CURLU *url;

  if (problem)
    return problem;
  url = curl_url();
  if (!url)
    return "could not be read: out of memory";
  problem = check_parts(url, text, allow_http, base);
  curl_url_cleanup(url);
  return problem;
}

const char *hsa_check_base_url(const char *text, bool allow_http)
{
  base_url base = {.host = NULL};
  const char *problem = read_base_url(text, allow_http, &base);

  curl_free(base.host);
  return problem;
}

/* ---- callbacks: they fill the transfer's result and nothing else ---- */

/* Called right before the request is sent, and again if libcurl is about to send it anew on another
 * connection because a reused one died before any reply. */
static int on_prereq(void *data, char *to_ip, char *from_ip, int to_port, int from_port)
{
  hsa_transfer *transfer = data;

  (void)to_ip;
  (void)from_ip;
  (void)to_port;
  (void)from_port;
  if (transfer->result.sent && transfer->once)
    return CURL_PREREQFUNC_ABORT;
  if (!transfer->result.sent)
    transfer->result.sent_at = hsa_now();
  transfer->result.sent = true;
  return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *line, size_t size, size_t n, void *data)
{
  hsa_transfer *transfer = data;
  size_t len = size * n;

  transfer->header_bytes += len;
  if (transfer->header_bytes > MAX_HEADER_BYTES) {
    transfer->too_large = true;
    return 0;
  }
  if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
    hsa_headers_reset(&transfer->result.headers);
  else
    hsa_headers_add(&transfer->result.headers, line, len);
  return len;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
  hsa_transfer *transfer = data;
  hsa_status status = hsa_buf_add(&transfer->result.body, bytes, size * n);

  if (status == HSA_OK)
    return size * n;
  transfer->too_large = status == HSA_TOOLARGE;
  return 0;
}

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

static curl_socket_t on_open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
  hsa_transport *transport = data;
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

  (void)purpose;
  hsa_sockets_keep(&transport->sockets, fd);
  return fd;
}

static int on_close_socket(void *data, curl_socket_t fd)
{
  hsa_transport *transport = data;

  hsa_sockets_forget(&transport->sockets, fd);
  return close(fd);
}

/* ---- transfers ---- */

#define SET(option, value) (ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK)

static bool set_protocol(CURL *easy, bool is_https)
{
#if LIBCURL_VERSION_NUM >= 0x075500
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, is_https ? "https" : "http") == CURLE_OK;
#else
  return curl_easy_setopt(easy, CURLOPT_PROTOCOLS, is_https ? (long)CURLPROTO_HTTPS : (long)CURLPROTO_HTTP) == CURLE_OK;
#endif
}

/* Loopback never goes through a proxy; a proxy that was asked for is used whatever no_proxy says. */
static bool set_proxy(CURL *easy, const hsa_transport *transport)
{
  const char *proxy = transport->base.is_loopback ? "" : transport->config->proxy;
  bool ok = true;

  if (proxy) {
    SET(CURLOPT_PROXY, proxy);
    SET(CURLOPT_NOPROXY, "");
  }
  return ok;
}

/* What is the same for every attempt. */
static bool set_up(hsa_transfer *transfer)
{
  const hsa_config *config = transfer->transport->config;
  CURL *easy = transfer->easy;
  bool ok = set_protocol(easy, transfer->transport->base.is_https) && set_proxy(easy, transfer->transport);

  SET(CURLOPT_PRIVATE, transfer);
  SET(CURLOPT_CURLU, transfer->url);
  SET(CURLOPT_ERRORBUFFER, transfer->error);
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_PREREQFUNCTION, on_prereq);
  SET(CURLOPT_PREREQDATA, transfer);
  SET(CURLOPT_HEADERFUNCTION, on_header);
  SET(CURLOPT_HEADERDATA, transfer);
  SET(CURLOPT_WRITEFUNCTION, on_body);
  SET(CURLOPT_WRITEDATA, transfer);
  SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  SET(CURLOPT_OPENSOCKETDATA, transfer->transport);
  SET(CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
  SET(CURLOPT_CLOSESOCKETDATA, transfer->transport);
  SET(CURLOPT_FOLLOWLOCATION, 0L);
  SET(CURLOPT_ACCEPT_ENCODING, "gzip");
  SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
  SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  SET(CURLOPT_PIPEWAIT, transfer->transport->base.is_https ? 1L : 0L); /* one HTTP/2 connection rather than many */
  SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(CURLOPT_MAXLIFETIME_CONN, MAX_CONNECTION_AGE);
  SET(CURLOPT_CONNECTTIMEOUT_MS, (long)((config->connect_timeout + 999) / 1000));
  if (config->ca_file)
    SET(CURLOPT_CAINFO, config->ca_file);
#if LIBCURL_VERSION_NUM >= 0x075700
  /* Do not wait for a hanging name lookup when a transfer ends. The module is linked with
   * -z nodelete, so that the lookup's thread never outlives the code it runs. */
  (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
  return ok;
}

static void destroy(hsa_transfer *transfer)
{
  curl_easy_cleanup(transfer->easy);
  curl_url_cleanup(transfer->url);
  free(transfer->url_text);
  curl_slist_free_all(transfer->headers);
  free(transfer->token);
  hsa_buf_free(&transfer->result.body);
  free(transfer);
}

static hsa_transfer *create(hsa_transport *transport)
{
  hsa_transfer *transfer = calloc(1, sizeof *transfer);

  if (!transfer)
    return NULL;
  transfer->transport = transport;
  transfer->easy = curl_easy_init();
  transfer->url = curl_url();
  if (!transfer->easy || !transfer->url || !set_up(transfer)) {
    destroy(transfer);
    return NULL;
  }
  return transfer;
}

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
  size_t size = strlen(name) + strlen(value) + 1;
  char *line = malloc(size);
  struct curl_slist *longer = NULL;

  if (line) {
    snprintf(line, size, "%s%s", name, value);
    longer = curl_slist_append(*list, line);
    free(line);
  }
  if (longer)
    *list = longer;
  return longer != NULL;
}

static header_set which_headers(const hsa_attempt *attempt)
{
  if (!attempt->body)
    return HEADERS_NO_BODY;
  return attempt->body_len < LARGE_BODY ? HEADERS_BODY : HEADERS_LARGE_BODY;
}

/* The header list changes with the token only: it is kept from attempt to attempt. */
static bool set_headers(hsa_transfer *transfer, const hsa_attempt *attempt)
{
  header_set which = which_headers(attempt);
  struct curl_slist *list = NULL;
  char *token;
  bool ok;

  if (transfer->token && strcmp(transfer->token, attempt->token) == 0 && transfer->which == which)
    return true;
  token = strdup(attempt->token);
  ok = token && add_header(&list, "User-Agent: ", transfer->transport->config->user_agent) &&
       add_header(&list, "Authorization: Bearer ", token) && add_header(&list, "Accept: ", "application/json") &&
       (which == HEADERS_NO_BODY ? add_header(&list, "Content-Type:", "") /* libcurl would say it is a form */
                                 : add_header(&list, "Content-Type: ", "application/json")) &&
       (which != HEADERS_LARGE_BODY || add_header(&list, "Expect:", "")) &&
       curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, list) == CURLE_OK;
  if (!ok) {
    curl_slist_free_all(list);
    free(token);
    return false;
  }
  curl_slist_free_all(transfer->headers);
  free(transfer->token);
  transfer->headers = list;
  transfer->token = token;
  transfer->which = which;
  return true;
}

/* A URL handle spares libcurl parsing the same URL for every call. */
static bool set_url(hsa_transfer *transfer, const char *text)
{
  char *copy;

  if (transfer->url_text && strcmp(transfer->url_text, text) == 0)
    return true;
  copy = strdup(text);
  free(transfer->url_text);
  transfer->url_text = copy;
  return copy && curl_url_set(transfer->url, CURLUPART_URL, text, CURLU_PATH_AS_IS) == CURLUE_OK &&
         /* makes libcurl before 8.0 notice that the handle has changed */
         curl_easy_setopt(transfer->easy, CURLOPT_URL, NULL) == CURLE_OK;
}

/* A POST or PUT without a body still says Content-Length: 0; some servers insist. */
static bool set_method(CURL *easy, const hsa_attempt *attempt)
{
  bool is_post = strcmp(attempt->method, "POST") == 0, is_get = strcmp(attempt->method, "GET") == 0;
  bool ok = true;

  if (is_post || strcmp(attempt->method, "PUT") == 0) {
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)attempt->body_len);
    SET(CURLOPT_POSTFIELDS, attempt->body ? attempt->body : "");
  } else
    SET(CURLOPT_HTTPGET, 1L);
  SET(CURLOPT_CUSTOMREQUEST, is_post || is_get ? NULL : attempt->method);
  return ok;
}

static bool set_attempt(hsa_transfer *transfer, const hsa_attempt *attempt)
{
  CURL *easy = transfer->easy;
  int64_t ms = (attempt->timeout + 999) / 1000;
  bool ok = set_url(transfer, attempt->url) && set_headers(transfer, attempt) && set_method(easy, attempt);

  SET(CURLOPT_TIMEOUT_MS, ms < 1 ? 1L : ms > LONG_MAX ? LONG_MAX : (long)ms);
  transfer->owner = attempt->owner;
  transfer->once = attempt->once;
  transfer->too_large = false;
  transfer->header_bytes = 0;
  transfer->error[0] = '\0';
  transfer->next = NULL;
  memset(&transfer->result, 0, offsetof(hsa_result, headers));
  hsa_headers_reset(&transfer->result.headers);
  transfer->result.detail[0] = '\0';
  transfer->result.retry_after = -1;
  hsa_buf_init(&transfer->result.body, transfer->transport->config->max_response_bytes);
  return ok;
}

hsa_status hsa_transport_start(hsa_transport *transport, const hsa_attempt *attempt, hsa_transfer **out)
{
  hsa_transfer *transfer = transport->idle;

  if (transfer)
    transport->idle = transfer->next;
  else
    transfer = create(transport);
  if (!transfer)
    return HSA_NOMEM;
  if (!set_attempt(transfer, attempt) || curl_multi_add_handle(transport->multi, transfer->easy) != CURLM_OK) {
    destroy(transfer);
    return HSA_NOMEM;
  }
  transfer->is_running = true;
  *out = transfer;
  return HSA_OK;
}

/* ---- results ---- */

static hsa_code code_of(CURLcode code)
{
  switch (code) {
  case CURLE_COULDNT_RESOLVE_HOST:
    return HSA_CODE_RESOLVE;
  case CURLE_COULDNT_CONNECT:
  case CURLE_INTERFACE_FAILED:
    return HSA_CODE_CONNECT;
  case CURLE_COULDNT_RESOLVE_PROXY:
  case CURLE_PROXY:
    return HSA_CODE_PROXY;
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_INVALIDCERTSTATUS:
  case CURLE_USE_SSL_FAILED:
    return HSA_CODE_TLS;
  case CURLE_SEND_ERROR:
    return HSA_CODE_SEND;
  case CURLE_RECV_ERROR:
  case CURLE_GOT_NOTHING:
  case CURLE_HTTP2:
  case CURLE_HTTP2_STREAM:
  case CURLE_ABORTED_BY_CALLBACK:
    return HSA_CODE_RECEIVE;
  default:
    return HSA_CODE_OTHER;
  }
}

/* Did it break on the way to the proxy, or at it, before anything reached HubSpot? libcurl tells by name
 * what it could not connect to. */
static bool is_proxy_failure(const hsa_transfer *transfer, CURLcode code)
{
  const hsa_transport *transport = transfer->transport;
  bool is_chosen = transport->config->proxy && *transport->config->proxy;
  const char *host = transport->base.host;
  size_t len = strlen(host);
  long connect_status = 0;

  if (host[0] == '[') { /* libcurl's messages have IPv6 addresses without */
    host++;
    len -= 2;
  }
  if (transfer->result.sent || transport->base.is_loopback || (code != CURLE_COULDNT_CONNECT && code != CURLE_RECV_ERROR &&
                                code != CURLE_SEND_ERROR && code != CURLE_GOT_NOTHING))
    return false;
  curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
  return is_chosen || connect_status ||
         (code == CURLE_COULDNT_CONNECT && transfer->error[0] && !memmem(transfer->error, strlen(transfer->error), host, len));
}

static hsa_kind kind_of(CURLcode code, bool sent)
{
  switch (code) {
  case CURLE_OPERATION_TIMEDOUT:
    return HSA_TIMEOUT;
  case CURLE_OUT_OF_MEMORY: /* also libcurl's word for a header line over 100 KB */
    return sent ? HSA_PROTOCOL : HSA_CONFIG;
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_URL_MALFORMAT:
    return HSA_CONFIG;
  case CURLE_WRITE_ERROR: /* on_header or on_body refused */
  case CURLE_PARTIAL_FILE:
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9, that is no HTTP at all */
  case CURLE_BAD_CONTENT_ENCODING:
    return HSA_PROTOCOL;
  default:
    return HSA_TRANSPORT;
  }
}

static void describe(hsa_transfer *transfer, CURLcode code)
{
  hsa_result *result = &transfer->result;
  const char *text = transfer->error[0] ? transfer->error : curl_easy_strerror(code);

  if (transfer->too_large)
    text = transfer->header_bytes > MAX_HEADER_BYTES ? "the response headers are larger than 64 KiB"
                                                     : "the response is larger than max_response_bytes";
  else if (strstr(text, "proxy") && strchr(text, '@'))
    text = "the proxy's URL cannot be used"; /* libcurl's text has its password */
  else if (code == CURLE_OUT_OF_MEMORY && result->sent)
    text = "a response header line is too long, or memory ran out";
  else if (code == CURLE_ABORTED_BY_CALLBACK)
    text = "the connection was closed before any answer came";
  snprintf(result->detail, sizeof result->detail, "%s", text);
}

bool hsa_mask(char *text, size_t len, const char *token)
{
  size_t n = strlen(token);
  bool found = false;
  char *at;

  while (len >= n && (at = memmem(text, len, token, n)) != NULL) {
    memset(at, '*', n);
    len -= (size_t)(at - text) + n;
    text = at + n;
    found = true;
  }
  return found;
}

static void conclude(hsa_transfer *transfer, CURLcode code)
{
  hsa_result *result = &transfer->result;
  long status = 0;

  if (result->sent)
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
  result->http_status = status >= 200 ? (int)status : 0;
  if (code != CURLE_OK)
    describe(transfer, code);
  if (result->http_status >= 400)
    result->kind = HSA_API; /* whatever became of the body */
  else if (code != CURLE_OK) {
    result->kind = kind_of(code, result->sent);
    if (result->kind == HSA_TRANSPORT)
      result->code = is_proxy_failure(transfer, code) ? HSA_CODE_PROXY : code_of(code);
    result->cut_short = code == CURLE_PARTIAL_FILE;
  } else
    result->kind = result->http_status / 100 == 2 ? HSA_SUCCESS : HSA_PROTOCOL;
  result->retry_after = hsa_headers_retry_after(&result->headers, hsa_wall_seconds(), hsa_transport_date);
  hsa_mask(result->headers.correlation_id, strlen(result->headers.correlation_id), transfer->token);
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
    conclude(transfer, code);
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

void *hsa_transfer_owner(const hsa_transfer *transfer)
{
  return transfer->owner;
}

void hsa_transfer_take(hsa_transfer *transfer, hsa_result *result)
{
  *result = transfer->result;
  hsa_buf_init(&transfer->result.body, 0);
}

void hsa_transfer_time_out(hsa_transfer *transfer)
{
  detach(transfer);
  conclude(transfer, CURLE_OPERATION_TIMEDOUT);
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
  hsa_transport *transport = libcurl_is_ready() ? calloc(1, sizeof *transport) : NULL;
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
      read_base_url(config->base_url, true, &transport->base) ||
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
    destroy(list);
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
  curl_free(transport->base.host);
  free(transport);
}

void hsa_transport_abandon(hsa_transport *transport)
{
  hsa_sockets_free(&transport->sockets); /* they stay open, but for our pipe */
  transport->next = atomic_load(&abandoned);
  while (!atomic_compare_exchange_weak(&abandoned, &transport->next, transport))
    ;
}

/* request.c - one HTTP attempt as a libcurl easy handle: its options, headers and callbacks. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "handles.h"

#define MAX_NAME_AGE 60L        /* s: libcurl's own */
#define MAX_CONNECTION_AGE 600L /* s: a load balancer's new addresses are found in time */
#define LARGE_BODY (1000 * 1000)
#define MAX_KEPT_RUNS 3 /* of an attempt; those after it are made on new connections */

/* ---- callbacks: they fill the transfer's result and nothing else ---- */

/* libcurl is about to send a second time what it has sent on a connection that brought no answer. Where it could be
 * told not to do so for a connection that died, the server has said that it did not process the request: it has refused
 * it, or wants it by HTTP/1.1. Elsewhere nobody knows, and the engine decides. */
static bool may_send_again(hsa_transfer *transfer)
{
  transfer->is_spoiled = true;
  if (!transfer->transport->tells_refusals)
    return false;
  /* A refusal leaves no text; of the other one libcurl 7.88 has another in the end. */
  if (!strstr(transfer->error, "HTTP_1_1_REQUIRED") && !strstr(transfer->error, "Empty reply"))
    return true;
  transfer->transport->wants_http1 = true;
  transfer->end = RUN_END_REFUSED; /* the next run is by HTTP/1.1; libcurl 8.11 would use HTTP/2 again, without end */
  return false;
}

void hsa_transfer_waits(hsa_transfer *transfer, bool is_waiting)
{
  transfer->transport->nwaiting += (int)is_waiting - (int)transfer->is_waiting;
  transfer->is_waiting = is_waiting;
}

/* Called right before the request is sent. */
static int on_prereq(void *data, char *to_ip, char *from_ip, int to_port, int from_port)
{
  hsa_transfer *transfer = data;
  hsa_transport *transport = transfer->transport;
  hsa_connection *connection = hsa_connection_at(transport, from_port);

  (void)to_ip;
  (void)from_ip;
  (void)to_port;
  if (transfer->result.sent && !may_send_again(transfer))
    return CURL_PREREQFUNC_ABORT;
  transfer->error[0] = '\0';
  hsa_connection_hold(transfer, connection);
  if (connection && !hsa_connection_is_fit(connection, transport->base.is_https)) {
    transfer->result.sent = false;
    transfer->end = RUN_END_UNFIT;
    curl_easy_setopt(transfer->easy, CURLOPT_FORBID_REUSE, 1L); /* closes it, also over HTTP/2 once nobody uses it */
    return CURL_PREREQFUNC_ABORT;
  }
  if (connection)
    hsa_connection_use(transport, connection);
  hsa_transfer_waits(transfer, false);
  transfer->result.sent_at = hsa_now();
  transfer->result.sent = true;
  return CURL_PREREQFUNC_OK;
}

/* What a proxy answers in place of a tunnel libcurl reads to its end, byte by byte. It looks at no time meanwhile, but
 * calls this. */
static int on_progress(void *data, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
  hsa_transfer *transfer = data;

  (void)down_all;
  (void)down;
  (void)up_all;
  (void)up;
  if (transfer->result.sent || hsa_now() < transfer->run_out_at)
    return 0;
  transfer->end = RUN_END_LATE;
  return 1;
}

/* Do the lines of a head go to on_body, too, and first? */
static bool show_head(hsa_transfer *transfer, bool is_shown)
{
  transfer->shows_head = is_shown;
  return curl_easy_setopt(transfer->easy, CURLOPT_HEADER, is_shown ? 1L : 0L) == CURLE_OK;
}

static size_t on_header(char *line, size_t size, size_t n, void *data)
{
  hsa_transfer *transfer = data;
  size_t len = size * n;

  transfer->header_bytes += len;
  if (transfer->header_bytes > HSA_MAX_HEADER_BYTES) {
    transfer->refused = HSA_TOOLARGE;
    return 0;
  }
  if (!hsa_head_add(&transfer->head, line, len))
    return 0;
  if (transfer->head.stage == HSA_HEAD_STATUS) {
    hsa_headers_reset(&transfer->result.headers);
    return len;
  }
  hsa_headers_add(&transfer->result.headers, line, len);
  if (transfer->shows_head && transfer->head.stage == HSA_HEAD_FIELDS)
    show_head(transfer, false); /* a folded line has one of this transfer to be added to from now on */
  return len;
}

/* A part of a line comes before on_header gets the line: 16 KiB of it, or its end. */
static bool take_shown(hsa_transfer *transfer, const char *bytes, size_t len)
{
  bool begins_line = !transfer->is_in_line;

  transfer->is_in_line = bytes[len - 1] != '\n';
  return !begins_line || hsa_head_expects(&transfer->head, *bytes);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
  hsa_transfer *transfer = data;
  size_t len = size * n;
  hsa_status status;

  if (len && transfer->shows_head && !hsa_head_has_ended(&transfer->head))
    return take_shown(transfer, bytes, len) ? len : 0;
  status = hsa_buf_add(&transfer->result.body, bytes, len);
  if (status == HSA_OK)
    return len;
  transfer->refused = status;
  transfer->result.too_large = status == HSA_TOOLARGE;
  return 0;
}

static curl_socket_t on_open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
  hsa_transport *transport = data;
  int fd = hsa_fd_keep_clear(socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol));

  (void)purpose;
  transport->lacks_files = fd < 0 && (errno == EMFILE || errno == ENFILE);
  if (fd < 0)
    return CURL_SOCKET_BAD;
  hsa_sockets_keep(&transport->sockets, fd);
  hsa_connection_opened(transport, fd);
  return fd;
}

static int on_close_socket(void *data, curl_socket_t fd)
{
  hsa_transport *transport = data;

  hsa_sockets_forget(&transport->sockets, fd);
  hsa_connection_closed(transport, fd);
  return close(fd);
}

/* ---- settings ---- */

#define SET(option, value) (ok = ok && curl_easy_setopt(easy, option, value) == CURLE_OK)

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

/* Where libcurl does not tell of refusals, what must be applied once goes over HTTP/1.1: there a server says in its
 * last answer that it will close. So does all else where libcurl cannot keep the versions apart. */
static long http_version(const hsa_transfer *transfer)
{
  const hsa_transport *transport = transfer->transport;
  bool needs_http1 = transport->wants_http1 || (transfer->attempt.once && !transport->tells_refusals);
  bool others_do = !transport->tells_refusals && !hsa_libcurl_mixes_versions();

  return needs_http1 || others_do || !hsa_libcurl_speaks_http2() ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS;
}

/* A libcurl that was built without HTTP/2 refuses its name. */
static bool set_http_version(const hsa_transfer *transfer)
{
  return curl_easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION, http_version(transfer)) == CURLE_OK ||
         curl_easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
}

/* What is the same for every attempt. */
static bool set_up(hsa_transfer *transfer)
{
  CURL *easy = transfer->easy;
  bool is_https = transfer->transport->base.is_https;
  bool ok = hsa_libcurl_set_protocol(easy, is_https) && (!is_https || hsa_libcurl_take_head(easy)) &&
            set_proxy(easy, transfer->transport) && hsa_trust_apply(&transfer->transport->trust, easy);

  free(transfer->url_text);
  transfer->url_text = NULL;
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
  if (is_https && !transfer->transport->base.is_loopback) { /* there may be a proxy, of the environment's, too */
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, transfer);
  }
  SET(CURLOPT_FOLLOWLOCATION, 0L);
  SET(CURLOPT_ACCEPT_ENCODING, "gzip"); /* the header is in set_headers: libcurl writes its own twice, byte by byte */
  SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  SET(CURLOPT_PIPEWAIT, is_https ? 1L : 0L); /* one HTTP/2 connection rather than many */
  SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(CURLOPT_MAXLIFETIME_CONN, MAX_CONNECTION_AGE);
  SET(CURLOPT_HTTPHEADER, transfer->headers);
  SET(CURLOPT_DEBUGFUNCTION, hsa_connection_listen);
  SET(CURLOPT_DEBUGDATA, transfer);
  transfer->transport->tells_refusals = hsa_libcurl_stop_resending(easy);
  hsa_libcurl_forget_lookup(easy);
  return ok;
}

void hsa_transfer_destroy(hsa_transfer *transfer)
{
  hsa_connection_hold(transfer, NULL);
  curl_easy_cleanup(transfer->easy);
  curl_url_cleanup(transfer->url);
  free(transfer->url_text);
  curl_slist_free_all(transfer->headers);
  free(transfer->token);
  free(transfer->more);
  hsa_buf_free(&transfer->result.body);
  free(transfer);
}

hsa_transfer *hsa_transfer_create(hsa_transport *transport)
{
  hsa_transfer *transfer = calloc(1, sizeof *transfer);

  if (!transfer)
    return NULL;
  transfer->transport = transport;
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
  if (attempt->is_form)
    return HEADERS_FORM;
  return attempt->body_len < LARGE_BODY ? HEADERS_BODY : HEADERS_LARGE_BODY;
}

static bool add_content_type(struct curl_slist **list, header_set which)
{
  if (which == HEADERS_NO_BODY)
    return add_header(list, "Content-Type:", ""); /* libcurl would say it is a form */
  return add_header(list, "Content-Type: ",
                    which == HEADERS_FORM ? "application/x-www-form-urlencoded" : "application/json");
}

/* Adds the headers in the lines: makes texts of them, one after the other. */
static bool add_lines(struct curl_slist **list, char *lines)
{
  bool ok = true;
  char *end;

  for (; ok && (end = strchr(lines, '\n')) != NULL; lines = end + 1) {
    *end = '\0';
    ok = add_header(list, lines, "");
    *end = '\n';
  }
  return ok;
}

/* Was the list of headers made for an attempt like this one? It changes with the token, as a rule. */
static bool has_headers_of(const hsa_transfer *transfer, const hsa_attempt *attempt, header_set which)
{
  return transfer->token && strcmp(transfer->token, attempt->token) == 0 && transfer->which == which &&
         strcmp(transfer->more, attempt->headers ? attempt->headers : "") == 0;
}

static bool set_headers(hsa_transfer *transfer, const hsa_attempt *attempt)
{
  header_set which = which_headers(attempt);
  struct curl_slist *list = NULL;
  char *token, *more;
  bool ok;

  if (has_headers_of(transfer, attempt, which))
    return true;
  token = strdup(attempt->token);
  more = strdup(attempt->headers ? attempt->headers : "");
  ok = token && more && add_header(&list, "User-Agent: ", transfer->transport->config->user_agent) &&
       (token[0] == '\0' || add_header(&list, "Authorization: Bearer ", token)) &&
       add_header(&list, "Accept: ", "application/json") && add_header(&list, "Accept-Encoding: ", "gzip") &&
       add_content_type(&list, which) &&
       (which != HEADERS_LARGE_BODY || add_header(&list, "Expect:", "")) && add_lines(&list, more) &&
       curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, list) == CURLE_OK;
  if (!ok) {
    curl_slist_free_all(list);
    free(token);
    free(more);
    return false;
  }
  curl_slist_free_all(transfer->headers);
  free(transfer->token);
  free(transfer->more);
  transfer->headers = list;
  transfer->token = token;
  transfer->more = more;
  transfer->which = which;
  return true;
}

/* A URL handle spares libcurl parsing the same URL for every call. */
static bool set_handle(hsa_transfer *transfer, const char *text)
{
  return curl_url_set(transfer->url, CURLUPART_URL, text, CURLU_PATH_AS_IS) == CURLUE_OK &&
         /* makes libcurl before 8.0 notice that the handle has changed */
         curl_easy_setopt(transfer->easy, CURLOPT_URL, NULL) == CURLE_OK;
}

/* libcurl encodes a URL's path for every request, byte by byte, though ours is encoded: a target it takes as it is. A
 * proxy that reads the request line wants the URL there; over TLS and to loopback there is none. */
static bool set_url(hsa_transfer *transfer, const char *text)
{
  const hsa_transport *transport = transfer->transport;
  bool gives_target = transport->base.is_https || transport->base.is_loopback, ok;

  if (transfer->url_text && strcmp(transfer->url_text, text) == 0)
    return true;
  ok = gives_target ? (transfer->url_text || set_handle(transfer, transport->config->base_url)) &&
                        curl_easy_setopt(transfer->easy, CURLOPT_REQUEST_TARGET,
                                         strchr(strstr(text, "://") + 3, '/')) == CURLE_OK
                    : set_handle(transfer, text);
  free(transfer->url_text);
  transfer->url_text = ok ? strdup(text) : NULL;
  return transfer->url_text != NULL;
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

/* Forgets an earlier run. */
static void clear(hsa_transfer *transfer)
{
  transfer->refused = HSA_OK;
  transfer->header_bytes = 0;
  transfer->is_in_line = false;
  hsa_head_reset(&transfer->head);
  transfer->error[0] = '\0';
  hsa_connection_hold(transfer, NULL);
  transfer->end = RUN_END_OTHER;
  memset(&transfer->result, 0, offsetof(hsa_result, headers));
  hsa_headers_reset(&transfer->result.headers);
  transfer->result.detail[0] = '\0';
  transfer->result.retry_after = -1;
  hsa_buf_init(&transfer->result.body, transfer->transport->config->max_response_bytes);
}

/* Sets up a run of transfer->attempt. */
static bool set_run(hsa_transfer *transfer)
{
  const hsa_attempt *attempt = &transfer->attempt;
  CURL *easy = transfer->easy;
  int64_t left = transfer->run_out_at - hsa_now(), to_connect = transfer->transport->config->connect_timeout;
  int64_t ms = (left < to_connect ? left : to_connect) / 1000;
  bool ok = set_url(transfer, attempt->url) && set_headers(transfer, attempt) && set_method(easy, attempt) &&
            set_http_version(transfer) &&
            (!hsa_libcurl_folds_into_freed_memory() || show_head(transfer, true)); /* where on_body can refuse it */

  /* An attempt's whole time is the engine's to watch: libcurl looks at the clock before it looks for an answer. */
  SET(CURLOPT_CONNECTTIMEOUT_MS, ms < 1 ? 1L : ms > LONG_MAX ? LONG_MAX : (long)ms);
  SET(CURLOPT_DNS_CACHE_TIMEOUT, transfer->transport->looks_up_anew ? 0L : MAX_NAME_AGE);
  clear(transfer);
  if (++transfer->runs > MAX_KEPT_RUNS) {
    SET(CURLOPT_FRESH_CONNECT, 1L);
    transfer->is_spoiled = true;
  }
  return ok;
}

void hsa_transfer_begin(hsa_transfer *transfer, const hsa_attempt *attempt)
{
  transfer->attempt = *attempt;
  transfer->run_out_at = hsa_now() + attempt->timeout;
  transfer->runs = attempt->runs;
  transfer->fruitless = 0;
  transfer->is_spoiled = false;
  transfer->traffic = (hsa_traffic){0};
  clear(transfer);
}

static bool make_handles(hsa_transfer *transfer)
{
  transfer->easy = curl_easy_init();
  transfer->url = curl_url();
  return transfer->easy && transfer->url && set_up(transfer);
}

bool hsa_transfer_prepare(hsa_transfer *transfer)
{
  return (transfer->easy || make_handles(transfer)) && set_run(transfer);
}

bool hsa_transfer_renew(hsa_transfer *transfer)
{
  hsa_buf_free(&transfer->result.body);
  curl_easy_cleanup(transfer->easy); /* it counts what it has resent, and remembers refusals */
  transfer->easy = curl_easy_init();
  return transfer->easy && set_up(transfer) && set_run(transfer);
}

/* ---- what the engine sees of a transfer ---- */

bool hsa_transfer_is_sent(const hsa_transfer *transfer)
{
  return transfer->result.sent;
}

void *hsa_transfer_owner(const hsa_transfer *transfer)
{
  return transfer->attempt.owner;
}

void hsa_transfer_move_result(hsa_transfer *transfer, hsa_result *result)
{
  *result = transfer->result;
  hsa_buf_init(&transfer->result.body, 0);
}

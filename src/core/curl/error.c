/* error.c - what a transfer ended with: the kind, the code and the text of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "handles.h"

enum { SWITCHING = 101 }; /* the one status below 200 that ends a response */
enum { TOO_LARGE = 100 };        /* CURLE_TOO_LARGE of libcurl 8.6 */
enum { LONG_LINE = 100 * 1024 }; /* what libcurl takes of a header line */

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
  long connect_status = 0;

  if (transfer->result.sent || transport->base.is_loopback)
    return false;
  switch ((int)code) {
  case CURLE_COULDNT_CONNECT:
  case CURLE_RECV_ERROR:
  case CURLE_SEND_ERROR:
  case CURLE_GOT_NOTHING:
  case CURLE_WEIRD_SERVER_REPLY: /* these three: what it says is no HTTP */
  case CURLE_BAD_FUNCTION_ARGUMENT:
  case TOO_LARGE:
    curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
    return is_chosen || connect_status ||
           (code == CURLE_COULDNT_CONNECT && transfer->error[0] && !strcasestr(transfer->error, host));
  default:
    return false;
  }
}

/* Is it, most likely, a header line that is longer than libcurl takes? Before 8.6 it says of that, too, that memory ran
 * out: then it is one if memory can be had. */
static bool is_long_line(const hsa_transfer *transfer, CURLcode code)
{
  void *volatile probe;

  if (!transfer->result.sent || hsa_head_has_ended(&transfer->head))
    return false;
  if (code != CURLE_OUT_OF_MEMORY)
    return (int)code == TOO_LARGE;
  probe = malloc(LONG_LINE);
  free(probe);
  return probe != NULL;
}

/* Did it fail because no socket could be opened? */
static bool lacks_files(const hsa_transfer *transfer, CURLcode code)
{
  return code == CURLE_COULDNT_CONNECT && !transfer->result.sent && transfer->transport->lacks_files;
}

static hsa_kind kind_of(const hsa_transfer *transfer, CURLcode code)
{
  bool sent = transfer->result.sent; /* before, nobody but a proxy can have answered */

  if (transfer->head.problem || transfer->refused == HSA_TOOLARGE)
    return HSA_PROTOCOL;
  if (lacks_files(transfer, code))
    return HSA_CONFIG;
  if (transfer->refused == HSA_NOMEM)
    return HSA_CONFIG;
  switch ((int)code) {
  case CURLE_OPERATION_TIMEDOUT:
    return HSA_TIMEOUT;
  case CURLE_OUT_OF_MEMORY:
    return is_long_line(transfer, code) ? HSA_PROTOCOL : HSA_CONFIG;
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_URL_MALFORMAT:
    return HSA_CONFIG;
  case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9, that is no HTTP at all; or this libcurl knows no https */
    return sent ? HSA_PROTOCOL : HSA_CONFIG;
  case CURLE_RECV_ERROR: /* also a body in malformed chunks, in all versions with this word */
    return sent && strstr(transfer->error, "chunk") ? HSA_PROTOCOL : HSA_TRANSPORT;
  case CURLE_WRITE_ERROR: /* on_header or on_body refused */
  case CURLE_PARTIAL_FILE:
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_BAD_FUNCTION_ARGUMENT: /* a header line that libcurl cannot keep */
  case CURLE_BAD_CONTENT_ENCODING:
  case TOO_LARGE:
    return sent ? HSA_PROTOCOL : HSA_TRANSPORT;
  default:
    return HSA_TRANSPORT;
  }
}

static const char *text_of(const hsa_transfer *transfer, CURLcode code)
{
  return transfer->error[0] ? transfer->error : curl_easy_strerror(code);
}

static void describe(hsa_transfer *transfer, CURLcode code)
{
  hsa_result *result = &transfer->result;
  const char *text = text_of(transfer, code);

  if (transfer->head.problem)
    text = transfer->head.problem;
  else if (transfer->refused == HSA_TOOLARGE)
    text = result->too_large ? "the response is larger than max_response_bytes"
                             : "the response headers are larger than 64 KiB";
  else if (lacks_files(transfer, code))
    text = HSA_NOFILES_TEXT;
  else if (transfer->refused == HSA_NOMEM)
    text = "memory ran out while the response was read";
  else if (strstr(text, "proxy") && strchr(text, '@'))
    text = "the proxy's URL cannot be used"; /* libcurl's text has its password */
  else if (transfer->end == RUN_END_UNFIT)
    text = "the connection was closed, or the server wrote to it, before the request was sent";
  else if (transfer->end == RUN_END_LATE)
    text = "the time was up before the request was sent: the proxy or the server talked on and on";
  else if (transfer->end == RUN_END_REFUSED)
    text = "the server refused the request again and again, and processed none";
  else if (code == CURLE_WRITE_ERROR && transfer->head.is_encoded)
    text = "the response's gzip is followed by something else";
  else if (code == CURLE_BAD_FUNCTION_ARGUMENT && result->sent)
    text = "libcurl cannot read a response header line";
  else if ((int)code == TOO_LARGE && !transfer->error[0])
    text = "a response header line is longer than the 100 KB that libcurl takes";
  else if (is_long_line(transfer, code) && code == CURLE_OUT_OF_MEMORY)
    text = "memory ran out in libcurl, which before 8.6 says so of a response header line of over 100 KB too";
  else if (code == CURLE_OUT_OF_MEMORY)
    text = "memory ran out in libcurl";
  else if (code == CURLE_ABORTED_BY_CALLBACK)
    text = "the connection was closed before any answer came";
  snprintf(result->detail, sizeof result->detail, "%s", text);
}

/* Has a body come of which nothing is left when it is decompressed? libcurl takes one that is cut off for whole. */
static bool is_lost(const hsa_transfer *transfer)
{
  curl_off_t received = 0;

  if (!transfer->head.is_encoded || transfer->result.body.len)
    return false;
  curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &received);
  return received > 0;
}

/* Why what libcurl takes for a whole answer is no success; NULL: it is one, by its status. */
static const char *find_fault(const hsa_transfer *transfer, int status)
{
  switch (status) {
  case 301:
  case 302:
  case 303:
  case 307:
  case 308:
    return "redirects are not followed; is base_url right?";
  default:
    if (status >= 300)
      return "the API never answers with this status; is base_url right?";
    return is_lost(transfer) ? "the response's body is compressed, and nothing of it is left; it may be cut off" : NULL;
  }
}

#define WANTS_PASSWORD "the proxy wants a user and password (407): they go into its URL"

/* A proxy has refused: will it do so again? */
static void judge_proxy(hsa_transfer *transfer, CURLcode code)
{
  hsa_result *result = &transfer->result;
  long status = 0, why = CURLPX_OK;

  curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &status);
  if (code == CURLE_PROXY)
    curl_easy_getinfo(transfer->easy, CURLINFO_PROXY_ERROR, &why);
  result->is_permanent = (status / 100 == 4 && status != 408 && status != 425 && status != 429) ||
                         why == CURLPX_USER_REJECTED || why == CURLPX_NO_AUTH;
  if (status == 407)
    snprintf(result->detail, sizeof result->detail, WANTS_PASSWORD);
}

static void judge_handshake(hsa_transfer *transfer, CURLcode code)
{
  hsa_result *result = &transfer->result;
  const hsa_trust *trust = &transfer->transport->trust;
  hsa_tls_fault fault = hsa_tls_judge(code, text_of(transfer, code));

  if (hsa_trust_is_broken(trust, result->detail, sizeof result->detail)) {
    result->kind = HSA_CONFIG;
    result->code = HSA_CODE_NONE;
  } else if (fault != HSA_TLS_PASSING) {
    result->is_permanent = true;
    hsa_tls_describe(fault, trust, text_of(transfer, code), result->detail, sizeof result->detail);
  }
}

bool hsa_mask(char *text, size_t len, const char *token)
{
  size_t n = strlen(token);
  bool found = false;
  char *at;

  while (n > 0 && len >= n && (at = memmem(text, len, token, n)) != NULL) {
    memset(at, '*', n);
    len -= (size_t)(at - text) + n;
    text = at + n;
    found = true;
  }
  return found;
}

/* Did the connection end inside a head? libcurl takes that for the end of the response, or for none. */
static bool is_head_cut(const hsa_transfer *transfer, CURLcode code)
{
  return code == CURLE_OK ? !hsa_head_has_ended(&transfer->head)
                          : code == CURLE_GOT_NOTHING && hsa_head_is_open(&transfer->head);
}

static void refuse(hsa_result *result, const char *fault)
{
  result->kind = HSA_PROTOCOL;
  snprintf(result->detail, sizeof result->detail, "%s", fault);
}

static void judge_refusal(hsa_result *result)
{
  result->kind = HSA_API;
  if (result->http_status == 407)
    snprintf(result->detail, sizeof result->detail, WANTS_PASSWORD);
}

static void judge_whole(hsa_transfer *transfer)
{
  const char *fault = find_fault(transfer, transfer->result.http_status);

  transfer->result.kind = HSA_SUCCESS;
  if (fault)
    refuse(&transfer->result, fault);
}

static void judge_broken(hsa_transfer *transfer, CURLcode code)
{
  hsa_result *result = &transfer->result;

  describe(transfer, code);
  result->kind = kind_of(transfer, code);
  if (result->kind == HSA_TRANSPORT)
    result->code = is_proxy_failure(transfer, code) ? HSA_CODE_PROXY : code_of(code);
  result->cut_short = code == CURLE_PARTIAL_FILE;
  if (result->code == HSA_CODE_PROXY)
    judge_proxy(transfer, code);
  else if (result->code == HSA_CODE_TLS || code == CURLE_SSL_CACERT_BADFILE)
    judge_handshake(transfer, code);
}

void hsa_transfer_meter(hsa_transfer *transfer)
{
  hsa_traffic *traffic = &transfer->traffic;
  long head_sent = 0, head_received = 0, opened = 0;
  curl_off_t body_sent = 0, body_received = 0;

  if (!transfer->easy)
    return;
  curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &head_sent);
  curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &body_sent);
  curl_easy_getinfo(transfer->easy, CURLINFO_HEADER_SIZE, &head_received);
  curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &body_received);
  curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &opened);
  traffic->sent += head_sent + body_sent;
  traffic->received += head_received + body_received;
  traffic->opened += (int)opened;
  traffic->reused += opened == 0 && transfer->result.sent;
}

void hsa_transfer_conclude(hsa_transfer *transfer, CURLcode code)
{
  hsa_result *result = &transfer->result;
  long status = 0;

  if (code == CURLE_URL_MALFORMAT && strstr(transfer->error, "No URL set"))
    code = CURLE_OUT_OF_MEMORY; /* the URL is there, but libcurl could not copy it */
  if (result->sent)
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
  result->http_status = status >= 200 || status == SWITCHING ? (int)status : 0;
  if (result->http_status >= 400 && hsa_head_has_ended(&transfer->head))
    judge_refusal(result); /* whatever became of the body */
  else if (is_head_cut(transfer, code)) {
    refuse(result, "the connection was closed before the head of the response had ended");
    result->cut_short = true;
  } else if (code != CURLE_OK)
    judge_broken(transfer, code);
  else
    judge_whole(transfer);
  result->sent = result->sent && transfer->end != RUN_END_REFUSED;
  result->retry_after = hsa_headers_retry_after(&result->headers, hsa_wall_seconds());
  result->traffic = transfer->traffic;
}

/* error.c - what a transfer ended with: the kind, the code and the text of it. */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "handles.h"

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

  if (transfer->result.sent || transport->base.is_loopback || (code != CURLE_COULDNT_CONNECT && code != CURLE_RECV_ERROR &&
                                code != CURLE_SEND_ERROR && code != CURLE_GOT_NOTHING))
    return false;
  curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
  return is_chosen || connect_status ||
         (code == CURLE_COULDNT_CONNECT && transfer->error[0] && !strcasestr(transfer->error, host));
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

  if (transfer->head.problem)
    text = transfer->head.problem;
  else if (transfer->too_large)
    text = transfer->header_bytes > HSA_MAX_HEADER_BYTES ? "the response headers are larger than 64 KiB"
                                                     : "the response is larger than max_response_bytes";
  else if (strstr(text, "proxy") && strchr(text, '@'))
    text = "the proxy's URL cannot be used"; /* libcurl's text has its password */
  else if (code == CURLE_OUT_OF_MEMORY && result->sent)
    text = "a response header line is too long, or memory ran out";
  else if (transfer->end == RUN_END_UNFIT)
    text = "the connection was closed, or the server wrote to it, before the request was sent";
  else if (transfer->end == RUN_END_REFUSED)
    text = "the server refused the request again and again, and processed none";
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

void hsa_transfer_conclude(hsa_transfer *transfer, CURLcode code)
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
  result->sent = (result->sent && transfer->end != RUN_END_REFUSED) || transfer->was_sent;
  result->retry_after = hsa_headers_retry_after(&result->headers, hsa_wall_seconds(), hsa_transport_date);
  hsa_mask(result->headers.correlation_id, strlen(result->headers.correlation_id), transfer->token);
}

/* base_url.c - base URLs, as libcurl reads them. */
#include "base_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

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

static const char *check_parts(CURLU *url, const char *text, bool allow_http, hsa_base_url *base)
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

const char *hsa_base_url_read(const char *text, bool allow_http, hsa_base_url *base)
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

void hsa_base_url_free(hsa_base_url *base)
{
  curl_free(base->host);
}

const char *hsa_check_base_url(const char *text, bool allow_http)
{
  hsa_base_url base = {.host = NULL};
  const char *problem = hsa_base_url_read(text, allow_http, &base);

  hsa_base_url_free(&base);
  return problem;
}

#include "base_url.h"

#include <arpa/inet.h>
#include <string.h>

enum { MAX_BASE_URL = 2048 };

/* All in ASCII, whatever the locale says of letters. */
#define DIGITS "0123456789"
#define NAME_CHARACTERS DIGITS "abcdefghijklmnopqrstuvwxyz" "ABCDEFGHIJKLMNOPQRSTUVWXYZ" "-._"

static bool begins_with(const char *text, const char *prefix)
{
  for (; *prefix; text++, prefix++)
    if (*text != *prefix && !(*text >= 'A' && *text <= 'Z' && *text - 'A' + 'a' == *prefix))
      return false;
  return true;
}

/* The length of a port with its colon in front, 0: none is there, -1: it is no port. */
static int port_length(const char *text)
{
  size_t digits;
  long port = 0;
  size_t i;

  if (*text != ':')
    return 0;
  digits = strspn(text + 1, DIGITS);
  if (digits > 5)
    return -1;
  for (i = 1; i <= digits; i++)
    port = port * 10 + (text[i] - '0');
  return port >= 1 && port <= 65535 ? (int)digits + 1 : -1;
}

/* Each returns the length of the host at the start of text, or 0 if there is no good one. */

static size_t read_ipv6(const char *text, hsa_base_url *base)
{
  size_t len = strcspn(text, "]");
  struct in6_addr address;

  if (text[len] != ']' || len - 1 >= sizeof base->host)
    return 0;
  memcpy(base->host, text + 1, len - 1);
  base->host[len - 1] = '\0';
  if (inet_pton(AF_INET6, base->host, &address) != 1 ||
      !inet_ntop(AF_INET6, &address, base->host, sizeof base->host))
    return 0;
  base->is_loopback = strcmp(base->host, "::1") == 0;
  return len + 1;
}

/* Only four decimal numbers are an address here: what else libcurl takes for one (127.1, 0x7f000001) is a name that
 * leads elsewhere, for all that we promise. */
static size_t read_name(const char *text, hsa_base_url *base)
{
  size_t len = strspn(text, NAME_CHARACTERS);
  struct in_addr address;

  if (len == 0 || len > HSA_MAX_HOST)
    return 0;
  memcpy(base->host, text, len);
  base->host[len] = '\0';
  if (base->host[0] == '.' || strstr(base->host, ".."))
    return 0;
  base->is_loopback = (begins_with(base->host, "localhost") && len == strlen("localhost")) ||
                      (inet_pton(AF_INET, base->host, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
  return len;
}

/* What follows the scheme: host, port, path. */
static const char *read_rest(const char *text, hsa_base_url *base)
{
  size_t host = *text == '[' ? read_ipv6(text, base) : read_name(text, base);
  int port = port_length(text + host);

  if (host == 0)
    return "must be a URL with a host, such as https://api.hubapi.com";
  if (port < 0)
    return "must have a port from 1 to 65535, or none";
  text += host + (size_t)port;
  if (*text != '\0' && *text != '/')
    return "must have nothing but a path behind its host and port";
  return strchr(text, ' ') ? "must have no space" : NULL;
}

const char *hsa_base_url_read(const char *text, bool allow_http, hsa_base_url *base)
{
  size_t len = strlen(text);
  const char *problem = hsa_check_header_value(text, len);

  if (problem)
    return problem;
  if (len > MAX_BASE_URL)
    return "must not be longer than 2048 bytes";
  base->is_https = begins_with(text, "https://");
  if (!base->is_https && !begins_with(text, "http://"))
    return "must begin with https://, as https://api.hubapi.com does";
  text += strlen(base->is_https ? "https://" : "http://");
  if (memchr(text, '@', strcspn(text, "/")) || strpbrk(text, "?#"))
    return "must have no user, password, query or fragment";
  problem = read_rest(text, base);
  if (!problem && !base->is_https && !base->is_loopback && !allow_http)
    problem = "must begin with https:// (http:// is for this machine only, or with allow_http = true)";
  return problem;
}

const char *hsa_check_base_url(const char *text, bool allow_http)
{
  hsa_base_url base;

  return hsa_base_url_read(text, allow_http, &base);
}

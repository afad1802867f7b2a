/* URLs: whatever a segment or a query value contains, libcurl and a server read it back as it was; a base URL that is
 * taken means to libcurl what it means to us. */
#include <curl/curl.h>

#include "base_url.h"
#include "fuzz.h"
#include "url.h"

enum { SEGMENTS = 2, MAX_URL = 8192 };

static int hex(char c)
{
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Decodes up to one of the end characters; returns where that is. */
static const char *decode(const char *text, const char *ends, char *out, size_t *len)
{
  for (*len = 0; *text && !strchr(ends, *text); text++) {
    char c = *text;

    if (c == '%') {
      MUST(hex(text[1]) >= 0 && hex(text[2]) >= 0);
      c = (char)(hex(text[1]) << 4 | hex(text[2]));
      text += 2;
    }
    out[(*len)++] = c;
  }
  return text;
}

static void check_url(const char *url, const hsa_param *segments, const hsa_param *query)
{
  char decoded[MAX_URL];
  const char *at = url + strlen("https://h/a");
  size_t i, len;

  MUST(strncmp(url, "https://h/a", strlen("https://h/a")) == 0);
  for (i = 0; i < SEGMENTS; i++) {
    MUST(*at++ == '/');
    at = decode(at, "/?#", decoded, &len);
    MUST(len == segments[i].len && memcmp(decoded, segments[i].value, len) == 0);
  }
  MUST(strncmp(at, "/z?q=", 5) == 0);
  at = decode(at + 5, "&#", decoded, &len);
  MUST(len == query->len && memcmp(decoded, query->value, len) == 0 && *at == '\0');
}

static void check_parts(const char *url)
{
  CURLU *parts = curl_url();

  MUST(parts && curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK);
  curl_url_cleanup(parts);
}

static void try_segments(fuzz_input *in)
{
  hsa_param segments[SEGMENTS] = {{.name = "one"}, {.name = "two"}}, query = {.name = "q"};
  hsa_request request = {.path = "/a/{one}/{two}/z", .segments = segments, .nsegments = SEGMENTS, .query = &query, .nquery = 1};
  bool is_good = true;
  hsa_buf out;
  size_t i;

  for (i = 0; i < SEGMENTS; i++) {
    segments[i].value = fuzz_until(in, '\n', &segments[i].len);
    is_good = is_good && !hsa_check_segment(segments[i].value, segments[i].len);
  }
  query.value = fuzz_until(in, '\n', &query.len);
  if (query.len > MAX_URL / 4)
    return;
  hsa_buf_init(&out, MAX_URL);
  MUST(hsa_url_build(&out, "https://h/", &request) == (is_good ? HSA_OK : HSA_INVALID));
  if (is_good) {
    check_url(hsa_buf_str(&out), segments, &query);
    check_parts(hsa_buf_str(&out));
  }
  hsa_buf_free(&out);
}

static bool is_address(const char *host)
{
  return host[0] == '[' || host[strspn(host, "0123456789.")] == '\0';
}

static void try_base(const char *text)
{
  hsa_base_url base;
  CURLU *parts;
  char *host, *scheme;

  if (hsa_base_url_read(text, true, &base))
    return;
  parts = curl_url();
  MUST(parts && curl_url_set(parts, CURLUPART_URL, text, 0) == CURLUE_OK);
  MUST(curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK);
  MUST(curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK);
  MUST(base.is_https == (strcmp(scheme, "https") == 0) && (base.is_https || strcmp(scheme, "http") == 0));
  if (!is_address(host)) /* addresses can be spelled in many ways */
    MUST(strcasecmp(host, base.host) == 0);
  if (base.is_loopback)
    MUST(strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0 || strcasecmp(host, "localhost") == 0);
  curl_free(host);
  curl_free(scheme);
  curl_url_cleanup(parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
  fuzz_input in = fuzz_begin(data, len);
  size_t n;
  const char *line = fuzz_until(&in, '\n', &n);
  char *base = fuzz_copy(line, n);

  try_base(base);
  free(base);
  try_segments(&in);
  return 0;
}

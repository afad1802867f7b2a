/* raw.c - the least that libcurl can do: the same request as batch_update's, with a ready-made body, in
 * a loop on one connection. The measure for what the library adds.
 *
 *   raw N        (HUBSPOT_BASE_URL and HUBSPOT_ACCESS_TOKEN from the environment)
 *
 * Makes one call, which is not counted, then N; prints what bench/run says. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static const char body[] =
  "{\"inputs\":[{\"category\":\"HUBSPOT_DEFINED\",\"typeId\":279,\"maxToObjectIds\":200}]}";

static char answer[64 * 1024];
static size_t answer_len;

static size_t on_body(char *bytes, size_t size, size_t n, void *data)
{
  size_t i;

  (void)data;
  for (i = 0; i < size * n && answer_len < sizeof answer; i++)
    answer[answer_len++] = bytes[i];
  return size * n;
}

static void call(CURL *easy, long n)
{
  long status = 0, i;

  for (i = 0; i < n; i++) {
    answer_len = 0;
    if (curl_easy_perform(easy) != CURLE_OK || curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK ||
        status != 200) {
      fprintf(stderr, "raw: call %ld: HTTP %ld\n", i + 1, status);
      exit(1);
    }
  }
}

static double seconds(clockid_t which)
{
  struct timespec now;

  clock_gettime(which, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
  long n = argc == 2 ? atol(argv[1]) : 0;
  double begun = seconds(CLOCK_MONOTONIC), loaded, first, used;
  struct rusage usage;
  const char *base_url = getenv("HUBSPOT_BASE_URL"), *token = getenv("HUBSPOT_ACCESS_TOKEN");
  char url[512], authorization[512];
  struct curl_slist *headers = NULL;
  CURL *easy = curl_easy_init();

  if (!easy || !base_url || !token)
    return 2;
  snprintf(url, sizeof url, "%s/crm/associations/v4/definitions/configurations/contacts/companies/batch/update", base_url);
  snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token);
  headers = curl_slist_append(headers, authorization);
  headers = curl_slist_append(headers, "Accept: application/json");
  headers = curl_slist_append(headers, "Content-Type: application/json");
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "hubspot_assoc/0.1.0 (libcurl/7.88.1; Lua 5.4)"); /* as long as ours: libcurl copies it byte by byte */
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)sizeof body - 1);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_CAINFO, getenv("SIMULATOR_CA_FILE"));
  loaded = seconds(CLOCK_MONOTONIC);
  call(easy, 1);
  first = seconds(CLOCK_MONOTONIC);
  used = seconds(CLOCK_PROCESS_CPUTIME_ID);
  call(easy, n);
  used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
  getrusage(RUSAGE_SELF, &usage);
  printf("%.0f %.0f %.2f %ld\n", (loaded - begun) * 1e6, (first - loaded) * 1e6, used / (double)n * 1e6,
         usage.ru_maxrss);
  curl_slist_free_all(headers);
  curl_easy_cleanup(easy);
  return 0;
}

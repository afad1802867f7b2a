/* raw.c - the least that libcurl can do: the same request as batch_update's, with a ready-made body. The measure for what
 * the library adds.
 *
 *   raw N [M]    (HUBSPOT_BASE_URL and HUBSPOT_ACCESS_TOKEN from the environment)
 *
 * Makes one call, which is not counted, then N: in a loop on one connection; or M at a time, each on a connection of its
 * own, with epoll, as an engine does. Prints what bench/run says. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { MOST = 250 }; /* in flight */

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

static void check(CURL *easy, CURLcode code)
{
  long status = 0;

  answer_len = 0;
  if (code == CURLE_OK)
    code = curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK && status == 200)
    return;
  fprintf(stderr, "raw: %s, HTTP %ld\n", curl_easy_strerror(code), status);
  exit(1);
}

static void call(CURL *easy, long n)
{
  for (; n > 0; n--)
    check(easy, curl_easy_perform(easy));
}

/* ---- many at a time ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *is_known)
{
  struct epoll_event event = {.data.fd = fd};
  int epoll = *(int *)data;

  (void)easy;
  (void)is_known;
  event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  return epoll_ctl(epoll, what == CURL_POLL_REMOVE ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, fd, &event);
}

/* Takes out what has ended, and puts it in again while there is more to do; returns how many are still to end. */
static long go_on(CURLM *multi, long left, long *to_begin)
{
  CURLMsg *message;
  int n;

  while ((message = curl_multi_info_read(multi, &n)) != NULL) {
    CURL *easy = message->easy_handle;

    check(easy, message->data.result);
    curl_multi_remove_handle(multi, easy);
    left--;
    if (--*to_begin >= 0)
      curl_multi_add_handle(multi, easy);
  }
  return left;
}

static void call_many(CURL **easies, long n, long in_flight)
{
  CURLM *multi = curl_multi_init();
  int epoll = epoll_create1(0), running, i;
  struct epoll_event events[64];
  long left = n, to_begin = n - in_flight, timeout;

  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, &epoll);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, in_flight);
  for (i = 0; i < in_flight; i++)
    curl_multi_add_handle(multi, easies[i]);
  while (left > 0) {
    curl_multi_timeout(multi, &timeout);
    running = epoll_wait(epoll, events, 64, timeout < 0 ? 1000 : (int)timeout);
    for (i = running - 1; i >= 0; i--)
      curl_multi_socket_action(multi, events[i].data.fd,
                               (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                                 (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0),
                               &running);
    curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    left = go_on(multi, left, &to_begin);
  }
}

static double seconds(clockid_t which)
{
  struct timespec now;

  clock_gettime(which, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static CURL *new_easy(const char *url, struct curl_slist *headers)
{
  CURL *easy = curl_easy_init();

  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "hubspot_assoc/0.1.0 (libcurl/7.88.1; Lua 5.4)"); /* as long as ours: libcurl copies it byte by byte */
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)sizeof body - 1);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_CAINFO, getenv("SIMULATOR_CA_FILE"));
  return easy;
}

int main(int argc, char **argv)
{
  long n = argc > 1 ? atol(argv[1]) : 0, in_flight = argc > 2 ? atol(argv[2]) : 1, i;
  double begun = seconds(CLOCK_MONOTONIC), loaded, first, used;
  struct rusage usage;
  const char *base_url = getenv("HUBSPOT_BASE_URL"), *token = getenv("HUBSPOT_ACCESS_TOKEN");
  char url[512], authorization[512];
  struct curl_slist *headers = NULL;
  CURL *easies[MOST];

  if (!base_url || !token || n < in_flight || in_flight < 1 || in_flight > MOST)
    return 2;
  snprintf(url, sizeof url, "%s/crm/associations/v4/definitions/configurations/contacts/companies/batch/update", base_url);
  snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token);
  headers = curl_slist_append(headers, authorization);
  headers = curl_slist_append(headers, "Accept: application/json");
  headers = curl_slist_append(headers, "Content-Type: application/json");
  for (i = 0; i < in_flight; i++)
    easies[i] = new_easy(url, headers);
  loaded = seconds(CLOCK_MONOTONIC);
  call(easies[0], 1);
  first = seconds(CLOCK_MONOTONIC);
  used = seconds(CLOCK_PROCESS_CPUTIME_ID);
  if (in_flight > 1)
    call_many(easies, n, in_flight);
  else
    call(easies[0], n);
  used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
  getrusage(RUSAGE_SELF, &usage);
  printf("%.0f %.0f %.2f %ld\n", (loaded - begun) * 1e6, (first - loaded) * 1e6, used / (double)n * 1e6,
         usage.ru_maxrss);
  return 0;
}

/* library.c - libcurl itself: set up once per process, and what depends on its version. That is decided at run time:
 * the libcurl that is found may be older or newer than the headers. */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "handles.h"

/* libcurl's numbers for options that older headers do not have, or newer ones advise against. */
#define OPTION_PROTOCOLS ((CURLoption)(CURLOPTTYPE_LONG + 181))
#define OPTION_PROTOCOLS_STR ((CURLoption)(CURLOPTTYPE_STRINGPOINT + 318)) /* 7.85 */
#define OPTION_QUICK_EXIT ((CURLoption)(CURLOPTTYPE_LONG + 322))           /* 7.87 */
#define MULTI_OPTION_QUICK_EXIT ((CURLMoption)(CURLOPTTYPE_LONG + 21))     /* 8.20 */

static pthread_once_t init_once = PTHREAD_ONCE_INIT, version_once = PTHREAD_ONCE_INIT;
static CURLcode init_result;
static unsigned version; /* 0x075801 is 7.88.1 */
static char version_text[32], problem[96];

static void init(void)
{
  init_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

bool hsa_libcurl_is_ready(void)
{
  return pthread_once(&init_once, init) == 0 && init_result == CURLE_OK;
}

static void find_version(void)
{
  const curl_version_info_data *found = curl_version_info(CURLVERSION_NOW);

  version = found->version_num;
  snprintf(version_text, sizeof version_text, "libcurl/%.23s", found->version);
  if (version < HSA_OLDEST_LIBCURL)
    snprintf(problem, sizeof problem, "libcurl %d.%d or newer is needed, found %.23s", HSA_OLDEST_LIBCURL >> 16,
             HSA_OLDEST_LIBCURL >> 8 & 255, found->version);
}

const char *hsa_transport_version(void)
{
  (void)pthread_once(&version_once, find_version);
  return version_text;
}

const char *hsa_check_transport(void)
{
  (void)pthread_once(&version_once, find_version);
  return problem[0] ? problem : NULL;
}

static bool version_is(unsigned first, unsigned last)
{
  (void)pthread_once(&version_once, find_version);
  return version >= first && version <= last;
}

/* ---- what depends on the version ---- */

bool hsa_libcurl_folds_into_freed_memory(void)
{
  return version_is(0x075400, 0x080001);
}

bool hsa_libcurl_take_head(CURL *easy)
{
  return !version_is(0x075800, 0x080001) ||
         curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)HSA_MAX_HEADER_BYTES + 8 * 1024) == CURLE_OK;
}

bool hsa_libcurl_set_protocol(CURL *easy, bool is_https)
{
  CURLcode code = curl_easy_setopt(easy, OPTION_PROTOCOLS_STR, is_https ? "https" : "http");

  if (code == CURLE_UNKNOWN_OPTION)
    code = curl_easy_setopt(easy, OPTION_PROTOCOLS, is_https ? (long)CURLPROTO_HTTPS : (long)CURLPROTO_HTTP);
  return code == CURLE_OK;
}

/* A setting that HTTP has no other use for. That it does this is certain for the versions whose source was looked
 * at. */
bool hsa_libcurl_stop_resending(CURL *easy)
{
  return version_is(0, 0x0817ff) &&
         curl_easy_setopt(easy, CURLOPT_RTSP_REQUEST, (long)CURL_RTSPREQ_RECEIVE) == CURLE_OK;
}

bool hsa_libcurl_speaks_http2(void)
{
  return version_is(0x075800, 0x0800ff) || version_is(0x080400, UINT_MAX);
}

bool hsa_libcurl_mixes_versions(void)
{
  return version_is(0x080500, UINT_MAX);
}

static pthread_mutex_t sigpipe_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction sigpipe_action;

static bool resets_sigpipe(void)
{
  return version_is(0x080901, 0x080901);
}

void hsa_libcurl_enter(void)
{
  if (!resets_sigpipe())
    return;
  pthread_mutex_lock(&sigpipe_lock);
  sigaction(SIGPIPE, NULL, &sigpipe_action);
}

void hsa_libcurl_leave(void)
{
  if (!resets_sigpipe())
    return;
  sigaction(SIGPIPE, &sigpipe_action, NULL);
  pthread_mutex_unlock(&sigpipe_lock);
}

/* The module is linked with -z nodelete, so that a lookup's thread never outlives the code it runs. A libcurl that does
 * not know an option waits whatever we say (before 7.87), or has no lookups in its multi handle (before 8.20). */
void hsa_libcurl_forget_lookup(CURL *easy)
{
  (void)curl_easy_setopt(easy, OPTION_QUICK_EXIT, 1L);
}

void hsa_libcurl_forget_lookups(CURLM *multi)
{
  (void)curl_multi_setopt(multi, MULTI_OPTION_QUICK_EXIT, 1L);
}

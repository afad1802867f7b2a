/* library.c - libcurl itself: set up once per process, its version, its reader of dates. */
#include <pthread.h>
#include <stdio.h>

#include "handles.h"

static pthread_once_t init_once = PTHREAD_ONCE_INIT;
static CURLcode init_result;

static void init(void)
{
  init_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

bool hsa_libcurl_is_ready(void)
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


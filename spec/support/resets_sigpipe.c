/* LD_PRELOAD: libcurl 8.9.1, which sets the process's action for SIGPIPE to the default, in a host that ignores it. */
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>

typedef struct info { /* how curl_version_info_data begins */
  int age;
  const char *version;
  unsigned number;
} info;

typedef int socket_action(void *multi, int fd, int events, int *running);

const info *curl_version_info(int age);
socket_action curl_multi_socket_action;

/* The module asks when it is required. (A constructor would come before a sanitizer is ready for signal.) */
const info *curl_version_info(int age)
{
  static const info version = {.age = 0, .version = "8.9.1", .number = 0x080901};
  static int is_ignored;

  (void)age;
  if (!is_ignored)
    signal(SIGPIPE, SIG_IGN);
  is_ignored = 1;
  return &version;
}

/* The module's libcurl is not in the global scope. */
static socket_action *find(void)
{
  void *library = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_NOLOAD);

  return library ? (socket_action *)dlsym(library, "curl_multi_socket_action") : NULL;
}

int curl_multi_socket_action(void *multi, int fd, int events, int *running)
{
  static socket_action *real;
  int result;

  if (!real)
    real = find();
  result = real(multi, fd, events, running);
  signal(SIGPIPE, SIG_DFL);
  return result;
}

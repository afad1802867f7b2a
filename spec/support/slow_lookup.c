/* LD_PRELOAD: name lookups that hang for SLOW_LOOKUP seconds, or for good; the first FAILED_LOOKUPS then fail for now. Else
 * every name is this machine. */
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
  static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  static _Atomic int failed;
  const char *seconds = getenv("SLOW_LOOKUP"), *failing = getenv("FAILED_LOOKUPS");

  if (node && strspn(node, "0123456789.:") != strlen(node)) {
    sleep(seconds ? (unsigned)atoi(seconds) : 3600);
    if (failing && failed++ < atoi(failing))
      return EAI_AGAIN;
    node = "127.0.0.1";
  }
  if (!real)
    real = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
  return real(node, service, hints, list);
}

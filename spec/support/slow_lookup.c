/* LD_PRELOAD: name lookups that hang, for every name that is no address. */
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
  static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

  if (node && strspn(node, "0123456789.:") != strlen(node))
    sleep(3600);
  if (!real)
    real = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
  return real(node, service, hints, list);
}

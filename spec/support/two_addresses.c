/* LD_PRELOAD: every name has two addresses, 127.0.0.2 and then 127.0.0.1. */
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
  static lookup *real;
  struct addrinfo *last;
  int result;

  if (!real)
    real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
  if (!node || strspn(node, "0123456789.:") == strlen(node))
    return real(node, service, hints, list);
  result = real("127.0.0.2", service, hints, list);
  if (result != 0)
    return result;
  for (last = *list; last->ai_next; last = last->ai_next)
    ;
  return real("127.0.0.1", service, hints, &last->ai_next);
}

/* LD_PRELOAD: a libcurl whose curl_easy_setopt refuses the option of the number in REFUSED_OPTION, from the value in
 * REFUSED_VALUE on. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

enum { UNSUPPORTED_PROTOCOL = 1 };

typedef int setopt(void *easy, int option, ...);

setopt curl_easy_setopt;

/* The module's libcurl is not in the global scope. */
static setopt *find(void)
{
  static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so", NULL};
  void *library = NULL;
  int i;

  for (i = 0; !library && names[i]; i++)
    library = dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD);
  return library ? (setopt *)dlsym(library, "curl_easy_setopt") : NULL;
}

static long long variable(const char *name)
{
  const char *value = getenv(name);

  return value ? atoll(value) : 0;
}

int curl_easy_setopt(void *easy, int option, ...)
{
  static setopt *real;
  long long value; /* as wide as any */
  va_list rest;

  if (!real)
    real = find();
  va_start(rest, option);
  value = va_arg(rest, long long);
  va_end(rest);
  if (!real || (option == variable("REFUSED_OPTION") && (long)value >= variable("REFUSED_VALUE")))
    return UNSUPPORTED_PROTOCOL;
  return real(easy, option, value);
}

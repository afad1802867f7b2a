/* LD_PRELOAD: malloc finds no more than 2 MiB at a time. */
#include <dlfcn.h>
#include <stddef.h>

void *malloc(size_t size)
{
  static void *(*real)(size_t);

  if (size > (size_t)2 << 20)
    return NULL;
  if (!real)
    real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
  return real(size);
}

/* LD_PRELOAD: memory runs out whenever a text about HUBSPOT_ is copied. */
#include <stdlib.h>
#include <string.h>

char *strdup(const char *text)
{
  size_t size = strlen(text) + 1;
  char *copy = strstr(text, "HUBSPOT_") ? NULL : malloc(size);

  return copy ? memcpy(copy, text, size) : NULL;
}

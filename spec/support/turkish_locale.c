/* LD_PRELOAD: comparisons as in a Turkish locale, for systems that have none: "I" is the capital of a letter without a
 * dot, and "i" of none in ASCII. */
#include <stddef.h>

static int lower(char c)
{
  return c >= 'A' && c <= 'Z' && c != 'I' ? c | 0x20 : (unsigned char)c;
}

int strncasecmp(const char *a, const char *b, size_t n)
{
  for (; n > 0; n--, a++, b++)
    if (lower(*a) != lower(*b) || !*a)
      return lower(*a) - lower(*b);
  return 0;
}

int strcasecmp(const char *a, const char *b)
{
  return strncasecmp(a, b, (size_t)-1);
}

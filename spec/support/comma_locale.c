/* LD_PRELOAD: a locale "comma", in which numbers have a decimal comma, for systems that have none such. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <dlfcn.h>

static int is_comma;

char *setlocale(int category, const char *name)
{
  static char *(*real)(int, const char *);

  if (!real)
    real = (char *(*)(int, const char *))dlsym(RTLD_NEXT, "setlocale");
  if (name)
    is_comma = strcmp(name, "comma") == 0;
  return is_comma ? (char *)"comma" : real(category, name);
}

struct lconv *localeconv(void)
{
  static struct lconv *(*real)(void);
  static struct lconv comma;

  if (!real)
    real = (struct lconv *(*)(void))dlsym(RTLD_NEXT, "localeconv");
  if (!is_comma)
    return real();
  comma = *real();
  comma.decimal_point = (char *)",";
  return &comma;
}

double strtod(const char *text, char **end)
{
  static double (*real)(const char *, char **);
  char copy[64], *at, *stopped;
  size_t len = strcspn(text, is_comma ? "." : ""); /* a point ends the number */
  double number;

  if (!real)
    real = (double (*)(const char *, char **))dlsym(RTLD_NEXT, "strtod");
  if (!is_comma || len >= sizeof copy)
    return real(text, end);
  memcpy(copy, text, len);
  copy[len] = '\0';
  at = strchr(copy, ',');
  if (at)
    *at = '.';
  number = real(copy, &stopped);
  if (end)
    *end = (char *)text + (stopped - copy);
  return number;
}

/* LD_PRELOAD: no folder can be made under a name of one's own. */
#include <errno.h>
#include <stdlib.h>

char *mkdtemp(char *template)
{
  (void)template;
  errno = EROFS;
  return NULL;
}

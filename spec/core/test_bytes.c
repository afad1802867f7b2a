/* Bytes that are looked at eight at a time. */
#include "unit.h"

#include "bytes.h"

enum { LONGEST = 25 }; /* three times eight, and one */

static const struct {
  unsigned char least, most;
} ranges[] = {{' ', '~'}, {' ', 0xff}, {'!', 0xff}, {0, 0x7f}, {0x80, 0xff}};

/* Every byte at every place among others that are well, in texts of every length; each text where its memory ends, for
 * the sanitizer. */
static void finds_every_byte_at_every_place(void **state)
{
  size_t range, len, place;
  int c;

  (void)state;
  for (range = 0; range < COUNT(ranges); range++)
    for (len = 0; len <= LONGEST; len++) {
      unsigned char least = ranges[range].least, most = ranges[range].most;
      char *text = test_malloc(len ? len : 1);

      memset(text, most, len);
      assert_true(hsa_are_within(text, len, least, most));
      for (place = 0; place < len; place++)
        for (c = 0; c < 256; c++) {
          text[place] = (char)c;
          assert_true(hsa_are_within(text, len, least, most) == (c >= least && c <= most));
          text[place] = (char)least;
        }
      test_free(text);
    }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(finds_every_byte_at_every_place),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

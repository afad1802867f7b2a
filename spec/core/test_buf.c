/* The capped buffer. */
#include "unit.h"

#include "buf.h"

static void starts_empty(void **state)
{
  hsa_buf buf;

  (void)state;
  hsa_buf_init(&buf, 10);
  assert_int_equal(buf.len, 0);
  assert_string_equal(hsa_buf_str(&buf), "");
  hsa_buf_reset(&buf); /* nothing allocated yet: must not write */
  assert_null(buf.data);
  hsa_buf_free(&buf);
}

static void appends(void **state)
{
  hsa_buf buf;

  (void)state;
  hsa_buf_init(&buf, 100);
  assert_int_equal(hsa_buf_adds(&buf, "ab"), HSA_OK);
  assert_int_equal(hsa_buf_add(&buf, "cdXX", 2), HSA_OK);
  assert_int_equal(hsa_buf_add(&buf, NULL, 0), HSA_OK);
  assert_string_equal(hsa_buf_str(&buf), "abcd");
  assert_int_equal(buf.len, 4);
  hsa_buf_free(&buf);
}

static void keeps_nul_bytes(void **state)
{
  hsa_buf buf;

  (void)state;
  hsa_buf_init(&buf, 100);
  assert_int_equal(hsa_buf_add(&buf, "a\0b", 3), HSA_OK);
  assert_int_equal(hsa_buf_adds(&buf, "c"), HSA_OK);
  assert_int_equal(buf.len, 4);
  assert_memory_equal(buf.data, "a\0bc", 5);
  hsa_buf_free(&buf);
}

static void refuses_more_than_its_cap(void **state)
{
  static const struct {
    const char *row;
    size_t max, before, more;
    hsa_status status;
  } rows[] = {
    {"up to the cap", 10, 4, 6, HSA_OK},
    {"one more", 10, 4, 7, HSA_TOOLARGE},
    {"nothing more, full", 10, 10, 0, HSA_OK},
    {"one more, full", 10, 10, 1, HSA_TOOLARGE},
    {"cap 0, nothing", 0, 0, 0, HSA_OK},
    {"cap 0, one", 0, 0, 1, HSA_TOOLARGE},
    {"would overflow len + more", 10, 4, SIZE_MAX, HSA_TOOLARGE},
    {"would overflow to len", 10, 4, SIZE_MAX - 3, HSA_TOOLARGE},
  };
  size_t i;

  (void)state;
  for (i = 0; i < COUNT(rows); i++) {
    hsa_buf buf;

    hsa_buf_init(&buf, rows[i].max);
    expect_int(rows[i].row, "first add", hsa_buf_add(&buf, "0123456789", rows[i].before), HSA_OK);
    expect_int(rows[i].row, "second add", hsa_buf_add(&buf, "abcdefghij", rows[i].more), rows[i].status);
    if (rows[i].status == HSA_OK)
      expect_int(rows[i].row, "len", (int64_t)buf.len, (int64_t)(rows[i].before + rows[i].more));
    else /* as it was */
      expect_int(rows[i].row, "len", (int64_t)buf.len, (int64_t)rows[i].before);
    expect_int(rows[i].row, "strlen", (int64_t)strlen(hsa_buf_str(&buf)), (int64_t)buf.len);
    hsa_buf_free(&buf);
  }
}

/* Every length around the first sizes of its memory, where the closing NUL could fall outside. */
static void grows_byte_by_byte(void **state)
{
  hsa_buf buf;
  size_t i;

  (void)state;
  hsa_buf_init(&buf, 5000);
  for (i = 0; i < 5000; i++) {
    char byte = (char)('a' + i % 26);

    assert_int_equal(hsa_buf_add(&buf, &byte, 1), HSA_OK);
    assert_true(buf.cap > buf.len);
    assert_int_equal(buf.data[buf.len], '\0');
  }
  for (i = 0; i < 5000; i++)
    assert_int_equal(buf.data[i], 'a' + (int)(i % 26));
  assert_int_equal(hsa_buf_adds(&buf, "x"), HSA_TOOLARGE);
  hsa_buf_free(&buf);
}

static void grows_by_large_steps(void **state)
{
  static const size_t sizes[] = {511, 512, 513, 1023, 1024, 1025, 100000};
  static char bytes[100000];
  size_t i;

  (void)state;
  memset(bytes, 'x', sizeof bytes);
  for (i = 0; i < COUNT(sizes); i++) {
    hsa_buf buf;

    hsa_buf_init(&buf, sizeof bytes);
    assert_int_equal(hsa_buf_add(&buf, bytes, sizes[i]), HSA_OK);
    assert_true(buf.cap > buf.len);
    assert_int_equal(strlen(hsa_buf_str(&buf)), sizes[i]);
    hsa_buf_free(&buf);
  }
}

static void reset_keeps_the_memory(void **state)
{
  hsa_buf buf;
  const char *data;

  (void)state;
  hsa_buf_init(&buf, 10);
  assert_int_equal(hsa_buf_adds(&buf, "0123456789"), HSA_OK);
  data = buf.data;
  hsa_buf_reset(&buf);
  assert_string_equal(hsa_buf_str(&buf), "");
  assert_int_equal(hsa_buf_adds(&buf, "abc"), HSA_OK);
  assert_ptr_equal(buf.data, data);
  assert_string_equal(hsa_buf_str(&buf), "abc");
  hsa_buf_free(&buf);
}

static void free_keeps_the_cap(void **state)
{
  hsa_buf buf;

  (void)state;
  hsa_buf_init(&buf, 3);
  assert_int_equal(hsa_buf_adds(&buf, "abc"), HSA_OK);
  hsa_buf_free(&buf);
  hsa_buf_free(&buf);
  assert_string_equal(hsa_buf_str(&buf), "");
  assert_int_equal(hsa_buf_adds(&buf, "abcd"), HSA_TOOLARGE);
  assert_int_equal(hsa_buf_adds(&buf, "abc"), HSA_OK);
  hsa_buf_free(&buf);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(starts_empty),
    cmocka_unit_test(appends),
    cmocka_unit_test(keeps_nul_bytes),
    cmocka_unit_test(refuses_more_than_its_cap),
    cmocka_unit_test(grows_byte_by_byte),
    cmocka_unit_test(grows_by_large_steps),
    cmocka_unit_test(reset_keeps_the_memory),
    cmocka_unit_test(free_keeps_the_cap),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}

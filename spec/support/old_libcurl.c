/* LD_PRELOAD: a libcurl that says it is older than we need. */
typedef struct info { /* how curl_version_info_data begins */
  int age;
  const char *version;
  unsigned number;
} info;

const info *curl_version_info(int age);

const info *curl_version_info(int age)
{
  static const info old = {.age = 0, .version = "7.79.1", .number = 0x074f01};

  (void)age;
  return &old;
}

#include "date.h"

#include <stdbool.h>
#include <string.h>

typedef struct reader {
  const char *at;
  bool ok; /* all so far was as expected */
} reader;

typedef struct date {
  int year, month, day, hour, minute, second; /* month: 0 is January */
} date;

static void read_text(reader *in, const char *text)
{
  in->ok = in->ok && strncmp(in->at, text, strlen(text)) == 0;
  if (in->ok)
    in->at += strlen(text);
}

static int read_number(reader *in, int digits)
{
  int number = 0;

  for (; digits > 0; digits--, in->at++) {
    in->ok = in->ok && *in->at >= '0' && *in->at <= '9';
    if (!in->ok)
      return 0;
    number = number * 10 + (*in->at - '0');
  }
  return number;
}

static int read_month(reader *in)
{
  static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  int month = 0;

  while (month < 12 && strncmp(in->at, names + month * 3, 3) != 0)
    month++;
  in->ok = in->ok && month < 12;
  if (in->ok)
    in->at += 3;
  return month;
}

static void read_time(reader *in, date *out)
{
  out->hour = read_number(in, 2);
  read_text(in, ":");
  out->minute = read_number(in, 2);
  read_text(in, ":");
  out->second = read_number(in, 2);
}

/* "06 Nov 1994 08:49:37 GMT", or "06-Nov-94 08:49:37 GMT" */
static void read_rest(reader *in, date *out)
{
  const char *separator;

  out->day = read_number(in, 2);
  separator = *in->at == '-' ? "-" : " ";
  read_text(in, separator);
  out->month = read_month(in);
  read_text(in, separator);
  out->year = read_number(in, *separator == '-' ? 2 : 4);
  if (*separator == '-')
    out->year += out->year < 70 ? 2000 : 1900;
  read_text(in, " ");
  read_time(in, out);
  read_text(in, " GMT");
}

/* "Nov  6 08:49:37 1994" */
static void read_asctime(reader *in, date *out)
{
  bool is_short;

  out->month = read_month(in);
  read_text(in, " ");
  is_short = *in->at == ' ';
  read_text(in, is_short ? " " : "");
  out->day = read_number(in, is_short ? 1 : 2);
  read_text(in, " ");
  read_time(in, out);
  read_text(in, " ");
  out->year = read_number(in, 4);
}

static bool is_leap_year(int year)
{
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int64_t seconds_of(const date *in)
{
  static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int before = in->year - 1, day = in->day - 1, month;
  int64_t days = (int64_t)before * 365 + before / 4 - before / 100 + before / 400 - 719162; /* those before 1970 */

  if (in->day < 1 || in->day > lengths[in->month] + (in->month == 1 && is_leap_year(in->year)) || in->year < 1970 ||
      in->hour > 23 || in->minute > 59 || in->second > 60)
    return -1;
  for (month = 0; month < in->month; month++)
    day += lengths[month] + (month == 1 && is_leap_year(in->year));
  return (((days + day) * 24 + in->hour) * 60 + in->minute) * 60 + in->second;
}

int64_t hsa_date(const char *text)
{
  const char *comma = strchr(text, ',');
  reader in = {comma ? comma + 1 : strchr(text, ' '), true};
  date out = {0, 0, 0, 0, 0, 0};

  if (!in.at)
    return -1;
  read_text(&in, " "); /* behind the day's name, which nobody needs */
  if (comma)
    read_rest(&in, &out);
  else
    read_asctime(&in, &out);
  return in.ok && !*in.at ? seconds_of(&out) : -1;
}

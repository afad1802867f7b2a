/* A server of HTTP/2 that leaves requests aside, for spec/connection_spec.lua: package.loadlib(path, "serve")() in a process
 * of its own. Of OpenSSL it needs the library alone.
 *
 * H2_CERTIFICATE, H2_KEY: PEM. H2_MODE, what becomes of requests over HTTP/2:
 *   http1   each is told that it has to come by HTTP/1.1
 *   refuse  the first three are refused, whatever their connections; so are all with refuse_all
 *   goaway  the first three connections are ended with a GOAWAY when one comes, which says that none was processed
 *   cut     each is answered in part, and then its stream and the connection are ended
 *   flood_X the first one is answered with frames of that kind, for as long as somebody reads them
 * Says "port N", and then "applied" for each request that it answers. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct SSL SSL;
typedef struct SSL_CTX SSL_CTX;
typedef int select_alpn(SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned, void *);

static struct {
  void *(*TLS_server_method)(void);
  SSL_CTX *(*SSL_CTX_new)(void *);
  int (*SSL_CTX_use_certificate_chain_file)(SSL_CTX *, const char *);
  int (*SSL_CTX_use_PrivateKey_file)(SSL_CTX *, const char *, int);
  void (*SSL_CTX_set_alpn_select_cb)(SSL_CTX *, select_alpn *, void *);
  SSL *(*SSL_new)(SSL_CTX *);
  int (*SSL_set_fd)(SSL *, int);
  int (*SSL_accept)(SSL *);
  int (*SSL_read)(SSL *, void *, int);
  int (*SSL_write)(SSL *, const void *, int);
  int (*SSL_shutdown)(SSL *);
  void (*SSL_get0_alpn_selected)(const SSL *, const unsigned char **, unsigned *);
} tls;

static const char OK[] = "{\"status\":\"COMPLETE\",\"results\":[{\"category\":\"USER_DEFINED\",\"typeId\":36}]}";
static const char *mode;
static int *left_aside; /* so many requests or connections, in all processes */

enum { DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, PUSH_PROMISE = 5, PING = 6, GOAWAY = 7 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { INTERNAL_ERROR = 2, REFUSED_STREAM = 7, HTTP_1_1_REQUIRED = 13 };

static void load(void)
{
  void *library = dlopen("libssl.so.3", RTLD_NOW);

  if (!library)
    library = dlopen("libssl.so.1.1", RTLD_NOW);
#define LOAD(name) (*(void **)&tls.name = library ? dlsym(library, #name) : NULL)
  LOAD(TLS_server_method), LOAD(SSL_CTX_new), LOAD(SSL_CTX_use_certificate_chain_file), LOAD(SSL_CTX_use_PrivateKey_file);
  LOAD(SSL_CTX_set_alpn_select_cb), LOAD(SSL_new), LOAD(SSL_set_fd), LOAD(SSL_accept), LOAD(SSL_read), LOAD(SSL_write);
  LOAD(SSL_shutdown), LOAD(SSL_get0_alpn_selected);
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned n, void *data)
{
  unsigned i;

  (void)ssl;
  (void)data;
  for (i = 0; i < n; i += in[i] + 1U) { /* the client's first choice */
    *out = in + i + 1;
    *len = in[i];
    return 0;
  }
  return 3; /* SSL_TLSEXT_ERR_NOACK */
}

static int read_all(SSL *ssl, unsigned char *bytes, int n)
{
  while (n > 0) {
    int got = tls.SSL_read(ssl, bytes, n);

    if (got <= 0)
      return 0;
    bytes += got;
    n -= got;
  }
  return 1;
}

static void put_frame(unsigned char *bytes, int type, int flags, unsigned stream, const void *payload, size_t len)
{
  const unsigned char head[9] = {(unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len, (unsigned char)type,
                                 (unsigned char)flags, (unsigned char)(stream >> 24), (unsigned char)(stream >> 16),
                                 (unsigned char)(stream >> 8), (unsigned char)stream};

  memcpy(bytes, head, 9);
  memcpy(bytes + 9, payload, len);
}

static void frame(SSL *ssl, int type, int flags, unsigned stream, const void *payload, size_t len)
{
  unsigned char bytes[256];

  put_frame(bytes, type, flags, stream, payload, len);
  tls.SSL_write(ssl, bytes, (int)(9 + len));
}

/* Frames that bring a request nothing, without end. */
static void flood(SSL *ssl, unsigned stream, const char *kind)
{
  static const struct {
    const char *kind;
    int type, flags, is_of_stream;
    const char *payload;
    int len;
  } rows[] = {
    {"ping", PING, 0, 0, "12345678", 8},
    {"settings", SETTINGS, 0, 0, "", 0},
    {"interim", HEADERS, END_HEADERS, 1, "\x08\x03" "103", 5}, /* :status: 103 */
    {"push", PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\x02\x82\x86\x84", 7},
    {"unknown", 200, 0, 0, "what", 4},
    {"priority", PRIORITY, 0, 1, "\0\0\0\0\1", 5},
    {"empty", DATA, 0, 1, "", 0},
  };
  static unsigned char bytes[16000];
  int i, n = 0;

  for (i = 0; strcmp(rows[i].kind, kind) != 0; i++)
    ;
  if (rows[i].type == DATA)
    frame(ssl, HEADERS, END_HEADERS, stream, "\x88", 1);
  for (; n < (int)sizeof bytes - 32; n += 9 + rows[i].len)
    put_frame(bytes + n, rows[i].type, rows[i].flags, rows[i].is_of_stream ? stream : 0, rows[i].payload, (size_t)rows[i].len);
  while (tls.SSL_write(ssl, bytes, n) > 0)
    ;
}

static void say_applied(void)
{
  if (write(STDOUT_FILENO, "applied\n", 8) != 8)
    _exit(1);
}

/* A request has come over HTTP/2; 0: the connection ends. */
static int decide(SSL *ssl, unsigned stream)
{
  unsigned char reset[4] = {0, 0, 0, HTTP_1_1_REQUIRED};
  int is_early = __sync_fetch_and_add(left_aside, 1) < 3;

  if (strncmp(mode, "flood_", 6) == 0) {
    flood(ssl, stream, mode + 6);
    return 0;
  }
  if (strcmp(mode, "cut") == 0) {
    reset[3] = INTERNAL_ERROR;
    frame(ssl, HEADERS, END_HEADERS, stream, "\x88", 1);
    frame(ssl, DATA, 0, stream, OK, sizeof OK / 2);
    frame(ssl, RST_STREAM, 0, stream, reset, 4);
    return 0;
  }
  if (strcmp(mode, "goaway") == 0 && is_early) {
    frame(ssl, GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    return 0;
  }
  if (strcmp(mode, "refuse_all") == 0 || (strcmp(mode, "refuse") == 0 && is_early))
    reset[3] = REFUSED_STREAM;
  else if (strcmp(mode, "http1") != 0) {
    say_applied();
    frame(ssl, HEADERS, END_HEADERS, stream, "\x88", 1); /* :status: 200 */
    frame(ssl, DATA, END_STREAM, stream, OK, sizeof OK - 1);
    return 1;
  }
  frame(ssl, RST_STREAM, 0, stream, reset, 4);
  return 1;
}

static void speak_http2(SSL *ssl)
{
  static unsigned char payload[1 << 24];
  unsigned char head[9];

  if (!read_all(ssl, payload, 24)) /* the client's preface */
    return;
  frame(ssl, SETTINGS, 0, 0, "", 0);
  while (read_all(ssl, head, 9)) {
    int len = head[0] << 16 | head[1] << 8 | head[2];
    unsigned stream = (unsigned)head[5] << 24 | (unsigned)head[6] << 16 | (unsigned)head[7] << 8 | head[8];

    if (!read_all(ssl, payload, len))
      return;
    if (head[3] == SETTINGS && !(head[4] & ACK))
      frame(ssl, SETTINGS, ACK, 0, "", 0);
    else if (head[3] == PING && !(head[4] & ACK))
      frame(ssl, PING, ACK, 0, payload, 8);
    else if ((head[3] == HEADERS || head[3] == DATA) && head[4] & END_STREAM && !decide(ssl, stream))
      return;
  }
}

/* One request, whose body is short. */
static void speak_http1(SSL *ssl)
{
  char text[8192], *end;
  int n = 0, got, len;

  while ((got = tls.SSL_read(ssl, text + n, (int)sizeof text - 1 - n)) > 0) {
    n += got;
    text[n] = '\0';
    end = strstr(text, "\r\n\r\n");
    if (!end || !strstr(text, "Content-Length: ") || text + n < end + 4 + atoi(strstr(text, "Content-Length: ") + 16))
      continue;
    say_applied();
    len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", sizeof OK - 1, OK);
    tls.SSL_write(ssl, text, len);
    return;
  }
}

static void converse(SSL_CTX *context, int fd)
{
  SSL *ssl = tls.SSL_new(context);
  const unsigned char *protocol = NULL;
  unsigned len = 0;
  char rest[512];

  tls.SSL_set_fd(ssl, fd);
  if (tls.SSL_accept(ssl) == 1) {
    tls.SSL_get0_alpn_selected(ssl, &protocol, &len);
    if (len == 2)
      speak_http2(ssl);
    else
      speak_http1(ssl);
    tls.SSL_shutdown(ssl);
  }
  shutdown(fd, SHUT_WR);
  while (read(fd, rest, sizeof rest) > 0) /* or else the client is reset, and may not see what was sent */
    ;
}

int serve(void *lua)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
  SSL_CTX *context;

  (void)lua;
  load();
  mode = getenv("H2_MODE");
  left_aside = mmap(NULL, sizeof *left_aside, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  signal(SIGCHLD, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  if (!tls.SSL_get0_alpn_selected || !(context = tls.SSL_CTX_new(tls.TLS_server_method())) ||
      tls.SSL_CTX_use_certificate_chain_file(context, getenv("H2_CERTIFICATE")) != 1 ||
      tls.SSL_CTX_use_PrivateKey_file(context, getenv("H2_KEY"), 1) != 1 ||
      bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 16) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &size) != 0)
    _exit(1);
  tls.SSL_CTX_set_alpn_select_cb(context, choose, NULL);
  printf("port %d\n", ntohs(address.sin_port));
  fflush(stdout);
  alarm(60);
  while ((fd = accept(listener, NULL, NULL)) >= 0) {
    if (fork() == 0) {
      close(listener);
      alarm(60);
      converse(context, fd);
      _exit(0);
    }
    close(fd);
  }
  _exit(1);
}

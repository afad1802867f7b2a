/* tls.c - which certificate authorities are trusted, and what it means that a handshake failed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handles.h"

/* ---- authorities ---- */

static const char *variable(const char *name)
{
  const char *value = getenv(name);

  return value && *value ? value : NULL;
}

/* As the program curl does: CURL_CA_BUNDLE, or else SSL_CERT_FILE and SSL_CERT_DIR, go before what libcurl was built
 * with. */
bool hsa_trust_read(hsa_trust *trust, const char *ca_file)
{
  const char *bundle = variable("CURL_CA_BUNDLE"), *folder = NULL, *file = ca_file;

  trust->source = "ca_file";
  if (!file && bundle) {
    file = bundle;
    trust->source = "CURL_CA_BUNDLE";
  } else if (!file) {
    file = variable("SSL_CERT_FILE");
    folder = variable("SSL_CERT_DIR");
    trust->source = file ? "SSL_CERT_FILE" : folder ? "SSL_CERT_DIR" : "the system";
  }
  trust->file = file ? strdup(file) : NULL;
  trust->folder = folder ? strdup(folder) : NULL;
  return (!file || trust->file) && (!folder || trust->folder);
}

void hsa_trust_free(hsa_trust *trust)
{
  free(trust->file);
  free(trust->folder);
}

bool hsa_trust_apply(const hsa_trust *trust, CURL *easy)
{
  if (trust->folder)
    (void)curl_easy_setopt(easy, CURLOPT_CAPATH, trust->folder); /* not every TLS library knows folders */
  return !trust->file || curl_easy_setopt(easy, CURLOPT_CAINFO, trust->file) == CURLE_OK;
}

static bool has_certificate(FILE *file)
{
  char line[256];

  while (fgets(line, sizeof line, file))
    if (strncmp(line, "-----BEGIN ", 11) == 0 && strstr(line, "CERTIFICATE-----"))
      return true;
  return false;
}

/* Libraries differ in what they say of a file that is not there, or is no such file: so it is looked at. */
bool hsa_trust_is_broken(const hsa_trust *trust, char *text, size_t size)
{
  FILE *file = trust->file ? fopen(trust->file, "re") : NULL;
  bool is_good;

  if (!trust->file)
    return false;
  if (!file) {
    snprintf(text, size, "%s cannot be read: %s: %s", trust->source, strerror(errno), trust->file);
    return true;
  }
  is_good = has_certificate(file);
  fclose(file);
  if (!is_good)
    snprintf(text, size, "%s holds no certificate (PEM): %s", trust->source, trust->file);
  return !is_good;
}

/* ---- handshakes ---- */

static bool has_any(const char *text, const char *const *words)
{
  while (*words && !strcasestr(text, *words))
    words++;
  return *words != NULL;
}

hsa_tls_fault hsa_tls_judge(CURLcode code, const char *text)
{
  /* Of OpenSSL and its kin, of GnuTLS. */
  static const char *const versions[] = {"protocol version", "unsupported protocol", "unsupported version",
                                         "unsupported or", "wrong version", "wrong ssl version", "no protocols", NULL};
  static const char *const refusals[] = {"handshake failure",    "handshake_failure", "no shared cipher",
                                         "certificate required", "unknown ca",        "bad certificate",
                                         "unexpected TLS packet", NULL};
  static const char *const names[] = {"host name", "hostname", NULL};

  switch (code) {
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_SSL_INVALIDCERTSTATUS:
    return strcasestr(text, "expired") || strcasestr(text, "not yet valid") || strcasestr(text, "not activated")
             ? HSA_TLS_DATE : has_any(text, names) ? HSA_TLS_NAME : HSA_TLS_AUTHORITY;
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
    return HSA_TLS_REFUSED;
  case CURLE_SSL_CONNECT_ERROR:
    return has_any(text, versions) ? HSA_TLS_VERSION : has_any(text, refusals) ? HSA_TLS_REFUSED : HSA_TLS_PASSING;
  default:
    return HSA_TLS_PASSING;
  }
}

void hsa_tls_describe(hsa_tls_fault fault, const hsa_trust *trust, const char *text, char *detail, size_t size)
{
  switch (fault) {
  case HSA_TLS_AUTHORITY:
    snprintf(detail, size,
             "%.140s. Trusted are the authorities of %s; ca_file can name others (or is the clock wrong?)", text,
             trust->source);
    break;
  case HSA_TLS_DATE:
    snprintf(detail, size, "%.180s. Is this machine's clock right?", text);
    break;
  case HSA_TLS_NAME:
    snprintf(detail, size, "%.180s. Is base_url right?", text);
    break;
  case HSA_TLS_VERSION:
    snprintf(detail, size, "%.180s. The server has to speak TLS 1.2 or newer", text);
    break;
  default:
    snprintf(detail, size, "%s", text);
  }
}

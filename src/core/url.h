/* url.h - pure: path templates and percent-encoding (RFC 3986); which headers can be sent. */
#ifndef HSA_URL_H
#define HSA_URL_H

#include "buf.h"

/* Appends base (a slash at its end is dropped), the template with every {name} replaced by the
 * percent-encoded segment of that name, and the query. HSA_INVALID: a name without a segment, or a
 * segment that hsa_check_segment refuses. HSA_TOOLARGE, HSA_NOMEM: from the buffer. */
hsa_status hsa_url_build(hsa_buf *out, const char *base, const hsa_request *request);

/* Appends the bytes; all but unreserved characters as %XX. */
hsa_status hsa_url_encode(hsa_buf *out, const char *bytes, size_t len);

/* HSA_INVALID if hsa_request.headers cannot be sent. */
hsa_status hsa_check_header_lines(const char *lines);

#endif

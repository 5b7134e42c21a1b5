/* errors.h: the errors that clients get, and functions that run a client's commands, by who is to blame, as INFO keymiss counts
 * them. */
#ifndef KEYMISS_ERRORS_H
#define KEYMISS_ERRORS_H

#include "resp.h"

typedef enum error_kind {
    ERROR_NONE,     /* no error, or the client's own */
    ERROR_BUSY,     /* a queue was full, or a worker read nothing */
    ERROR_TIMEOUT,  /* a deadline passed */
    ERROR_WORKER,   /* it died, or could not be started */
    ERROR_FUNCTION, /* a function said so */
    ERROR_MODEL,    /* the models worker said so: of a model or a script */
    ERROR_KINDS
} error_kind;

void errors_init(void);
/* To be called where the client is answered, once for each. */
void errors_count(error_kind kind);

/* Of a whole error, code first: ERROR_BUSY where that is its code, else `otherwise`. */
error_kind error_kind_of(slice error, error_kind otherwise);
/* Of what job_submit refused: the other reasons lie with the command. */
error_kind error_kind_refused(const char *error);

#endif

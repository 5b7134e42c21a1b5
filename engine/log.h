/* log.h: the module's lines in the server's log, in the form that keymiss.log-format says (log_line.h, docs/tracing.md). */
#ifndef KEYMISS_LOG_H
#define KEYMISS_LOG_H

#include "log_line.h"

typedef enum log_level { LEVEL_DEBUG, LEVEL_VERBOSE, LEVEL_NOTICE, LEVEL_WARNING } log_level;

/* Is anything of this level logged (keymiss.log-level)? One look at a byte: for what would have to be gathered first. */
bool log_wants(log_level level);
log_level log_level_named(slice name); /* warning for what is none */

/* A line is begun, given fields, and ended: always all three, on the main thread. request: the id of the job that it is
 * about; 0: of none. */
void log_begin(log_line *l, log_level level, const char *event, unsigned long long request);
void log_end(log_line *l, log_level level);

/* A line of one sentence and no more. Printed as RedisModule_Log does. */
void log_note(log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a worker said in LOG: its own line. */
void log_worker(log_level level, const char *worker, slice text);

/* What clients can make happen any number of times: so many lines a second, of all events together, then none. Call it
 * last, where the line would be written; the next one tells how many were left out. */
bool log_may(void);

/* The name of a request in logs and traces: <shard>-<six digits of the server's run>-<job>. */
enum { REQUEST_NAME_MAX = 64 + 1 + 6 + 1 + 20 + 1 };
const char *log_request_name(char out[REQUEST_NAME_MAX], unsigned long long request);

#endif

/* hello.h: the first frame to a worker, which says whose worker it is (docs/channel.md). */
#ifndef KEYMISS_HELLO_H
#define KEYMISS_HELLO_H

#include "resp.h"

enum { HELLO_VERSION = 1 };

void hello_write(frame_writer *f, const char *role); /* initialises f */

#endif

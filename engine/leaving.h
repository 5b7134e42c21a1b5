/* leaving.h: a worker's process whose channel is closed: it ends by itself, or is killed, and is reaped. */
#ifndef KEYMISS_LEAVING_H
#define KEYMISS_LEAVING_H

#include "process.h"

/* Sends it the signal and sees it off, without waiting. Takes the process over: *p is none afterwards. */
void leaving_begin(process *p, int signal);

#endif

/* kept.h: what a functions worker gives the server to keep for the next one (KEEP, KEPT): what RG.CONFIGSET has set. */
#ifndef KEYMISS_KEPT_H
#define KEYMISS_KEPT_H

#include "redis_api.h"

int kept_init(RedisModuleCtx *ctx); /* before registrations_init: their functions may ask for what was set */

#endif

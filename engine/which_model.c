#include "which_model.h"

#include <string.h>

#include "calls.h"
#include "memory.h"
#include "model_type.h"
#include "users.h"
#include "worker.h"

/* NULL, or why this user may not read the key. */
static const char *check_right(RedisModuleString *user_name, RedisModuleString *key) {
    RedisModuleUser *user;
    const char *error = users_open(user_name, &user);
    if (user != NULL && RedisModule_ACLCheckKeyPermissions(user, key, REDISMODULE_CMD_KEY_ACCESS) != REDISMODULE_OK)
        error = USERS_NO_PERMISSION;
    users_close(user);
    return error;
}

/* MODEL <seq> <job> <key> */
static void on_model(RedisModuleCtx *ctx, worker_role role, const frame *f) {
    asker from;
    job_id job;
    job_facts facts;
    const char *error = NULL;
    if (!asker_read(role, f->parts[1], &from)) {
        worker_fail(role, "it sent a MODEL without a number");
        return;
    }
    if (!calls_job(role, f->parts[2], &job, &facts)) {
        asker_result_error(from, "ERR the job that asks for this model has ended");
        return;
    }
    RedisModuleString *key = RedisModule_CreateString(NULL, f->parts[3].data, f->parts[3].len);
    RedisModule_SelectDb(ctx, facts.db);
    model *m = NULL;
    if ((error = check_right(facts.user, key)) == NULL) m = model_at(ctx, key, &error);
    slice said = m != NULL ? model_to_wire(m) : (slice){NULL, 0};
    if (m != NULL) asker_result(from, said.data, said.len);
    else asker_result_error(from, error);
    RedisModule_FreeString(NULL, key);
}

void which_model_init(void) {
    worker_on_verb(WORKER_MODELS, "MODEL", 4, on_model);
}

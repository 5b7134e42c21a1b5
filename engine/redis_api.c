/* redis_api.c: look the server's functions up by name when the module is loaded. */
#include "redis_api.h"

#define REDIS_API_DEFINE(result, name, parameters) result(*RedisModule_##name) parameters;
REDIS_API_FUNCTIONS(REDIS_API_DEFINE, REDIS_API_DEFINE)
#undef REDIS_API_DEFINE

typedef int (*get_api_function)(const char *name, void *target);

static const struct {
    const char *name;
    void *pointer;
    bool required;
} functions[] = {
#define REDIS_API_REQUIRED(result, name, parameters) {"RedisModule_" #name, &RedisModule_##name, true},
#define REDIS_API_OPTIONAL(result, name, parameters) {"RedisModule_" #name, &RedisModule_##name, false},
    REDIS_API_FUNCTIONS(REDIS_API_REQUIRED, REDIS_API_OPTIONAL)
#undef REDIS_API_REQUIRED
#undef REDIS_API_OPTIONAL
};

const char *redis_api_load(RedisModuleCtx *ctx) {
    /* The server's convention: the first word of the context is the look-up function. */
    get_api_function get_api = *(get_api_function *)(void *)ctx;
    const char *missing = NULL;
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        int found = get_api(functions[i].name, functions[i].pointer);
        if (found != REDISMODULE_OK && functions[i].required && !missing) missing = functions[i].name;
    }
    return missing;
}

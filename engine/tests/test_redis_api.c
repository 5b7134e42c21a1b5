/* Looking functions up in a server: all there, an optional one missing, a required one missing. */
#include "../redis_api.c"

#include <stdio.h>
#include <string.h>

static int failures;
static const char *absent;

static void check(bool ok, const char *what) {
    if (ok) return;
    printf("failed: %s\n", what);
    failures++;
}

/* A server that has everything but one function. */
static int get_api(const char *name, void *target) {
    static char anything;
    if (absent && strcmp(name, absent) == 0) return REDISMODULE_ERR;
    *(void **)target = &anything;
    return REDISMODULE_OK;
}

static const char *load_without(const char *name) {
    get_api_function context[1] = {get_api};
    absent = name;
    return redis_api_load((RedisModuleCtx *)(void *)context);
}

int main(void) {
    check(load_without(NULL) == NULL, "a server that has all");
    check(load_without("RedisModule_AddPostNotificationJob") == NULL, "one that lacks an optional function");
    const char *missing = load_without("RedisModule_EventLoopAdd");
    check(missing && strcmp(missing, "RedisModule_EventLoopAdd") == 0, "one that lacks a required function");
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        for (size_t k = 0; k < i; k++) check(strcmp(functions[i].name, functions[k].name) != 0, functions[i].name);
        missing = load_without(functions[i].name);
        check(functions[i].required ? missing == functions[i].name : missing == NULL, functions[i].name);
    }
    printf(failures ? "%d failures\n" : "all as expected\n", failures);
    return failures != 0;
}

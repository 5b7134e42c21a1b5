/* redis_api.h: the part of the server's module API that Keymiss uses, declared in our own words.
 *
 * A server hands the module one function, GetApi, through the first word of the load context; every other function is
 * looked up by name with it (redis_api.c). Functions that came after Redis 7.0 are optional: NULL where the server
 * lacks them, so test before use. To use another function, add one line to REDIS_API_FUNCTIONS. */
#ifndef KEYMISS_REDIS_API_H
#define KEYMISS_REDIS_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDISMODULE_OK 0
#define REDISMODULE_ERR 1
#define REDISMODULE_APIVER 1

/* Opening keys. The flags above bit 15 exist since 7.2; GetOpenKeyModesAll tells which are known. */
#define REDISMODULE_READ (1 << 0)
#define REDISMODULE_WRITE (1 << 1)
#define REDISMODULE_OPEN_KEY_NOTOUCH (1 << 16)
#define REDISMODULE_OPEN_KEY_NONOTIFY (1 << 17)
#define REDISMODULE_OPEN_KEY_NOSTATS (1 << 18)
#define REDISMODULE_OPEN_KEY_NOEXPIRE (1 << 19)
#define REDISMODULE_OPEN_KEY_NOEFFECTS (1 << 20)

enum {
    REDISMODULE_KEYTYPE_EMPTY,
    REDISMODULE_KEYTYPE_STRING,
    REDISMODULE_KEYTYPE_LIST,
    REDISMODULE_KEYTYPE_HASH,
    REDISMODULE_KEYTYPE_SET,
    REDISMODULE_KEYTYPE_ZSET,
    REDISMODULE_KEYTYPE_MODULE,
    REDISMODULE_KEYTYPE_STREAM
};

enum {
    REDISMODULE_REPLY_UNKNOWN = -1,
    REDISMODULE_REPLY_STRING,
    REDISMODULE_REPLY_ERROR,
    REDISMODULE_REPLY_INTEGER,
    REDISMODULE_REPLY_ARRAY,
    REDISMODULE_REPLY_NULL,
    REDISMODULE_REPLY_MAP,
    REDISMODULE_REPLY_SET,
    REDISMODULE_REPLY_BOOL,
    REDISMODULE_REPLY_DOUBLE,
    REDISMODULE_REPLY_BIG_NUMBER,
    REDISMODULE_REPLY_VERBATIM_STRING,
    REDISMODULE_REPLY_ATTRIBUTE,
    REDISMODULE_REPLY_PROMISE
};

#define REDISMODULE_LOGLEVEL_DEBUG "debug"
#define REDISMODULE_LOGLEVEL_VERBOSE "verbose"
#define REDISMODULE_LOGLEVEL_NOTICE "notice"
#define REDISMODULE_LOGLEVEL_WARNING "warning"

#define REDISMODULE_POSTPONED_LEN (-1)
#define REDISMODULE_NO_EXPIRE (-1)

/* Settings. */
#define REDISMODULE_CONFIG_DEFAULT 0
#define REDISMODULE_CONFIG_IMMUTABLE (1u << 0)
#define REDISMODULE_CONFIG_SENSITIVE (1u << 1)
#define REDISMODULE_CONFIG_HIDDEN (1u << 4)
#define REDISMODULE_CONFIG_PROTECTED (1u << 5)
#define REDISMODULE_CONFIG_DENY_LOADING (1u << 6)
#define REDISMODULE_CONFIG_MEMORY (1u << 7)

/* GetContextFlags. */
#define REDISMODULE_CTX_FLAGS_LUA (1 << 0)
#define REDISMODULE_CTX_FLAGS_MULTI (1 << 1)
#define REDISMODULE_CTX_FLAGS_MASTER (1 << 2)
#define REDISMODULE_CTX_FLAGS_SLAVE (1 << 3)
#define REDISMODULE_CTX_FLAGS_READONLY (1 << 4)
#define REDISMODULE_CTX_FLAGS_CLUSTER (1 << 5)
#define REDISMODULE_CTX_FLAGS_EVICT (1 << 9)
#define REDISMODULE_CTX_FLAGS_OOM (1 << 10)
#define REDISMODULE_CTX_FLAGS_REPLICATED (1 << 12)
#define REDISMODULE_CTX_FLAGS_LOADING (1 << 13)
#define REDISMODULE_CTX_FLAGS_IS_CHILD (1 << 20)
#define REDISMODULE_CTX_FLAGS_DENY_BLOCKING (1 << 21)
#define REDISMODULE_CTX_FLAGS_RESP3 (1 << 22)
#define REDISMODULE_CTX_FLAGS_ASYNC_LOADING (1 << 23)

/* Keyspace events. KEY_MISS is not part of ALL. */
#define REDISMODULE_NOTIFY_GENERIC (1 << 2)
#define REDISMODULE_NOTIFY_STRING (1 << 3)
#define REDISMODULE_NOTIFY_LIST (1 << 4)
#define REDISMODULE_NOTIFY_SET (1 << 5)
#define REDISMODULE_NOTIFY_HASH (1 << 6)
#define REDISMODULE_NOTIFY_ZSET (1 << 7)
#define REDISMODULE_NOTIFY_EXPIRED (1 << 8)
#define REDISMODULE_NOTIFY_EVICTED (1 << 9)
#define REDISMODULE_NOTIFY_STREAM (1 << 10)
#define REDISMODULE_NOTIFY_KEY_MISS (1 << 11)
#define REDISMODULE_NOTIFY_LOADED (1 << 12)
#define REDISMODULE_NOTIFY_MODULE (1 << 13)
#define REDISMODULE_NOTIFY_ALL                                                                                      \
    (REDISMODULE_NOTIFY_GENERIC | REDISMODULE_NOTIFY_STRING | REDISMODULE_NOTIFY_LIST | REDISMODULE_NOTIFY_SET |    \
     REDISMODULE_NOTIFY_HASH | REDISMODULE_NOTIFY_ZSET | REDISMODULE_NOTIFY_EXPIRED | REDISMODULE_NOTIFY_EVICTED |  \
     REDISMODULE_NOTIFY_STREAM | REDISMODULE_NOTIFY_MODULE)

#define REDISMODULE_CMDFILTER_NOSELF (1 << 0)

#define REDISMODULE_OPTIONS_HANDLE_IO_ERRORS (1 << 0)
#define REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED (1 << 1)
#define REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD (1 << 2)
#define REDISMODULE_OPTIONS_ALLOW_NESTED_KEYSPACE_NOTIFICATIONS (1 << 3)

/* The cluster's own bus. */
#define REDISMODULE_NODE_ID_LEN 40
#define REDISMODULE_NODE_MYSELF (1 << 0)
#define REDISMODULE_NODE_MASTER (1 << 1)
#define REDISMODULE_NODE_SLAVE (1 << 2)
#define REDISMODULE_NODE_PFAIL (1 << 3)
#define REDISMODULE_NODE_FAIL (1 << 4)

#define REDISMODULE_AUX_BEFORE_RDB (1 << 0)
#define REDISMODULE_AUX_AFTER_RDB (1 << 1)

#define REDISMODULE_EVENTLOOP_READABLE 1
#define REDISMODULE_EVENTLOOP_WRITABLE 2

/* Key specs of commands (RedisModule_SetCommandInfo, ACLCheckKeyPermissions, GetCommandKeysWithFlags). */
#define REDISMODULE_CMD_KEY_RO (1ULL << 0)
#define REDISMODULE_CMD_KEY_RW (1ULL << 1)
#define REDISMODULE_CMD_KEY_OW (1ULL << 2)
#define REDISMODULE_CMD_KEY_RM (1ULL << 3)
#define REDISMODULE_CMD_KEY_ACCESS (1ULL << 4)
#define REDISMODULE_CMD_KEY_UPDATE (1ULL << 5)
#define REDISMODULE_CMD_KEY_INSERT (1ULL << 6)
#define REDISMODULE_CMD_KEY_DELETE (1ULL << 7)

/* What a command says of itself: COMMAND INFO, COMMAND DOCS. The server learns the sizes of the array elements from
 * version, so that it can be newer than this. */
typedef enum {
    REDISMODULE_KSPEC_BS_INVALID,
    REDISMODULE_KSPEC_BS_UNKNOWN,
    REDISMODULE_KSPEC_BS_INDEX,
    REDISMODULE_KSPEC_BS_KEYWORD
} RedisModuleKeySpecBeginSearchType;
typedef enum {
    REDISMODULE_KSPEC_FK_OMITTED,
    REDISMODULE_KSPEC_FK_UNKNOWN,
    REDISMODULE_KSPEC_FK_RANGE,
    REDISMODULE_KSPEC_FK_KEYNUM
} RedisModuleKeySpecFindKeysType;
typedef struct RedisModuleCommandKeySpec {
    const char *notes;
    uint64_t flags; /* REDISMODULE_CMD_KEY_* */
    RedisModuleKeySpecBeginSearchType begin_search_type;
    union {
        struct {
            int pos;
        } index;
        struct {
            const char *keyword;
            int startfrom;
        } keyword;
    } bs;
    RedisModuleKeySpecFindKeysType find_keys_type;
    union {
        struct {
            int lastkey, keystep, limit;
        } range;
        struct {
            int keynumidx, firstkey, keystep;
        } keynum;
    } fk;
} RedisModuleCommandKeySpec;
typedef struct RedisModuleCommandInfoVersion {
    int version;
    size_t sizeof_historyentry, sizeof_keyspec, sizeof_arg;
} RedisModuleCommandInfoVersion;
typedef struct RedisModuleCommandInfo {
    const RedisModuleCommandInfoVersion *version;
    const char *summary, *complexity, *since;
    const void *history;
    const char *tips;
    int arity; /* 0: the command counts its arguments itself */
    RedisModuleCommandKeySpec *key_specs;
    const void *args;
} RedisModuleCommandInfo;

enum { REDISMODULE_ACL_LOG_AUTH, REDISMODULE_ACL_LOG_CMD, REDISMODULE_ACL_LOG_KEY, REDISMODULE_ACL_LOG_CHANNEL };

#define REDISMODULE_ERRORMSG_WRONGTYPE "WRONGTYPE Operation against a key holding the wrong kind of value"

/* Server events: {number, version of its data}. */
typedef struct RedisModuleEvent {
    uint64_t id;
    uint64_t dataver;
} RedisModuleEvent;

#define REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED 0
#define REDISMODULE_EVENT_PERSISTENCE 1
#define REDISMODULE_EVENT_FLUSHDB 2
#define REDISMODULE_EVENT_LOADING 3
#define REDISMODULE_EVENT_SHUTDOWN 5
#define REDISMODULE_EVENT_CRON_LOOP 8
#define REDISMODULE_EVENT_SWAPDB 11
#define REDISMODULE_EVENT_FORK_CHILD 13
#define REDISMODULE_EVENT_REPL_ASYNC_LOAD 14
#define REDISMODULE_EVENT_EVENTLOOP 15

enum {
    REDISMODULE_SUBEVENT_PERSISTENCE_RDB_START,
    REDISMODULE_SUBEVENT_PERSISTENCE_AOF_START,
    REDISMODULE_SUBEVENT_PERSISTENCE_SYNC_RDB_START,
    REDISMODULE_SUBEVENT_PERSISTENCE_ENDED,
    REDISMODULE_SUBEVENT_PERSISTENCE_FAILED,
    REDISMODULE_SUBEVENT_PERSISTENCE_SYNC_AOF_START
};

enum { REDISMODULE_EVENT_REPLROLECHANGED_NOW_MASTER, REDISMODULE_EVENT_REPLROLECHANGED_NOW_REPLICA };
enum {
    REDISMODULE_SUBEVENT_LOADING_RDB_START,
    REDISMODULE_SUBEVENT_LOADING_AOF_START,
    REDISMODULE_SUBEVENT_LOADING_REPL_START,
    REDISMODULE_SUBEVENT_LOADING_ENDED,
    REDISMODULE_SUBEVENT_LOADING_FAILED
};
enum { REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP, REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP };
enum { REDISMODULE_SUBEVENT_FLUSHDB_START, REDISMODULE_SUBEVENT_FLUSHDB_END };
enum {
    REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_STARTED,
    REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_ABORTED,
    REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_COMPLETED
};

typedef struct RedisModuleFlushInfo { /* data of EVENT_FLUSHDB */
    uint64_t version;
    int32_t sync;
    int32_t dbnum; /* -1: all */
} RedisModuleFlushInfo;

typedef struct RedisModuleCtx RedisModuleCtx;
typedef struct RedisModuleString RedisModuleString;
typedef struct RedisModuleKey RedisModuleKey;
typedef struct RedisModuleCommand RedisModuleCommand;
typedef struct RedisModuleCallReply RedisModuleCallReply;
typedef struct RedisModuleType RedisModuleType;
typedef struct RedisModuleIO RedisModuleIO;
typedef struct RedisModuleDigest RedisModuleDigest;
typedef struct RedisModuleKeyOptCtx RedisModuleKeyOptCtx;
typedef struct RedisModuleDefragCtx RedisModuleDefragCtx;
typedef struct RedisModuleInfoCtx RedisModuleInfoCtx;
typedef struct RedisModuleBlockedClient RedisModuleBlockedClient;
typedef struct RedisModuleCommandFilter RedisModuleCommandFilter;
typedef struct RedisModuleCommandFilterCtx RedisModuleCommandFilterCtx;
typedef struct RedisModuleUser RedisModuleUser;
typedef struct RedisModuleServerInfoData RedisModuleServerInfoData;
typedef struct RedisModuleScanCursor RedisModuleScanCursor;
typedef uint64_t RedisModuleTimerID;
typedef long long mstime_t;

typedef int (*RedisModuleCmdFunc)(RedisModuleCtx *ctx, RedisModuleString **argv, int argc);
typedef void (*RedisModuleDisconnectFunc)(RedisModuleCtx *ctx, RedisModuleBlockedClient *bc);
typedef void (*RedisModuleFreePrivdataFunc)(RedisModuleCtx *ctx, void *privdata);
typedef int (*RedisModuleNotificationFunc)(RedisModuleCtx *ctx, int type, const char *event, RedisModuleString *key);
typedef void (*RedisModulePostNotificationJobFunc)(RedisModuleCtx *ctx, void *arg);
typedef void (*RedisModuleTimerProc)(RedisModuleCtx *ctx, void *data);
typedef void (*RedisModuleEventLoopFunc)(int fd, void *user_data, int mask);
typedef void (*RedisModuleEventLoopOneShotFunc)(void *user_data);
typedef void (*RedisModuleEventCallback)(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data);
typedef void (*RedisModuleCommandFilterFunc)(RedisModuleCommandFilterCtx *filter);
typedef void (*RedisModuleInfoFunc)(RedisModuleInfoCtx *ctx, int for_crash_report);
typedef void (*RedisModuleClusterMessageReceiver)(RedisModuleCtx *ctx, const char *sender_id, uint8_t type,
                                                  const unsigned char *payload, uint32_t len);
typedef void (*RedisModuleScanCB)(RedisModuleCtx *ctx, RedisModuleString *keyname, RedisModuleKey *key, void *privdata);
typedef void (*RedisModuleScanKeyCB)(RedisModuleKey *key, RedisModuleString *field, RedisModuleString *value,
                                     void *privdata);

typedef RedisModuleString *(*RedisModuleConfigGetStringFunc)(const char *name, void *privdata);
typedef long long (*RedisModuleConfigGetNumericFunc)(const char *name, void *privdata);
typedef int (*RedisModuleConfigGetBoolFunc)(const char *name, void *privdata);
typedef int (*RedisModuleConfigGetEnumFunc)(const char *name, void *privdata);
typedef int (*RedisModuleConfigSetStringFunc)(const char *name, RedisModuleString *value, void *privdata,
                                              RedisModuleString **err);
typedef int (*RedisModuleConfigSetNumericFunc)(const char *name, long long value, void *privdata,
                                               RedisModuleString **err);
typedef int (*RedisModuleConfigSetBoolFunc)(const char *name, int value, void *privdata, RedisModuleString **err);
typedef int (*RedisModuleConfigSetEnumFunc)(const char *name, int value, void *privdata, RedisModuleString **err);
typedef int (*RedisModuleConfigApplyFunc)(RedisModuleCtx *ctx, void *privdata, RedisModuleString **err);

/* A data type's callbacks. A server reads only the fields of the versions that it knows: 4 is Redis 7.0, 5 is 7.2. */
#define REDISMODULE_TYPE_METHOD_VERSION 5
typedef struct RedisModuleTypeMethods {
    uint64_t version;
    void *(*rdb_load)(RedisModuleIO *rdb, int encver);
    void (*rdb_save)(RedisModuleIO *rdb, void *value);
    void (*aof_rewrite)(RedisModuleIO *aof, RedisModuleString *key, void *value);
    size_t (*mem_usage)(const void *value);
    void (*digest)(RedisModuleDigest *digest, void *value);
    void (*free)(void *value);
    int (*aux_load)(RedisModuleIO *rdb, int encver, int when);
    void (*aux_save)(RedisModuleIO *rdb, int when);
    int aux_save_triggers;
    size_t (*free_effort)(RedisModuleString *key, const void *value);
    void (*unlink)(RedisModuleString *key, const void *value);
    void *(*copy)(RedisModuleString *from, RedisModuleString *to, const void *value);
    int (*defrag)(RedisModuleDefragCtx *ctx, RedisModuleString *key, void **value);
    size_t (*mem_usage2)(RedisModuleKeyOptCtx *ctx, const void *value, size_t sample_size);
    size_t (*free_effort2)(RedisModuleKeyOptCtx *ctx, const void *value);
    void (*unlink2)(RedisModuleKeyOptCtx *ctx, const void *value);
    void *(*copy2)(RedisModuleKeyOptCtx *ctx, const void *value);
    void (*aux_save2)(RedisModuleIO *rdb, int when);
} RedisModuleTypeMethods;

#define REDIS_API_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* X(result, name, parameters): NEED(...) refuses to load without it (all are in Redis 7.0); MAY(...) may be NULL. */
#define REDIS_API_FUNCTIONS(NEED, MAY)                                                                              \
    /* Memory. */                                                                                                   \
    NEED(void *, Alloc, (size_t bytes))                                                                             \
    NEED(void *, Calloc, (size_t count, size_t size))                                                               \
    NEED(void *, Realloc, (void *ptr, size_t bytes))                                                                \
    NEED(void, Free, (void *ptr))                                                                                   \
    NEED(void *, TryAlloc, (size_t bytes))                                                                          \
    NEED(size_t, MallocSize, (void *ptr))                                                                           \
    /* The module, its commands and options. */                                                                     \
    NEED(void, SetModuleAttribs, (RedisModuleCtx *ctx, const char *name, int version, int api_version))             \
    NEED(int, IsModuleNameBusy, (const char *name))                                                                 \
    NEED(void, SetModuleOptions, (RedisModuleCtx *ctx, int options))                                                \
    NEED(int, CreateCommand, (RedisModuleCtx *ctx, const char *name, RedisModuleCmdFunc fn, const char *flags,      \
                              int first_key, int last_key, int key_step))                                           \
    NEED(RedisModuleCommand *, GetCommand, (RedisModuleCtx *ctx, const char *name))                                 \
    NEED(int, SetCommandInfo, (RedisModuleCommand *command, const RedisModuleCommandInfo *info))                    \
    MAY(int, AddACLCategory, (RedisModuleCtx *ctx, const char *name))                                               \
    MAY(int, SetCommandACLCategories, (RedisModuleCommand *command, const char *categories))                        \
    NEED(int, IsKeysPositionRequest, (RedisModuleCtx *ctx))                                                         \
    NEED(void, KeyAtPosWithFlags, (RedisModuleCtx *ctx, int position, int flags))                                   \
    NEED(int *, GetCommandKeysWithFlags,                                                                            \
         (RedisModuleCtx *ctx, RedisModuleString **argv, int argc, int *count, int **flags))                        \
    NEED(int, GetContextFlags, (RedisModuleCtx *ctx))                                                               \
    NEED(int, GetServerVersion, (void))                                                                             \
    NEED(void, AutoMemory, (RedisModuleCtx *ctx))                                                                   \
    NEED(RedisModuleCtx *, GetDetachedThreadSafeContext, (RedisModuleCtx *ctx))                                     \
    NEED(void, FreeThreadSafeContext, (RedisModuleCtx *ctx))                                                        \
    NEED(void, Log, (RedisModuleCtx *ctx, const char *level, const char *format, ...) REDIS_API_PRINTF(3, 4))       \
    NEED(void, LogIOError, (RedisModuleIO *io, const char *level, const char *format, ...) REDIS_API_PRINTF(3, 4))  \
    /* Replies. */                                                                                                  \
    NEED(int, WrongArity, (RedisModuleCtx *ctx))                                                                    \
    NEED(int, ReplyWithLongLong, (RedisModuleCtx *ctx, long long value))                                            \
    NEED(int, ReplyWithDouble, (RedisModuleCtx *ctx, double value))                                                 \
    NEED(int, ReplyWithError, (RedisModuleCtx *ctx, const char *error))                                             \
    NEED(int, ReplyWithSimpleString, (RedisModuleCtx *ctx, const char *text))                                       \
    NEED(int, ReplyWithArray, (RedisModuleCtx *ctx, long count))                                                    \
    NEED(void, ReplySetArrayLength, (RedisModuleCtx *ctx, long count))                                              \
    NEED(int, ReplyWithNullArray, (RedisModuleCtx *ctx))                                                            \
    NEED(int, ReplyWithMap, (RedisModuleCtx *ctx, long count))                                                      \
    NEED(int, ReplyWithSet, (RedisModuleCtx *ctx, long count))                                                      \
    NEED(int, ReplyWithBool, (RedisModuleCtx *ctx, int value))                                                      \
    NEED(int, ReplyWithBigNumber, (RedisModuleCtx *ctx, const char *digits, size_t len))                            \
    NEED(int, ReplyWithVerbatimStringType, (RedisModuleCtx *ctx, const char *data, size_t len, const char *type))   \
    NEED(int, ReplyWithStringBuffer, (RedisModuleCtx *ctx, const char *data, size_t len))                           \
    NEED(int, ReplyWithCString, (RedisModuleCtx *ctx, const char *text))                                            \
    NEED(int, ReplyWithString, (RedisModuleCtx *ctx, RedisModuleString *string))                                    \
    NEED(int, ReplyWithNull, (RedisModuleCtx *ctx))                                                                 \
    NEED(int, ReplyWithCallReply, (RedisModuleCtx *ctx, RedisModuleCallReply *reply))                               \
    /* Strings. */                                                                                                  \
    NEED(RedisModuleString *, CreateString, (RedisModuleCtx *ctx, const char *data, size_t len))                    \
    NEED(RedisModuleString *, CreateStringFromLongLong, (RedisModuleCtx *ctx, long long value))                     \
    NEED(RedisModuleString *, CreateStringFromString, (RedisModuleCtx *ctx, const RedisModuleString *string))       \
    NEED(RedisModuleString *, CreateStringPrintf,                                                                   \
         (RedisModuleCtx *ctx, const char *format, ...) REDIS_API_PRINTF(2, 3))                                     \
    NEED(void, FreeString, (RedisModuleCtx *ctx, RedisModuleString *string))                                        \
    NEED(void, RetainString, (RedisModuleCtx *ctx, RedisModuleString *string))                                      \
    NEED(RedisModuleString *, HoldString, (RedisModuleCtx *ctx, RedisModuleString *string))                         \
    NEED(void, TrimStringAllocation, (RedisModuleString *string))                                                   \
    NEED(const char *, StringPtrLen, (const RedisModuleString *string, size_t *len))                                \
    NEED(int, StringToLongLong, (const RedisModuleString *string, long long *value))                                \
    NEED(int, StringToDouble, (const RedisModuleString *string, double *value))                                     \
    NEED(int, StringCompare, (const RedisModuleString *a, const RedisModuleString *b))                              \
    /* Keys. */                                                                                                     \
    NEED(int, GetSelectedDb, (RedisModuleCtx *ctx))                                                                 \
    NEED(int, SelectDb, (RedisModuleCtx *ctx, int db))                                                              \
    NEED(RedisModuleKey *, OpenKey, (RedisModuleCtx *ctx, RedisModuleString *name, int mode))                       \
    MAY(int, GetOpenKeyModesAll, (void))                                                                            \
    NEED(void, CloseKey, (RedisModuleKey *key))                                                                     \
    NEED(int, KeyType, (RedisModuleKey *key))                                                                       \
    NEED(size_t, ValueLength, (RedisModuleKey *key))                                                                \
    NEED(int, DeleteKey, (RedisModuleKey *key))                                                                     \
    NEED(int, SignalModifiedKey, (RedisModuleCtx *ctx, RedisModuleString *name))                                    \
    NEED(char *, StringDMA, (RedisModuleKey *key, size_t *len, int mode))                                           \
    NEED(const RedisModuleString *, GetKeyNameFromModuleKey, (RedisModuleKey *key))                                 \
    NEED(RedisModuleScanCursor *, ScanCursorCreate, (void))                                                         \
    NEED(void, ScanCursorDestroy, (RedisModuleScanCursor *cursor))                                                  \
    NEED(int, Scan, (RedisModuleCtx *ctx, RedisModuleScanCursor *cursor, RedisModuleScanCB fn, void *privdata))     \
    NEED(int, ScanKey, (RedisModuleKey *key, RedisModuleScanCursor *cursor, RedisModuleScanKeyCB fn, void *privdata)) \
    /* Running commands, replication. */                                                                            \
    NEED(RedisModuleCallReply *, Call, (RedisModuleCtx *ctx, const char *command, const char *format, ...))         \
    NEED(const char *, CallReplyProto, (RedisModuleCallReply *reply, size_t *len))                                  \
    NEED(void, FreeCallReply, (RedisModuleCallReply *reply))                                                        \
    NEED(int, CallReplyType, (RedisModuleCallReply *reply))                                                         \
    NEED(long long, CallReplyInteger, (RedisModuleCallReply *reply))                                                \
    NEED(size_t, CallReplyLength, (RedisModuleCallReply *reply))                                                    \
    NEED(RedisModuleCallReply *, CallReplyArrayElement, (RedisModuleCallReply *reply, size_t index))                \
    NEED(const char *, CallReplyStringPtr, (RedisModuleCallReply *reply, size_t *len))                              \
    NEED(RedisModuleString *, CreateStringFromCallReply, (RedisModuleCallReply *reply))                             \
    NEED(int, Replicate, (RedisModuleCtx *ctx, const char *command, const char *format, ...))                       \
    NEED(int, ReplicateVerbatim, (RedisModuleCtx *ctx))                                                             \
    NEED(int, AvoidReplicaTraffic, (void)) /* clients are paused */                                                 \
    NEED(long long, GetExpire, (RedisModuleKey *key)) /* milliseconds left, or REDISMODULE_NO_EXPIRE */             \
    /* Data types. */                                                                                               \
    NEED(RedisModuleType *, CreateDataType,                                                                         \
         (RedisModuleCtx *ctx, const char *name, int encver, RedisModuleTypeMethods *methods))                      \
    NEED(int, ModuleTypeSetValue, (RedisModuleKey *key, RedisModuleType *type, void *value))                        \
    NEED(int, ModuleTypeReplaceValue, (RedisModuleKey *key, RedisModuleType *type, void *value, void **old))        \
    NEED(RedisModuleType *, ModuleTypeGetType, (RedisModuleKey *key))                                               \
    NEED(void *, ModuleTypeGetValue, (RedisModuleKey *key))                                                         \
    NEED(int, IsIOError, (RedisModuleIO *io))                                                                       \
    NEED(void, SaveUnsigned, (RedisModuleIO *io, uint64_t value))                                                   \
    NEED(uint64_t, LoadUnsigned, (RedisModuleIO *io))                                                               \
    NEED(void, SaveSigned, (RedisModuleIO *io, int64_t value))                                                      \
    NEED(int64_t, LoadSigned, (RedisModuleIO *io))                                                                  \
    NEED(void, SaveString, (RedisModuleIO *io, RedisModuleString *string))                                          \
    NEED(void, SaveStringBuffer, (RedisModuleIO *io, const char *data, size_t len))                                 \
    NEED(RedisModuleString *, LoadString, (RedisModuleIO *io))                                                      \
    NEED(char *, LoadStringBuffer, (RedisModuleIO *io, size_t *len))                                                \
    NEED(void, EmitAOF, (RedisModuleIO *io, const char *command, const char *format, ...))                          \
    NEED(RedisModuleCtx *, GetContextFromIO, (RedisModuleIO *io))                                                   \
    NEED(const RedisModuleString *, GetKeyNameFromIO, (RedisModuleIO *io))                                          \
    NEED(int, GetDbIdFromIO, (RedisModuleIO *io))                                                                   \
    NEED(void, DigestAddStringBuffer, (RedisModuleDigest *digest, const char *data, size_t len))                    \
    NEED(void, DigestAddLongLong, (RedisModuleDigest *digest, long long value))                                     \
    NEED(void, DigestEndSequence, (RedisModuleDigest *digest))                                                      \
    NEED(const RedisModuleString *, GetToKeyNameFromOptCtx, (RedisModuleKeyOptCtx *ctx))                            \
    NEED(int, GetToDbIdFromOptCtx, (RedisModuleKeyOptCtx *ctx))                                                     \
    MAY(int, GetTypeMethodVersion, (void))                                                                          \
    /* Blocked clients, timers, the event loop. */                                                                  \
    NEED(RedisModuleBlockedClient *, BlockClient,                                                                   \
         (RedisModuleCtx *ctx, RedisModuleCmdFunc reply, RedisModuleCmdFunc timeout, RedisModuleFreePrivdataFunc,   \
          long long timeout_ms))                                                                                    \
    NEED(int, UnblockClient, (RedisModuleBlockedClient *bc, void *privdata))                                        \
    NEED(int, AbortBlock, (RedisModuleBlockedClient *bc))                                                           \
    NEED(void *, GetBlockedClientPrivateData, (RedisModuleCtx *ctx))                                                \
    NEED(RedisModuleBlockedClient *, GetBlockedClientHandle, (RedisModuleCtx *ctx))                                 \
    NEED(void, SetDisconnectCallback, (RedisModuleBlockedClient *bc, RedisModuleDisconnectFunc fn))                 \
    NEED(int, BlockedClientMeasureTimeStart, (RedisModuleBlockedClient *bc))                                        \
    NEED(int, BlockedClientMeasureTimeEnd, (RedisModuleBlockedClient *bc))                                          \
    NEED(RedisModuleTimerID, CreateTimer,                                                                           \
         (RedisModuleCtx *ctx, mstime_t period_ms, RedisModuleTimerProc fn, void *data))                            \
    NEED(int, StopTimer, (RedisModuleCtx *ctx, RedisModuleTimerID id, void **data))                                 \
    NEED(int, EventLoopAdd, (int fd, int mask, RedisModuleEventLoopFunc fn, void *user_data))                       \
    NEED(int, EventLoopDel, (int fd, int mask))                                                                     \
    NEED(int, EventLoopAddOneShot, (RedisModuleEventLoopOneShotFunc fn, void *user_data))                           \
    NEED(uint64_t, MonotonicMicroseconds, (void))                                                                   \
    NEED(mstime_t, Milliseconds, (void))       /* of the calendar */                                                \
    MAY(long long, Microseconds, (void))       /* of the calendar */                                                \
    MAY(long long, CachedMicroseconds, (void)) /* the same when the command began */                                \
    /* Events, filters, info, settings. */                                                                          \
    NEED(int, SubscribeToServerEvent, (RedisModuleCtx *ctx, RedisModuleEvent event, RedisModuleEventCallback fn))   \
    NEED(int, SubscribeToKeyspaceEvents, (RedisModuleCtx *ctx, int types, RedisModuleNotificationFunc fn))          \
    NEED(int, NotifyKeyspaceEvent, (RedisModuleCtx *ctx, int type, const char *event, RedisModuleString *key))      \
    MAY(int, AddPostNotificationJob,                                                                                \
        (RedisModuleCtx *ctx, RedisModulePostNotificationJobFunc fn, void *arg, void (*free_arg)(void *)))          \
    NEED(RedisModuleCommandFilter *, RegisterCommandFilter,                                                         \
         (RedisModuleCtx *ctx, RedisModuleCommandFilterFunc fn, int flags))                                         \
    NEED(int, UnregisterCommandFilter, (RedisModuleCtx *ctx, RedisModuleCommandFilter *filter))                     \
    NEED(int, CommandFilterArgsCount, (RedisModuleCommandFilterCtx *filter))                                        \
    NEED(RedisModuleString *, CommandFilterArgGet, (RedisModuleCommandFilterCtx *filter, int position))             \
    NEED(int, CommandFilterArgInsert, (RedisModuleCommandFilterCtx *filter, int position, RedisModuleString *arg))  \
    NEED(int, CommandFilterArgReplace, (RedisModuleCommandFilterCtx *filter, int position, RedisModuleString *arg)) \
    NEED(int, CommandFilterArgDelete, (RedisModuleCommandFilterCtx *filter, int position))                          \
    MAY(unsigned long long, CommandFilterGetClientId, (RedisModuleCommandFilterCtx *filter))                        \
    NEED(int, RegisterInfoFunc, (RedisModuleCtx *ctx, RedisModuleInfoFunc fn))                                      \
    NEED(int, InfoAddSection, (RedisModuleInfoCtx *ctx, const char *name))                                          \
    NEED(int, InfoBeginDictField, (RedisModuleInfoCtx *ctx, const char *name))                                      \
    NEED(int, InfoEndDictField, (RedisModuleInfoCtx *ctx))                                                          \
    NEED(int, InfoAddFieldCString, (RedisModuleInfoCtx *ctx, const char *field, const char *value))                 \
    NEED(int, InfoAddFieldLongLong, (RedisModuleInfoCtx *ctx, const char *field, long long value))                  \
    NEED(int, InfoAddFieldULongLong, (RedisModuleInfoCtx *ctx, const char *field, unsigned long long value))        \
    NEED(int, InfoAddFieldDouble, (RedisModuleInfoCtx *ctx, const char *field, double value))                       \
    NEED(RedisModuleServerInfoData *, GetServerInfo, (RedisModuleCtx *ctx, const char *section))                    \
    NEED(void, FreeServerInfo, (RedisModuleCtx *ctx, RedisModuleServerInfoData *data))                              \
    NEED(const char *, ServerInfoGetFieldC, (RedisModuleServerInfoData *data, const char *field))                   \
    NEED(int, RegisterBoolConfig,                                                                                   \
         (RedisModuleCtx *ctx, const char *name, int value, unsigned flags, RedisModuleConfigGetBoolFunc,           \
          RedisModuleConfigSetBoolFunc, RedisModuleConfigApplyFunc, void *privdata))                                \
    NEED(int, RegisterNumericConfig,                                                                                \
         (RedisModuleCtx *ctx, const char *name, long long value, unsigned flags, long long min, long long max,     \
          RedisModuleConfigGetNumericFunc, RedisModuleConfigSetNumericFunc, RedisModuleConfigApplyFunc,             \
          void *privdata))                                                                                          \
    NEED(int, RegisterStringConfig,                                                                                 \
         (RedisModuleCtx *ctx, const char *name, const char *value, unsigned flags, RedisModuleConfigGetStringFunc, \
          RedisModuleConfigSetStringFunc, RedisModuleConfigApplyFunc, void *privdata))                              \
    NEED(int, LoadConfigs, (RedisModuleCtx *ctx))                                                                   \
    /* Users and rights. */                                                                                         \
    NEED(unsigned long long, GetClientId, (RedisModuleCtx *ctx))                                                    \
    NEED(RedisModuleString *, GetCurrentUserName, (RedisModuleCtx *ctx))                                            \
    NEED(RedisModuleUser *, GetModuleUserFromUserName, (RedisModuleString *name))                                   \
    NEED(void, FreeModuleUser, (RedisModuleUser *user))                                                             \
    MAY(void, SetContextUser, (RedisModuleCtx *ctx, const RedisModuleUser *user)) /* since Redis 7.0.6 */           \
    NEED(int, ACLCheckKeyPermissions, (RedisModuleUser *user, RedisModuleString *key, int flags))                   \
    NEED(void, ACLAddLogEntry, (RedisModuleCtx *ctx, RedisModuleUser *user, RedisModuleString *object, int reason)) \
    /* The cluster. */                                                                                              \
    NEED(const char *, GetMyClusterID, (void))                                                                      \
    NEED(size_t, GetClusterSize, (void))                                                                            \
    NEED(char **, GetClusterNodesList, (RedisModuleCtx *ctx, size_t *count))                                        \
    NEED(void, FreeClusterNodesList, (char **ids))                                                                  \
    NEED(int, GetClusterNodeInfo,                                                                                   \
         (RedisModuleCtx *ctx, const char *id, char *ip, char *master_id, int *port, int *flags))                   \
    NEED(void, RegisterClusterMessageReceiver,                                                                      \
         (RedisModuleCtx *ctx, uint8_t type, RedisModuleClusterMessageReceiver fn))                                 \
    NEED(int, SendClusterMessage,                                                                                   \
         (RedisModuleCtx *ctx, const char *target, uint8_t type, const char *message, uint32_t len))

#define REDIS_API_DECLARE(result, name, parameters) extern result(*RedisModule_##name) parameters;
REDIS_API_FUNCTIONS(REDIS_API_DECLARE, REDIS_API_DECLARE)
#undef REDIS_API_DECLARE

/* Resolve every function above. Returns NULL, or the name of the first required one that this server lacks. */
const char *redis_api_load(RedisModuleCtx *ctx);

#endif

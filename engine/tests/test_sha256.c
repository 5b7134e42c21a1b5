/* The vectors of FIPS 180-4 and every way of cutting a message into pieces, with the fast and with the plain rounds. */
#include "../sha256.c"

#include <stdio.h>
#include <stdlib.h>

static int failures;

static void check(const char *what, const char *got, const char *want) {
    if (strcmp(got, want) == 0) return;
    printf("%s: got %s, want %s\n", what, got, want);
    failures++;
}

static void hash(const void *data, size_t len, size_t piece, char hex[SHA256_HEX_CHARS + 1]) {
    sha256 s;
    sha256_init(&s);
    for (size_t at = 0; at < len; at += piece)
        sha256_add(&s, (const char *)data + at, len - at < piece ? len - at : piece);
    sha256_end_hex(&s, hex);
}

static void test_known_messages(void) {
    char hex[SHA256_HEX_CHARS + 1];
    hash("", 0, 1, hex);
    check("empty", hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash("abc", 3, 3, hex);
    check("abc", hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    hash(two_blocks, strlen(two_blocks), 7, hex);
    check("two blocks", hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    hash(million, 1000000, 999, hex);
    check("a million a", hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

static void test_pieces_do_not_matter(void) {
    uint8_t data[300];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 31);
    for (size_t len = 0; len <= sizeof data; len++) {
        char whole[SHA256_HEX_CHARS + 1], cut[SHA256_HEX_CHARS + 1];
        hash(data, len, sizeof data, whole);
        for (size_t piece = 1; piece < 130; piece += 9) {
            hash(data, len, piece, cut);
            check("pieces", cut, whole);
        }
    }
}

static void test_fast_rounds_agree_with_plain_ones(void) {
#if defined(__x86_64__)
    if (!has_sha_extensions()) return;
    uint8_t data[64 * 17];
    uint32_t fast[8], plain[8];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * i + 7);
    memcpy(fast, INITIAL, sizeof fast);
    memcpy(plain, INITIAL, sizeof plain);
    add_blocks_sha(fast, data, 17);
    add_blocks_plain(plain, data, 17);
    check("rounds", memcmp(fast, plain, sizeof fast) ? "differ" : "same", "same");
#endif
}

int main(void) {
    test_known_messages();
    test_pieces_do_not_matter();
    test_fast_rounds_agree_with_plain_ones();
    if (failures == 0) puts("sha256: ok");
    return failures != 0;
}

/* Does a text hold the beginning of all special tokens? Almost none does, and each is asked. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SEARCHED_AT_ONCE = 64 };

/* Whether `content` holds `wanted`; every content holds an empty one. */
static int holds(const uint8_t *content, size_t n_content, const uint8_t *wanted, size_t n_wanted) {
    size_t at = 0;
    if (n_wanted == 0) return 1;
    if (n_wanted > 1) {
        const uint8_t first = wanted[0], second = wanted[1];
        /* No branch inside a block, so that compilers make vectors of it. */
        while (at + SEARCHED_AT_ONCE < n_content) {
            uint8_t found = 0;
            for (int i = 0; i < SEARCHED_AT_ONCE; i++) {
                found |= (content[at + i] == first) & (content[at + i + 1] == second);
            }
            if (found) break;
            at += SEARCHED_AT_ONCE;
        }
    }
    for (; at + n_wanted <= n_content; at++) {
        const uint8_t *next = memchr(content + at, wanted[0], n_content - n_wanted + 1 - at);
        if (!next) return 0;
        if (memcmp(next, wanted, n_wanted) == 0) return 1;
        at = next - content;
    }
    return 0;
}

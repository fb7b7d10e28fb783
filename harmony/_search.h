/* Does a text hold the beginning of all special tokens? Almost none does, and each is asked. */
#pragma once
#include "_tier.h"

/* Whether `content` holds `wanted`; every content holds an empty one. */
static int holds(const Tier *tier, const uint8_t *content, size_t n_content,
                 const uint8_t *wanted, size_t n_wanted) {
    size_t at = 0;
    if (n_wanted == 0) return 1;
    if (n_wanted > 1) at = tier->skip_to_pair(content, n_content, wanted[0], wanted[1]);
    for (; at + n_wanted <= n_content; at++) {
        const uint8_t *next = memchr(content + at, wanted[0], n_content - n_wanted + 1 - at);
        if (!next) return 0;
        if (memcmp(next, wanted, n_wanted) == 0) return 1;
        at = next - content;
    }
    return 0;
}

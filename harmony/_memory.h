/* Reads through raw pointers, for the compiled modules, with what the debug build adds to them:
 * bounds checks and a count of the steps taken. In a release build both compile to nothing. And what
 * they ask of the processor and the system: memory, before it is needed, and a moment's rest.
 *
 * Each module that includes this has its own counter; _bpe.steps() adds them up.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#ifdef HARMONY_DEBUG

#include <stdio.h>

#define HARMONY_BUILD_IS_DEBUG 1
static _Thread_local uint64_t harmony_steps = 0;

static inline void count_steps(size_t n) { harmony_steps += n; }
static inline uint64_t steps_counted(void) { return harmony_steps; }
static inline void forget_steps(void) { harmony_steps = 0; }

static inline void check_index(size_t index, size_t length, const char *what) {
    if (index >= length) {
        fprintf(stderr, "harmony debug build: index %zu of %s is outside its %zu items\n",
                index, what, length);
        abort();
    }
}

#else

#define HARMONY_BUILD_IS_DEBUG 0
static inline void count_steps(size_t n) { (void)n; }
static inline uint64_t steps_counted(void) { return 0; }
static inline void forget_steps(void) {}
static inline void check_index(size_t index, size_t length, const char *what) {
    (void)index; (void)length; (void)what;
}

#endif

static inline uint8_t byte_at(const uint8_t *bytes, size_t index, size_t length) {
    check_index(index, length, "a byte string");
    return bytes[index];
}

static inline uint32_t u32_at(const uint32_t *values, size_t index, size_t length) {
    check_index(index, length, "a uint32 table");
    return values[index];
}

static inline uint64_t u64_at(const uint64_t *values, size_t index, size_t length) {
    check_index(index, length, "a uint64 table");
    return values[index];
}

/* Give up the processor for as short as a thread can sleep, to be called without the interpreter
 * lock. Letting go of the lock alone lets nobody else run: whoever waits for it has to wake up
 * first, and by then it is taken again. */
static inline void step_aside(void) {
    struct timespec shortest = {0, 1000};
    nanosleep(&shortest, NULL);
}

/* Tell the system something about the whole pages of this memory. Where it does not know what is meant,
 * nothing happens. */
static inline void advise(void *memory, size_t n_bytes, int advice) {
#if defined(__linux__)
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)memory + page - 1) & ~(page - 1);
    uintptr_t stop = ((uintptr_t)memory + n_bytes) & ~(page - 1);
    if (start < stop) (void)madvise((void *)start, stop - start, advice);
#else
    (void)memory;
    (void)n_bytes;
    (void)advice;
#endif
}

/* Have the system provide memory that is about to be written to all over. Memory that is read before
 * it is written to is provided twice, and the second time every other thread of the process has to be
 * told: ten microseconds a page on a virtual machine. What it holds is kept. */
static inline void provide_memory(void *memory, size_t n_bytes) {
    enum { POPULATE_WRITE = 23 };       /* MADV_POPULATE_WRITE, Linux 5.14; older headers lack it */
    advise(memory, n_bytes, POPULATE_WRITE);
}

enum { HUGE_PAGE_BYTES = 1 << 21 };

/* Memory that begins where a huge page can; NULL if there is none. */
static inline void *allocate_for_huge_pages(size_t n_bytes) {
    size_t n_pages = n_bytes / HUGE_PAGE_BYTES + (n_bytes % HUGE_PAGE_BYTES != 0);
    if (n_pages > SIZE_MAX / HUGE_PAGE_BYTES) return NULL;
    return aligned_alloc(HUGE_PAGE_BYTES, n_pages * HUGE_PAGE_BYTES);
}

/* Have the system provide memory a huge page at a time, once it is written to: that takes a sixth of the
 * time that as many small pages take. */
static inline void want_huge_pages(void *memory, size_t n_bytes) {
    enum { HUGE_PAGE = 14 };            /* MADV_HUGEPAGE */
    advise(memory, n_bytes, HUGE_PAGE);
}

/* Zeros that are about to be written to all over, in huge pages if the system has them; NULL: no memory. */
static inline void *provide_zeros(size_t n_bytes) {
    void *memory = allocate_for_huge_pages(n_bytes);
    if (!memory) return NULL;
    n_bytes += -n_bytes % HUGE_PAGE_BYTES;      /* of a part of one, none would be made */
    want_huge_pages(memory, n_bytes);
    provide_memory(memory, n_bytes);
    return memset(memory, 0, n_bytes);
}

/* Ask for the cache line at `address`, which is needed soon. Any address may be asked for. */
static inline void prefetch(const void *address) {
    /* Not the built-in function: compilers take whatever does nothing else for something that does
     * nothing, and leave it out. */
#if defined(__GNUC__) && defined(__x86_64__)
    __asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)address));
#elif defined(__GNUC__)
    __builtin_prefetch(address);
    __asm__ volatile("" : : "r"(address));
#else
    (void)address;
#endif
}

/* The eight bytes at `bytes` as one little-endian number; the caller knows that they exist. */
static inline uint64_t load_u64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

/* The two bytes at `bytes` likewise. */
static inline uint32_t load_u16(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8;
}

/* Position of the lowest and of the highest bit that is set; `bits` is not 0. */
static inline int lowest_bit(uint64_t bits) {
#if defined(__GNUC__)
    return __builtin_ctzll(bits);
#else
    int at = 0;
    while (!(bits >> at & 1)) at++;
    return at;
#endif
}

static inline int highest_bit(uint64_t bits) {
#if defined(__GNUC__)
    return 63 ^ __builtin_clzll(bits);
#else
    int at = 63;
    while (!(bits >> at & 1)) at--;
    return at;
#endif
}

/* The number of `n_bits` bits, or `none` if it has more. Where it is hard to guess which, a branch costs
 * more than what depends on it. */
static inline uint32_t number_or(uint64_t number, int n_bits, uint32_t none) {
    uint32_t has_more = (uint32_t)-(int32_t)(number >> n_bits != 0);
#if defined(__GNUC__)
    __asm__("" : "+r"(has_more));       /* or compilers make a branch of it */
#endif
    return ((uint32_t)number & ~has_more) | (none & has_more);
}

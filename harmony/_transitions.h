/* The automaton of the parser: what happens for a mode, a state and the kind of an id. The end of
 * the stream is one more kind. _parser.pyx does what is said here; docs/design.md shows it, with
 * what each action means.
 */
#pragma once
#include <stdint.h>

enum { STRICT, LENIENT, RECOVER, N_MODES };
static const char *const MODE_NAMES[] = {"STRICT", "LENIENT", "RECOVER"};

enum { EXPECT_START, HEADER, CONTENT, PROMPTED, STARTED, LEAD, BARE, FULL, N_STATES };
static const char *const STATE_NAMES[] = {
    "EXPECT_START", "HEADER", "CONTENT", "PROMPTED", "STARTED", "LEAD", "BARE", "FULL",
};

enum {
    ON_TEXT, ON_START, ON_CHANNEL, ON_CONSTRAIN, ON_MESSAGE, ON_STOP, ON_SPECIAL, ON_UNKNOWN,
    ON_END, N_KINDS,
};
static const char *const KIND_NAMES[] = {
    "text", "start", "channel", "constrain", "message", "stop", "special", "unknown", "end",
};

enum {
    /* of all modes */
    IGNORE, OPEN, COLLECT, READ,
    /* strict and lenient */
    REFUSE, LEAVE, CUT, APPEND, FINISH,
    /* recovering */
    SKIP, BEGIN, REPEAT, GATHER, JUDGE, RESCUE, MEND, DROP, REPLACE, BREAK, CLOSE, PASS,
    N_ACTIONS,
};
static const char *const ACTION_NAMES[] = {
    "IGNORE", "OPEN", "COLLECT", "READ",
    "REFUSE", "LEAVE", "CUT", "APPEND", "FINISH",
    "SKIP", "BEGIN", "REPEAT", "GATHER", "JUDGE", "RESCUE", "MEND", "DROP", "REPLACE", "BREAK",
    "CLOSE", "PASS",
};

static const unsigned char TRANSITIONS[N_MODES][N_STATES][N_KINDS] = {
    [STRICT] = {
        /*                  text     start    channel  constr.  message  stop     special  unknown  end */
        [EXPECT_START] = {  REFUSE,  OPEN,    REFUSE,  REFUSE,  REFUSE,  REFUSE,  REFUSE,  REFUSE,  IGNORE },
        [HEADER]       = {  COLLECT, COLLECT, COLLECT, COLLECT, READ,    COLLECT, COLLECT, COLLECT, CUT    },
        [CONTENT]      = {  APPEND,  APPEND,  APPEND,  APPEND,  APPEND,  FINISH,  APPEND,  APPEND,  FINISH },
    },
    [LENIENT] = {
        [EXPECT_START] = {  REFUSE,  OPEN,    REFUSE,  REFUSE,  REFUSE,  REFUSE,  REFUSE,  REFUSE,  IGNORE },
        [HEADER]       = {  COLLECT, COLLECT, COLLECT, COLLECT, READ,    LEAVE,   COLLECT, COLLECT, CUT    },
        [CONTENT]      = {  APPEND,  APPEND,  APPEND,  APPEND,  APPEND,  FINISH,  APPEND,  APPEND,  FINISH },
    },
    [RECOVER] = {
        [EXPECT_START] = {  BEGIN,   OPEN,    BEGIN,   BEGIN,   BEGIN,   SKIP,    SKIP,    SKIP,    IGNORE },
        [PROMPTED]     = {  BEGIN,   OPEN,    BEGIN,   BEGIN,   BEGIN,   SKIP,    SKIP,    SKIP,    CUT    },
        [STARTED]      = {  GATHER,  REPEAT,  JUDGE,   JUDGE,   JUDGE,   RESCUE,  GATHER,  GATHER,  RESCUE },
        [LEAD]         = {  GATHER,  RESCUE,  JUDGE,   JUDGE,   JUDGE,   RESCUE,  GATHER,  GATHER,  RESCUE },
        [HEADER]       = {  COLLECT, RESCUE,  COLLECT, COLLECT, READ,    RESCUE,  COLLECT, COLLECT, RESCUE },
        [CONTENT]      = {  MEND,    BREAK,   BREAK,   DROP,    DROP,    CLOSE,   DROP,    REPLACE, CLOSE  },
        [BARE]         = {  MEND,    BREAK,   BREAK,   BREAK,   BREAK,   CLOSE,   DROP,    REPLACE, CLOSE  },
        [FULL]         = {  PASS,    PASS,    PASS,    PASS,    PASS,    PASS,    PASS,    PASS,    IGNORE },
    },
};

/* Ids of the tokens that the automaton knows. */
enum {
    FIRST_SPECIAL_ID = 199998,
    RETURN_ID = 200002,
    CONSTRAIN_ID = 200003,
    CHANNEL_ID = 200005,
    START_ID = 200006,
    END_ID = 200007,
    MESSAGE_ID = 200008,
    CALL_ID = 200012,
    LAST_SPECIAL_ID = 201088,
};

static inline int kind_of(uint32_t token) {
    if (token < FIRST_SPECIAL_ID) return ON_TEXT;
    switch (token) {
    case START_ID: return ON_START;
    case CHANNEL_ID: return ON_CHANNEL;
    case CONSTRAIN_ID: return ON_CONSTRAIN;
    case MESSAGE_ID: return ON_MESSAGE;
    case RETURN_ID: case END_ID: case CALL_ID: return ON_STOP;
    }
    return token <= LAST_SPECIAL_ID ? ON_SPECIAL : ON_UNKNOWN;
}

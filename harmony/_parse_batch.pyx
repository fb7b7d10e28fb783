"""Many completions at once: the automaton over a chunk of them without the interpreter lock.

    rows  ->  ids of all rows  ->  messages found (no lock)  ->  headers read, messages made

The scan runs on the table that the parser runs on, but does only what happens in completions that
follow the format: a header begins, ends with `<|message|>`, content comes and ends. A row in which
anything else happens, or whose headers had to be repaired, is left to the parser itself. So is the
reading of each header that was not seen before.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memset

from harmony._codec cimport Codec
from harmony._content cimport (
    OK, Bytes, Content, Repairs, Status, append, complete, complete_mending, empty_content,
    free_content, grow, mend, put, str_from,
)
from harmony._parser cimport Ids, Parser, append_ids, gather, new_message

import numpy as np

from harmony.errors import ParseError, name_row
from harmony.header import ROLE_IDS as _ROLE_IDS

cdef extern from "_transitions.h" nogil:
    enum: RECOVER
    enum: EXPECT_START, HEADER, CONTENT, PROMPTED, STARTED, LEAD
    enum: ON_END
    enum: IGNORE, OPEN, COLLECT, READ, BEGIN, GATHER, JUDGE, APPEND, FINISH, MEND, CLOSE
    const unsigned char TRANSITIONS[3][8][9]
    enum: START_ID, CALL_ID
    int kind_of(uint32_t token)

cdef struct Found:
    # A message: positions of ids in its row, and of its text among the texts of the chunk.
    size_t header, content, stop
    size_t text, text_stop
    int64_t end_token       # -1: the row ended

cdef struct Findings:
    Found* found
    size_t n
    size_t capacity

cdef struct Scan:
    # What is needed for a row, and what comes of it.
    int mode
    int first_state
    uint32_t role_words[5]
    Content content
    Repairs repairs
    Bytes texts
    Findings findings


cdef int scan_row(Scan* scan, Codec codec, const uint32_t* ids, size_t n_ids) noexcept nogil:
    """Find the messages of a row. 1 if that was all it took, 0 if the parser is needed, -1 without
    memory."""
    cdef int state = scan.first_state
    cdef int action
    cdef size_t i = 0
    cdef Found message
    message.header = 0
    while i <= n_ids:
        action = TRANSITIONS[scan.mode][state][kind_of(ids[i]) if i < n_ids else ON_END]
        if action == APPEND:
            if append(&scan.content, codec, ids[i]) != OK:
                return -1
        elif action == MEND:
            if mend(&scan.content, codec, ids[i], i, &scan.repairs) != OK:
                return -1
            if scan.repairs.n:
                return 0
        elif action == OPEN and state == EXPECT_START:
            message.header = i
            state = STARTED if scan.mode == RECOVER else HEADER
        elif action == BEGIN:
            message.header = i
            state = LEAD
            continue
        elif action == JUDGE:
            if not is_plain_lead(scan, ids + message.header, i - message.header):
                return 0
            state = HEADER
            continue
        elif action == GATHER:
            # More than a role is for the parser to judge.
            if i - message.header > 1:
                return 0
            state = LEAD
        elif action == READ:
            message.content = i + 1
            empty_content(&scan.content)
            state = CONTENT
        elif action == FINISH or action == CLOSE:
            message.stop = min(i + 1, n_ids)
            message.end_token = ids[i] if i < n_ids else -1
            if (complete_mending(&scan.content, &scan.repairs) if scan.mode == RECOVER
                    else complete(&scan.content)) != OK:
                return -1
            if scan.repairs.n:
                return 0
            if keep(scan, &message) != OK:
                return -1
            state = EXPECT_START
        elif action != COLLECT and action != IGNORE:
            return 0
        i += 1
    return 1


cdef bint is_plain_lead(Scan* scan, const uint32_t* ids, size_t n_ids) noexcept nogil:
    """Whether nothing, `<|start|>`, or that and a role stands before the first marker."""
    cdef int k
    if n_ids < 2:
        return n_ids == 0 or ids[0] == START_ID
    for k in range(5):
        if n_ids == 2 and ids[0] == START_ID and ids[1] == scan.role_words[k]:
            return True
    return False


cdef Status keep(Scan* scan, Found* message) noexcept nogil:
    cdef Findings* findings = &scan.findings
    cdef Status status
    if findings.n == findings.capacity:
        status = grow(
            <void**>&findings.found, &findings.capacity, findings.n + 1, sizeof(Found))
        if status != OK:
            return status
    message.text = scan.texts.n
    status = put(&scan.texts, scan.content.text.data, scan.content.text.n)
    message.text_stop = scan.texts.n
    findings.found[findings.n] = message[0]
    findings.n += 1
    return status


cdef bint scan_rows(
    Scan* scan, Codec codec, const Ids* ids, const int64_t[::1] starts, int64_t[::1] found_stops,
    uint8_t[::1] plain,
) noexcept nogil:
    """Find the messages of all rows; false without memory."""
    cdef Py_ssize_t row
    cdef int outcome
    cdef size_t n_found, n_text
    for row in range(plain.shape[0]):
        n_found, n_text = scan.findings.n, scan.texts.n
        scan.repairs.n = 0
        empty_content(&scan.content)
        outcome = scan_row(
            scan, codec, ids.data + starts[row], <size_t>(starts[row + 1] - starts[row]))
        if outcome < 0:
            return False
        if outcome == 0:
            scan.findings.n, scan.texts.n = n_found, n_text
        plain[row] = outcome
        found_stops[row] = scan.findings.n
    return True


cdef object array_of(const uint32_t* ids, size_t n_ids):
    """A numpy array of ids, copied."""
    return np.frombuffer((<const char*>ids)[:n_ids * sizeof(uint32_t)], dtype=np.uint32)


cdef list messages_of(
    Scan* scan, const uint32_t* ids, size_t first, size_t stop, parser_of, dict known,
):
    """The messages found in a row; None if one of its headers had to be repaired."""
    cdef size_t i, n_header
    cdef Found* found
    cdef Bytes text
    cdef list messages = []
    for i in range(first, stop):
        found = &scan.findings.found[i]
        n_header = found.content - found.header
        # The first header of a row may have its role in the prompt.
        key = found.header == 0, (<const char*>(ids + found.header))[:n_header * sizeof(uint32_t)]
        fields = known.get(key)
        if fields is None:
            parser = parser_of(found.header == 0)
            try:
                parser._feed_all(array_of(ids + found.header, n_header))
                fields = parser._plain_fields()
            except ParseError:
                fields = False
            known[key] = fields
        if not fields:
            return None
        if scan.mode == RECOVER and found.end_token == CALL_ID and fields[1] is not None:
            return None
        text.data, text.n = scan.texts.data + found.text, found.text_stop - found.text
        end_token = None if found.end_token < 0 else found.end_token
        origin = end_token is not None, end_token, (found.header, found.stop)
        messages.append(new_message((fields, str_from(&text, 0), origin)))
    return messages


def parse_rows(parser_of, list rows not None, Py_ssize_t first_row):
    """The messages of each row, as lists of ParsedMessage.

    `parser_of(is_first)` makes a Parser: for a row or its first header, or for another header. An
    error names its row, counted from `first_row`.
    """
    cdef Parser model = parser_of(True)
    cdef Codec codec = model.codec
    cdef Scan scan
    cdef Ids ids, row_ids
    cdef Py_ssize_t n_rows = len(rows)
    cdef Py_ssize_t row = 0
    cdef size_t found = 0
    cdef bint is_done
    cdef int64_t[::1] starts = np.zeros(n_rows + 1, dtype=np.int64)
    cdef int64_t[::1] found_stops = np.zeros(n_rows, dtype=np.int64)
    cdef uint8_t[::1] plain = np.zeros(n_rows, dtype=np.uint8)
    known = {}
    result = []
    refusal = None
    memset(&scan, 0, sizeof(Scan))
    memset(&ids, 0, sizeof(Ids))
    memset(&row_ids, 0, sizeof(Ids))
    scan.mode, scan.first_state = model.mode, model.state
    for row in range(5):
        scan.role_words[row] = _ROLE_WORDS[row]
    try:
        for row in range(n_rows):
            row_ids.n = 0
            try:
                gather(&row_ids, rows[row])
            except Exception as error:
                # What is wrong with rows before it comes first.
                refusal = error
                n_rows = row
                break
            if append_ids(&ids, &row_ids) != OK:
                raise MemoryError()
            starts[row + 1] = ids.n
        with nogil:
            is_done = scan_rows(&scan, codec, &ids, starts, found_stops, plain[:n_rows])
        if not is_done:
            raise MemoryError()
        for row in range(n_rows):
            messages = None
            if plain[row]:
                messages = messages_of(
                    &scan, ids.data + starts[row], found, found_stops[row], parser_of, known)
            found = found_stops[row]
            if messages is None:
                parser = parser_of(True)
                parser._feed_all(array_of(
                    ids.data + starts[row], <size_t>(starts[row + 1] - starts[row])))
                messages = parser.process_eos().messages
            result.append(messages)
        row = n_rows
        if refusal is not None:
            raise refusal
    except MemoryError:
        raise
    except Exception as error:
        raise name_row(error, first_row + row)
    finally:
        free(ids.data)
        free(row_ids.data)
        free(scan.repairs.spans)
        free(scan.texts.data)
        free(scan.findings.found)
        free_content(&scan.content)
    return result


_ROLE_WORDS = [ids[0] for ids in _ROLE_IDS.values()]

"""What a recovering parser makes of a stream, in plain values, to compare with the reference and
with itself."""

from reference import parser as reference

from harmony.parser import StreamableParser


def message_of(parsed):
    """A ParsedMessage as the reference has it."""
    return reference.Parsed(
        parsed.author.role.value,
        parsed.author.name,
        parsed.channel,
        parsed.recipient,
        parsed.content_type,
        parsed.content[0].text,
        parsed.complete,
        parsed.end_token,
        parsed.token_span,
    )


def in_order(diagnostics):
    """As sorted (span, kind, message index, text): the parser has them in the order in which it
    could tell, the reference by place."""
    return sorted(
        (
            made.token_span,
            str(made.kind),
            -1 if made.message_index is None else made.message_index,
            made.text,
        )
        for made in diagnostics
    )


def recover(encoding, ids, role, **options):
    """A parser that was fed one id after the other, and the end."""
    parser = StreamableParser(encoding, role, on_error="recover", **options)
    for token in ids:
        parser.process(token)
    return parser.process_eos()


def joined(events):
    """Events with adjacent deltas made one."""
    result = []
    for event in events:
        if event.kind == "DELTA" and result and result[-1].kind == "DELTA":
            before = result.pop()
            span = before.token_span[0], event.token_span[1]
            event = event._replace(token_span=span, text=before.text + event.text)
        result.append(event)
    return result


def skipped_of(parser):
    """Spans of what is no message, as diagnostics tell them; what lies inside another left out."""
    spans = sorted(
        {made.token_span for made in parser.diagnostics if made.message_index is None},
        key=lambda span: (span[0], -span[1]),
    )
    result = []
    for start, stop in spans:
        if start == stop or (result and stop <= result[-1][1]):
            continue
        result.append((start, stop))
    return result

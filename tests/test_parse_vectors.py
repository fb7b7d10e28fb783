"""Every stream of parse.jsonl: the result, and what each getter shows after each id."""

import json
from pathlib import Path

import pytest

from harmony.errors import HarmonyError
from harmony.messages import Role
from harmony.parser import StreamableParser, parse_messages_from_completion_tokens

VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parent / "vectors" / "parse.jsonl").read_text().splitlines()
]


def as_json(value):
    """As the vectors have it: enum members as their values."""
    return json.loads(json.dumps(value))


def written(messages) -> list:
    return [json.loads(message.to_json()) for message in messages]


def error_of(call) -> dict | None:
    try:
        call()
    except HarmonyError as error:
        return {"type": "HarmonyError", "message": str(error)}
    return None


def entry(parser, token, error=None) -> list:
    role = parser.current_role
    return [
        token,
        parser.state.value,
        role and role.value,
        parser.current_channel,
        parser.current_recipient,
        parser.current_content_type,
        parser.last_content_delta,
        error,
    ]


@pytest.fixture(params=VECTORS, ids=lambda vector: f"{vector['id']}-{vector['group']}")
def vector(request):
    return request.param


def test_stream(vector, encoding):
    role = vector["role"] and Role(vector["role"])
    parser = StreamableParser(encoding, role, strict=vector["strict"])
    trace = [entry(parser, None)]
    for token in vector["tokens"]:
        error = error_of(lambda: parser.process(token))  # noqa: B023
        trace.append(entry(parser, token, error))
    assert as_json(trace) == vector["trace"]
    assert {
        "state_data": as_json(parser.state_data),
        "current_content": parser.current_content,
        "messages": len(parser.messages),
        "tokens": parser.tokens == vector["tokens"],
    } == vector["before_eos"]
    error = error_of(parser.process_eos)
    assert as_json(entry(parser, None, error)) == vector["eos"]
    assert written(parser.messages) == vector["stream_messages"]


def test_whole_list(vector, encoding):
    role = vector["role"] and Role(vector["role"])

    def result():
        try:
            messages = parse_messages_from_completion_tokens(
                encoding, vector["tokens"], role, strict=vector["strict"]
            )
        except HarmonyError as error:
            return {"error": {"type": "HarmonyError", "message": str(error)}}
        return {"messages": written(messages)}

    assert result() == vector["result"]

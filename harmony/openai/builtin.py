"""The tools that come with the models, as items of the Responses API: a call and its result in one.

    browser.search, .open, .find    web_search_call     results: a list of texts
    python                          code_interpreter_call
    any other function of theirs    mcp_call, with the namespace as server_label

Such calls are on the analysis channel, and so are their results. A web_search_call has `arguments`
beside its `action`, since an action does not hold all that the tool was asked.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from harmony.errors import ConversionError
from harmony.openai.fields import Field

CONTENT_TYPE = "code"
CHANNEL = "analysis"

# Type of action, the argument that matters, and what the action calls it.
_ACTIONS = {
    "browser.search": ("search", "query", "query"),
    "browser.open": ("open_page", "id", "url"),
    "browser.find": ("find_in_page", "pattern", "pattern"),
}
# Servers and clients of the time before the action was renamed say "find".
_FUNCTION_OF_ACTION = {
    **{action: function for function, (action, _, _) in _ACTIONS.items()},
    "find": "browser.find",
}
_SERVERS = ("browser", "container", "python")


class BuiltInCall(NamedTuple):
    """A call and, if they are known, the texts of its result."""

    recipient: str
    arguments: str
    result: list[str] | None


def read_web_search(item: Field) -> BuiltInCall:
    action = item["action"]
    function = _FUNCTION_OF_ACTION[action["type"].word(*_FUNCTION_OF_ACTION)]
    arguments = item.get("arguments")
    if arguments is not None:
        text = arguments.json_text()
    else:
        _, argument, name = _ACTIONS[function]
        text = json.dumps({argument: action[name].text()}, ensure_ascii=False)
    results = item.get("results")
    return BuiltInCall(function, text, None if results is None else results.texts())


def read_code_interpreter(item: Field) -> BuiltInCall:
    outputs = item.get("outputs")
    texts = None
    if outputs is not None:
        texts = []
        for output in outputs.entries():
            output["type"].word("logs")
            texts.append(output["logs"].text())
    return BuiltInCall("python", item["code"].text(), texts)


def read_mcp(item: Field) -> BuiltInCall:
    server = item["server_label"].word(*_SERVERS)
    # Models call a namespace itself at times, without a function.
    function = item["name"].text()
    output = item.get("output")
    return BuiltInCall(
        f"{server}.{function}" if function else server,
        item["arguments"].text(),
        None if output is None else output.texts(),
    )


READERS = {
    "web_search_call": read_web_search,
    "code_interpreter_call": read_code_interpreter,
    "mcp_call": read_mcp,
}


def item_of_call(recipient: str, arguments: str, number: int, status: str) -> dict[str, Any]:
    """The item of a call without its result."""
    if recipient == "python":
        return {
            "type": "code_interpreter_call",
            "id": f"ci_{number}",
            "status": status,
            "code": arguments,
        }
    if recipient in _ACTIONS and (asked := _object(arguments)) is not None:
        action, argument, name = _ACTIONS[recipient]
        value = asked.get(argument, "")
        return {
            "type": "web_search_call",
            "id": f"ws_{number}",
            "status": status,
            "action": {"type": action, name: value if isinstance(value, str) else str(value)},
            "arguments": arguments,
        }
    server, _, function = recipient.partition(".")
    return {
        "type": "mcp_call",
        "id": f"mcp_{number}",
        "status": status,
        "server_label": server,
        "name": function,
        "arguments": arguments,
    }


def add_result(item: dict[str, Any], texts: list[str]) -> None:
    """Put the result of a call into its item."""
    kind = item["type"]
    if kind == "code_interpreter_call":
        item["outputs"] = [{"type": "logs", "logs": text} for text in texts]
    elif kind == "web_search_call":
        item["results"] = [{"type": "text", "text": text} for text in texts]
    elif len(texts) == 1:
        (item["output"],) = texts
    else:
        item["output"] = [{"type": "text", "text": text} for text in texts]


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(Field(text, "arguments").json_text(), parse_int=str)
    except ConversionError:
        return None
    return value if isinstance(value, dict) else None

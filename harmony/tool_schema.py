"""Tools as text: a JSON schema becomes the TypeScript type that the format shows to the model.

The text is what the model was trained on, so it is reproduced also where it is not good TypeScript:
`anyOf` becomes `any`, unions in arrays have no parentheses, descriptions are not cut into comment
lines. Schemas are plain JSON values: dict, list, str, int, float, bool and None, nothing derived
from them; `check_plain` says whether that is so, everything else here takes it for granted.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from importlib.resources import files
from json.encoder import encode_basestring
from typing import Any

# A schema is a tree; one whose objects refer to each other again and again can stand for a text
# larger than any memory.
MAX_VALUES = 5_000_000

# Integers outside this range are doubles for the reference. Doubles outside the second one may
# become infinite when it reads them, which makes them an error: both are left to the caller.
_SMALLEST_INT64 = -(2**63)
_LARGEST_UINT64 = 2**64 - 1
_LARGE_DOUBLE = 1e300

_POWERS_OF_TEN = [float(f"1e{exponent}") for exponent in range(309)]


class NotPlainError(Exception):
    """A value that is not plain JSON, or not for certain a value the reference accepts."""


@functools.cache
def _builtin_namespaces() -> str:
    return (files("harmony") / "data" / "builtin_tools.json").read_text(encoding="utf-8")


def builtin_namespace(name: str) -> dict[str, Any]:
    """Fields of the built-in namespace `name` ("browser" or "python"), new objects on each call."""
    namespace: dict[str, Any] = json.loads(_builtin_namespaces())[name]
    return namespace


# namespaces -> text


def tools_section(namespaces: Iterable[str]) -> str:
    """The section of a system or developer message that describes these namespaces."""
    return "\n\n".join(["# Tools", *namespaces])


def namespace_text(
    name: str,
    description: str | None,
    tools: list[tuple[str, str, Any]],
    *,
    exact_numbers: bool = False,
) -> str:
    """One namespace; `tools` are (name, description, schema of the parameters or None)."""
    lines = [f"## {name}\n"]
    if description:
        lines += _comment(description) if tools else _lines(description)
    if tools:
        lines.append(f"namespace {name} {{\n")
        for tool, text, parameters in tools:
            if text:
                lines += _comment(text)
            if parameters is None:
                lines.append(f"type {tool} = () => any;\n")
            else:
                argument = _type(parameters, "", exact_numbers)
                lines.append(f"type {tool} = (_: {argument}) => any;\n")
        lines.append(f"}} // namespace {name}")
    return "\n".join(lines)


def format_text(schema: Any, description: str | None) -> str:
    """A response format: the schema as JSON, below its description."""
    lines = _comment(description) if description else []
    lines.append(json.dumps(schema, ensure_ascii=False, separators=(",", ":")))
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    """Lines end at "\\n" or "\\r\\n" only; the last one may end without."""
    lines = text.split("\n")
    last = lines.pop()
    lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    if last:
        lines.append(last)
    return lines


def _comment(text: str) -> list[str]:
    if "\n" not in text:
        return [f"// {text}"]
    return [f"// {line}" for line in _lines(text)]


# schema -> type


def typescript_type(schema: Any, *, exact_numbers: bool = False) -> str:
    """The TypeScript type of a plain JSON schema.

    Numbers in default values are printed as the reference prints them, which may change the last
    of more than 15 digits; `exact_numbers` prints them as they are.
    """
    return _type(schema, "", exact_numbers)


def _type(schema: Any, indent: str, exact: bool) -> str:
    if type(schema) is not dict:
        return "any"
    variants = schema.get("oneOf")
    if type(variants) is list:
        return _union(variants, indent, exact)
    kind = schema.get("type")
    if type(kind) is str:
        if kind == "string":
            return _string(schema)
        if kind == "object":
            return _object(schema, indent, exact)
        if kind == "number" or kind == "integer":
            return "number"
        if kind == "boolean":
            return "boolean"
        if kind == "array":
            if "items" in schema:
                return _type(schema["items"], indent, exact) + "[]"
            return "Array<any>"
    elif type(kind) is list:
        names = [name for name in kind if type(name) is str]
        if names:
            return " | ".join(["number" if name == "integer" else name for name in names])
    return "any"


def _string(schema: dict[str, Any]) -> str:
    choices = schema.get("enum")
    if type(choices) is list:
        quoted = [f'"{choice}"' for choice in choices if type(choice) is str]
        if quoted:
            return " | ".join(quoted)
    return "string"


def _nullable(schema: Any, type_text: str) -> str:
    """A nullable variant or property gets `| null`, unless "null" is somewhere in it already."""
    if type(schema) is dict and schema.get("nullable") is True and "null" not in type_text:
        return type_text + " | null"
    return type_text


def _union(variants: list[Any], indent: str, exact: bool) -> str:
    text = ""
    for variant in variants:
        text += f"\n{indent} | " + _nullable(variant, _type(variant, indent + "   ", exact))
        comments = []
        if type(variant) is dict:
            description = variant.get("description")
            if type(description) is str:
                comments.append(description)
            if "default" in variant:
                comments.append(_default(variant, exact, quote_choice=True))
        if comments:
            text += " // " + " ".join(comments)
    return text


def _object(schema: dict[str, Any], indent: str, exact: bool) -> str:
    description = schema.get("description")
    lines = [f"{indent}// {description}\n{{\n"] if type(description) is str else ["{\n"]
    properties = schema.get("properties")
    if type(properties) is dict:
        required = schema.get("required")
        names = {name for name in required if type(name) is str} if type(required) is list else ()
        for name, value in properties.items():
            key = f"{indent}{name}" if name in names else f"{indent}{name}?"
            if type(value) is not dict:
                lines.append(f"{key}: any,\n")
                continue
            _append_notes(lines, value, indent)
            if type(value.get("oneOf")) is list:
                _append_union_property(lines, key, value, indent, exact)
                continue
            type_text = _nullable(value, _type(value, indent + "    ", exact))
            if "default" in value and "oneOf" not in value:
                lines.append(f"{key}: {type_text}, // {_default(value, exact)}\n")
            else:
                lines.append(f"{key}: {type_text},\n")
    lines.append(indent + "}")
    return "".join(lines)


def _append_notes(lines: list[str], schema: dict[str, Any], indent: str) -> None:
    """Title, description and examples, above a property."""
    title = schema.get("title")
    if type(title) is str:
        lines.append(f"{indent}// {title}\n{indent}//\n")
    description = schema.get("description")
    if type(description) is str and "oneOf" not in schema:
        lines.append(f"{indent}// {description}\n")
    examples = schema.get("examples")
    if type(examples) is list and examples:
        lines.append(f"{indent}// Examples:\n")
        lines += [f'{indent}// - "{example}"\n' for example in examples if type(example) is str]


def _append_union_property(
    lines: list[str], key: str, schema: dict[str, Any], indent: str, exact: bool
) -> None:
    """A property that is one of several variants: a line for each, every description once."""
    variants = schema["oneOf"]
    shared = schema.get("description")
    if type(shared) is not str:
        shared = None
    first = variants[0].get("description") if variants and type(variants[0]) is dict else None
    shared_written = shared is not None and shared != first
    if shared_written:
        lines.append(f"{indent}// {shared}\n")
    if "default" in schema:
        lines.append(f"{indent}// {_default(schema, exact)}\n")
    lines.append(f"{key}:\n")
    for index, variant in enumerate(variants):
        line = f"{indent} | " + _nullable(variant, _type(variant, indent + "   ", exact))
        comments = []
        if type(variant) is dict:
            description = variant.get("description")
            told = description == shared or (index == 0 and shared_written)
            if type(description) is str and not told:
                comments.append(description)
            if "default" in variant:
                comments.append(_default(variant, exact))
        if comments:
            line += " // " + " ".join(comments)
        lines.append(line + "\n")
    lines.append(f"{indent},\n")


def _default(schema: dict[str, Any], exact: bool, *, quote_choice: bool = False) -> str:
    value = schema["default"]
    if type(value) is not str:
        return f"default: {_compact(value, exact)}"
    choices = schema.get("enum")
    if type(choices) is list and choices:
        return f"default: {encode_basestring(value)}" if quote_choice else f"default: {value}"
    return f'default: "{value}"'


# values -> JSON


def _compact(value: Any, exact: bool) -> str:
    """JSON without blanks, characters as they are."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict:
        members = [f"{encode_basestring(key)}:{_compact(value[key], exact)}" for key in value]
        return "{" + ",".join(members) + "}"
    if kind is list:
        return "[" + ",".join([_compact(member, exact) for member in value]) + "]"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    if kind is int and (exact or _SMALLEST_INT64 <= value <= _LARGEST_UINT64):
        return str(value)
    return double_text(value if exact else number_as_read(repr(value)))


def double_text(value: float) -> str:
    """The shortest digits that round-trip, in the notation of the reference.

    A point up to 10^16, leading zeros down to 10^-5, otherwise an exponent without plus or padding.
    """
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.<digits> times ten to the power of `point`.
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        text = "0.0"
    elif len(digits) <= point <= 16:
        text = digits + "0" * (point - len(digits)) + ".0"
    elif 0 < point <= 16:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -5 < point <= 0:
        text = "0." + "0" * -point + digits
    elif len(digits) == 1:
        text = f"{digits}e{point - 1}"
    else:
        text = f"{digits[0]}.{digits[1:]}e{point - 1}"
    return "-" + text if str(value)[0] == "-" else text


def number_as_read(text: str) -> float:
    """The double that the reference makes of a JSON number: its digits as an unsigned 64-bit
    integer (what does not fit is dropped), times one power of ten, rounded at each step.

    Raises ValueError if that is infinite.
    """
    mantissa, _, exponent_text = text.lower().lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = int(exponent_text or 0)
    significand = 0
    for position, digit in enumerate(whole + fraction):
        longer = significand * 10 + int(digit)
        if longer > _LARGEST_UINT64:
            exponent += max(0, len(whole) - position)
            break
        significand = longer
        if position >= len(whole):
            exponent -= 1
    value = float(significand)
    while exponent < -308 and value:
        value /= 1e308
        exponent += 308
    if value:
        if exponent > 308:
            raise ValueError("number out of range")
        value = (
            value * _POWERS_OF_TEN[exponent] if exponent >= 0 else value / _POWERS_OF_TEN[-exponent]
        )
        if value == float("inf"):
            raise ValueError("number out of range")
    return -value if text.startswith("-") else value


# what is plain


def check_plain(value: Any, depth: int) -> None:
    """Raise NotPlainError, or UnicodeEncodeError for a lone surrogate, unless `value` is plain JSON
    of at most `depth` nested containers whose numbers the reference can certainly read.

    Raises ValueError for more than MAX_VALUES values; what occurs several times counts each time.
    """
    _check_members([value], depth + 1, [MAX_VALUES])


def _check_members(container: Any, depth: int, values_left: list[int]) -> None:
    if not depth:
        raise NotPlainError
    values_left[0] -= len(container)
    if values_left[0] < 0:
        raise ValueError(f"the parameters of a tool hold more than {MAX_VALUES} values")
    if type(container) is dict:
        for key in container:
            if type(key) is not str:
                raise NotPlainError
            if not key.isascii():
                key.encode()
        container = container.values()
    for value in container:
        kind = type(value)
        if kind is str:
            if not value.isascii():
                value.encode()
        elif kind is dict or kind is list:
            _check_members(value, depth - 1, values_left)
        elif kind is int:
            if not _SMALLEST_INT64 <= value <= _LARGEST_UINT64:
                raise NotPlainError
        elif kind is float:
            if not -_LARGE_DOUBLE < value < _LARGE_DOUBLE:
                raise NotPlainError
        elif kind is not bool and value is not None:
            raise NotPlainError

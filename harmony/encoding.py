"""HarmonyEncoding: tokenizer, rendering and parsing under the name that people know.

    text      <->  ids    tokenizer.py, which this class extends
    messages   ->  ids    render.py; training.py says what each id belongs to
    ids        ->  messages    parser.py

Whoever only wants the tokenizer never loads pydantic: the message types come with the first call
that renders or parses.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Literal, overload

import harmony
from harmony.made_once import made_once
from harmony.special_tokens import O200K_HARMONY_SPECIALS
from harmony.tokenizer import TokenIds, Tokenizer
from harmony.vocabulary import o200k_ranks

_RETURN = O200K_HARMONY_SPECIALS["<|return|>"]
_END = O200K_HARMONY_SPECIALS["<|end|>"]
_CALL = O200K_HARMONY_SPECIALS["<|call|>"]


class HarmonyEncodingName(str, enum.Enum):
    """The encodings there are."""

    HARMONY_GPT_OSS = "HarmonyGptOss"

    def __str__(self) -> str:
        return self.value


@functools.cache
def _render() -> Any:
    return import_module("harmony.render")


@functools.cache
def _parser() -> Any:
    return import_module("harmony.parser")


@functools.cache
def _training() -> Any:
    return import_module("harmony.training")


class HarmonyEncoding(Tokenizer):
    """The encoding of the gpt-oss models: o200k_harmony. Get it from `load_harmony_encoding`."""

    # openai_harmony gives such names no effect, and this class does what it does.
    _refuses_unknown_names = False

    def __init__(self) -> None:
        name = HarmonyEncodingName.HARMONY_GPT_OSS.value
        super().__init__(name, o200k_ranks(), O200K_HARMONY_SPECIALS)

    # messages -> ids

    def render_conversation_for_completion(
        self,
        conversation: harmony.Conversation,
        next_turn_role: harmony.Role | str | None,
        config: harmony.RenderConversationConfig | None = None,
        *,
        continue_final_message: bool = False,
    ) -> list[int]:
        """Ids of `conversation`, then the beginning of a message of `next_turn_role`: the prompt
        for a model. Raises RenderError (a HarmonyError) for a message that the format cannot
        express, ValueError for an unknown role, wrong fields and lone surrogates.

        `continue_final_message`, with None as the role: the last message, the assistant's, has no
        end token, so that the model goes on with it.
        """
        return _render().render_conversation_for_completion(
            self,
            conversation,
            next_turn_role,
            config,
            continue_final_message=continue_final_message,
        )

    def render_conversation(
        self,
        conversation: harmony.Conversation,
        config: harmony.RenderConversationConfig | None = None,
    ) -> list[int]:
        """Ids of the messages of `conversation`, one after the other. Errors as above."""
        return _render().render_conversation(self, conversation, config)

    def render_conversation_for_training(
        self,
        conversation: harmony.Conversation,
        config: harmony.RenderConversationConfig | None = None,
    ) -> list[int]:
        """As `render_conversation`, but a final message of the assistant that comes last ends in
        `<|return|>`, as a model ends it."""
        return _render().render_conversation_for_training(self, conversation, config)

    def render(
        self, message: harmony.Message, render_options: harmony.RenderOptions | None = None
    ) -> list[int]:
        """Ids of one message, from `<|start|>` to its end token. Errors as above."""
        return _render().render_message(self, message, render_options)

    def render_annotated(
        self,
        conversation: harmony.Conversation,
        *,
        next_turn_role: harmony.Role | str | None = None,
        config: harmony.RenderConversationConfig | None = None,
        for_training: bool = False,
    ) -> harmony.RenderedConversation:
        """As `render_conversation`, with what each id belongs to and which to train on.

        `next_turn_role`: end with the beginning of a message of this role, as for a completion.
        `for_training`: end as `render_conversation_for_training` does. Errors as above; RenderError
        for both at once.
        """
        return _training().render_annotated(
            self, conversation, next_turn_role, config, for_training
        )

    @overload
    def render_batch(
        self,
        conversations: Iterable[harmony.Conversation],
        *,
        num_threads: int | None = None,
        config: harmony.RenderConversationConfig | None = None,
        for_training: bool = False,
        annotated: Literal[False] = False,
    ) -> harmony.TokenBatch: ...
    @overload
    def render_batch(
        self,
        conversations: Iterable[harmony.Conversation],
        *,
        num_threads: int | None = None,
        config: harmony.RenderConversationConfig | None = None,
        for_training: bool = False,
        annotated: Literal[True],
    ) -> harmony.RenderedBatch: ...

    def render_batch(
        self,
        conversations: Iterable[harmony.Conversation],
        *,
        num_threads: int | None = None,
        config: harmony.RenderConversationConfig | None = None,
        for_training: bool = False,
        annotated: bool = False,
    ) -> harmony.TokenBatch:
        """Each of `conversations` as `render_conversation` renders it, or with `for_training` as
        `render_conversation_for_training`; with `annotated` as `render_annotated`.

        An error has the index of the conversation in its message and as its attribute `row`.
        """
        return _training().render_batch(
            self, conversations, num_threads, config, for_training, annotated
        )

    # ids -> messages

    def parse_messages_from_completion_tokens(
        self,
        tokens: Iterable[int],
        role: harmony.Role | str | None = None,
        *,
        strict: bool = True,
        on_error: str = "raise",
    ) -> list[harmony.ParsedMessage]:
        """The messages in `tokens`. `role`: whose message it is that `tokens` begin with, if
        `<|start|>` and the role are in the prompt. Raises ParseError (a HarmonyError) at the first
        token that the format does not allow; `strict=False` reads a first message without
        `<|message|>`, and `on_error="recover"` repairs what it can instead of raising
        (docs/recovery.md)."""
        return _parser().parse_messages_from_completion_tokens(
            self, tokens, role, strict=strict, on_error=on_error
        )

    def parse_batch(
        self,
        token_lists: Iterable[TokenIds],
        role: harmony.Role | str | None = None,
        *,
        strict: bool = True,
        on_error: str = "raise",
        num_threads: int | None = None,
    ) -> list[list[harmony.ParsedMessage]]:
        """The messages of many completions, a list for each, by `num_threads` threads (None: one
        for each CPU). Errors as above; their text begins with the number of the completion, which
        is also their attribute `row`."""
        return _parser().parse_batch(
            self, token_lists, role, strict=strict, on_error=on_error, num_threads=num_threads
        )

    def stop_tokens(self) -> list[int]:
        """Ids that end a message: `<|return|>`, `<|end|>`, `<|call|>`. A new list on each call."""
        return [_RETURN, _END, _CALL]

    def stop_tokens_for_assistant_actions(self) -> list[int]:
        """Ids that end a turn of the assistant: `<|return|>`, `<|call|>`. A new list."""
        return [_RETURN, _CALL]

    def __reduce__(self) -> tuple[Any, ...]:
        return load_harmony_encoding, (self.name,)


@made_once
def _harmony_gpt_oss() -> HarmonyEncoding:
    return HarmonyEncoding()


def load_harmony_encoding(name: str | HarmonyEncodingName) -> HarmonyEncoding:
    """The encoding `name`, of which there is one: "HarmonyGptOss".

    The same object on every call. Raises ValueError for another name, VocabularyError if the
    tables in the package are damaged.
    """
    if str(name) != HarmonyEncodingName.HARMONY_GPT_OSS.value:
        raise ValueError(f"Invalid HarmonyEncodingName: {name}")
    return _harmony_gpt_oss()

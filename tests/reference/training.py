"""Which message and part each id belongs to, and which ids the model samples: one message and one id
after another, as docs/datasets-api.md says it."""

from typing import Any, NamedTuple

from harmony import Conversation, HarmonyEncoding, Message, RenderOptions, Role

START, MESSAGE, CALL, RETURN = 200_006, 200_008, 200_012, 200_002


class Id(NamedTuple):
    token: int
    message_index: int
    part: str


def is_kept(messages: list[Message], index: int, policy: str) -> bool:
    message = messages[index]
    if message.channel != "analysis" or policy == "keep":
        return True
    if policy == "before_last_final":
        if message.author.role != Role.ASSISTANT:
            return True
        return not any(
            later.author.role == Role.ASSISTANT and later.channel == "final"
            for later in messages[index:]
        )
    by_assistant = [m for m in messages if m.author.role == Role.ASSISTANT]
    if not by_assistant or by_assistant[-1].channel != "final":
        return True
    return any(earlier.channel == "final" for earlier in messages[:index])


def annotated(
    encoding: HarmonyEncoding,
    conversation: Conversation,
    policy: str,
    header_order: str,
    next_turn_role: str | None,
    for_training: bool,
) -> list[Id]:
    messages = conversation.messages
    options = RenderOptions(
        conversation_has_function_tools=any(
            content.to_dict().get("tools", {}).get("functions", {}).get("tools")
            for message in messages
            for content in message.content
            if content.to_dict()["type"] == "developer_content"
        ),
        header_order=header_order,
    )
    ids: list[Id] = []
    for index, message in enumerate(messages):
        if not is_kept(messages, index, policy):
            continue
        tokens = encoding.render(message, options)
        part = "HEADER"
        for at, token in enumerate(tokens):
            if at == 0:
                ids.append(Id(token, index, "START"))
            elif at == len(tokens) - 1:
                ids.append(Id(token, index, "END"))
            else:
                ids.append(Id(token, index, part))
            if token == MESSAGE:
                part = "CONTENT"
    if for_training and messages:
        last = messages[-1]
        if last.author.role == Role.ASSISTANT and last.channel == "final":
            ids[-1] = ids[-1]._replace(token=RETURN)
    if next_turn_role is not None:
        ids.append(Id(START, -1, "START"))
        ids += [Id(token, -1, "HEADER") for token in encoding.encode_ordinary(next_turn_role)]
    return ids


def loss_mask(messages: list[Message], ids: list[Id], train_on: Any) -> list[bool]:
    rendered = sorted({one.message_index for one in ids} - {-1})
    mask = []
    for at, one in enumerate(ids):
        index = one.message_index
        if index < 0 or messages[index].author.role != Role.ASSISTANT:
            mask.append(False)
            continue
        if train_on == "assistant":
            picked = True
        elif train_on == "final_only":
            picked = messages[index].channel == "final"
        elif train_on == "last_turn":
            picked = not any(
                later > index and messages[later].author.role == Role.USER for later in rendered
            )
        else:
            picked = train_on(messages[index], index)
        is_start = one.part == "START"
        is_role = at > 0 and ids[at - 1].part == "START"
        if is_start or is_role:
            before = at - (1 if is_start else 2)
            after_own = (
                before >= 0
                and messages[ids[before].message_index].author.role == Role.ASSISTANT
                and ids[before].token != CALL
            )
            picked = picked and after_own
        mask.append(bool(picked))
    return mask

"""Prompts of data set rows as token ids, texts and chat messages alike, as TRL's `apply_chat_template` renders them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from rag_graph.errors import DataError
from rag_graph.generation.end_tokens import before_end
from rag_graph.generation.tokens import EncodedPrompts, encode_fitting
from rag_graph.sentences import without_middle

RENDERED = 2000
"""So many chat rows are rendered when a data set is checked; beyond, only rows of a shape (roles, tools, arguments) not seen yet."""


def encode_rows(tokenizer: Any, rows: Sequence[Mapping[str, Any]], max_tokens: int) -> EncodedPrompts:
    """Token ids of each row's prompt, a text or chat messages. A prompt of more than `max_tokens` is cut: of a text the middle is left out, of chat
    messages the middle of the longest message, then of the next longest. The chat template stays whole.

    Columns `tools` and `chat_template_kwargs` go to the chat template. Where the last message is the assistant's, the answer continues it.
    """
    encoded: dict[int, list[int]] = {}
    cut: dict[int, bool] = {}
    for chat in (False, True):
        mine = [number for number, row in enumerate(rows) if isinstance(row["prompt"], str) != chat]
        if not mine:
            continue
        texts = [render_chat(tokenizer, rows[number]) if chat else rows[number]["prompt"] for number in mine]

        def shorten(place: int, fits: Callable[[str], bool], mine: list[int] = mine) -> str:
            return _shortened(tokenizer, rows[mine[place]], fits)

        found = encode_fitting(tokenizer, texts, max_tokens, templated=chat, shorten=shorten if chat else None)
        encoded |= dict(zip(mine, found.ids, strict=True))
        cut |= dict(zip(mine, found.cut, strict=True))
    order = range(len(rows))
    return EncodedPrompts([encoded[number] for number in order], [cut[number] for number in order])


def _shortened(tokenizer: Any, row: Mapping[str, Any], fits: Callable[[str], bool]) -> str:
    """The row's prompt without the middle of its longest messages, as rendered; empty where the template alone is too long."""
    messages = [_plain(message) for message in row["prompt"]]
    size = [len(message.get("content") or "") for message in messages]
    text = ""
    for place in sorted(range(len(messages)), key=lambda place: -size[place]):
        if not size[place]:
            break

        def rendered(content: str, place: int = place) -> str:
            changed = [*messages[:place], {**messages[place], "content": content}, *messages[place + 1 :]]
            return render_chat(tokenizer, {**row, "prompt": changed})

        shorter = without_middle(messages[place]["content"], lambda content: fits(rendered(content)), "character")
        messages[place]["content"] = shorter
        text = rendered(shorter)
        if fits(text):
            return text
    return ""


def decode_responses(
    tokenizer: Any, rows: Sequence[Mapping[str, Any]], responses: Sequence[Sequence[int]], stop_ids: Collection[int]
) -> list[Any]:
    """What rewards see: the text before the end token, for chat messages as a list of one message, as TRL passes them."""
    texts = tokenizer.batch_decode([before_end(ids, stop_ids) for ids in responses], skip_special_tokens=True)
    return [
        text if isinstance(row["prompt"], str) else [{"role": "assistant", "content": text}]
        for row, text in zip(rows, texts, strict=True)
    ]


def render_chat(tokenizer: Any, row: Mapping[str, Any], where: str = "") -> str:
    """The text that the tokenizer's chat template makes of a row's messages.

    Raises:
        DataError: messages that a template cannot take, or that this one refuses; `where` names the row.
    """
    messages = row["prompt"]
    where = where or f"the prompt {_short(messages)}"
    _check_messages(messages, where)
    if tokenizer.chat_template is None:
        raise DataError(f"{where}: chat messages, and the tokenizer has no chat_template. Set one, or give texts.")
    continues = messages[-1]["role"] == "assistant"
    try:
        text = tokenizer.apply_chat_template(
            [_plain(message) for message in messages],
            **{
                "tools": _tools(row.get("tools")),
                "add_generation_prompt": not continues,
                "continue_final_message": continues,
                **(_without_none(row.get("chat_template_kwargs")) or {}),
                "tokenize": False,
            },
        )
    except (TemplateError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise DataError(
            f"{where}: the tokenizer's chat template refuses these messages: {error}. Change the messages, or set another chat_template."
        ) from None
    return str(text)


def check_chat_rows(tokenizer: Any, rows: Iterable[Mapping[str, Any]], name: str) -> None:
    """Look at the prompt of every row, and render chat messages: the first `RENDERED` rows, then the first row of every new shape.

    Raises:
        DataError: a prompt is neither text nor chat messages, or cannot be rendered; names the row.
    """
    shapes: set[Any] = set()
    rendered = 0
    for number, row in enumerate(rows):
        prompt, where = row["prompt"], f"{name}, row {number}"
        if isinstance(prompt, str):
            continue
        _check_messages(prompt, where)
        shape = _shape(row)
        if tokenizer is not None and (rendered < RENDERED or shape not in shapes):
            render_chat(tokenizer, row, where)
            rendered += 1
            shapes.add(shape)


def _shape(row: Mapping[str, Any]) -> Any:
    roles = tuple((message["role"], bool(message.get("tool_calls"))) for message in row["prompt"])
    return roles, bool(row.get("tools")), repr(row.get("chat_template_kwargs"))


def _check_messages(prompt: Any, where: str) -> None:
    if not isinstance(prompt, list) or not prompt or not all(isinstance(message, dict) for message in prompt):
        raise DataError(f"{where}: the prompt is {_short(prompt)}. A text, or a list of chat messages, is expected.")
    for place, message in enumerate(prompt):
        at = f"{where}, message {place}"
        if not isinstance(message.get("role"), str):
            raise DataError(f"{at}: no role in {_short(message)}. Give 'role' and 'content'.")
        content = message.get("content")
        if isinstance(content, list):
            other = [part for part in content if not (isinstance(part, dict) and isinstance(part.get("text"), str))]
            if other:
                raise DataError(f"{at}: a part of the content is {_short(other[0])}. Only parts of text can be read.")
        elif content is None and not (message["role"] == "assistant" and message.get("tool_calls")):
            raise DataError(
                f"{at}: no content. Give a text; only an assistant's message with tool_calls may have none."
            )
        elif content is not None and not isinstance(content, str):
            raise DataError(f"{at}: the content is {_short(content)}. A text, or a list of parts, is expected.")
    if prompt[-1]["role"] not in ("user", "tool", "assistant"):
        raise DataError(
            f"{where}: the last message is of role '{prompt[-1]['role']}'. End with a message of user or tool, which is answered, or of "
            "assistant, which is continued."
        )


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as templates expect it: parts of text joined, and no keys that only hold None (data sets add them to every message)."""
    plain: dict[str, Any] = _without_none(message)
    if isinstance(plain.get("content"), list):
        plain["content"] = "".join(part["text"] for part in plain["content"])
    return plain


def _tools(tools: Any) -> Any:
    """Descriptions of tools, also as JSON text; none at all where the list is empty: some templates would announce it."""
    return _without_none(json.loads(tools) if isinstance(tools, str) and tools else tools) or None


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."

"""Chat rows: rendered as TRL renders them, refused with the number of the row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trl.data_utils import apply_chat_template

from rag_graph.errors import DataError
from rag_graph.generation.chat import RENDERED, check_chat_rows, decode_responses, encode_rows, render_chat

TEMPLATE = (
    "{{ bos_token }}{% if tools %}TOOLS {{ tools | length }}\n{% endif %}{% for m in messages %}<start>{{ m['role'] }}\n{{ m['content'] }}<end>\n"
    "{% endfor %}{% if add_generation_prompt %}<start>model\n{% if thinking is defined and not thinking %}<think></think>{% endif %}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)
HI = {"role": "user", "content": "hi"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]

ROWS: dict[str, dict[str, Any]] = {
    "a question": {"prompt": [HI]},
    "arguments of the template": {"prompt": [HI], "chat_template_kwargs": {"thinking": False}},
    "tools": {"prompt": [HI], "tools": TOOLS},
    "no tools": {"prompt": [HI], "tools": []},
    "an answer begun": {"prompt": [HI, {"role": "assistant", "content": "Let me"}]},
    "the answer of a tool": {"prompt": [HI, {"role": "tool", "content": "7"}]},
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_are_rendered_as_trl_renders_them(make_chat_tokenizer: Callable[..., Any], case: str) -> None:
    tokenizer, row = make_chat_tokenizer(TEMPLATE), ROWS[case]
    expected = apply_chat_template(dict(row), tokenizer, tools=row.get("tools"))["prompt"]
    assert render_chat(tokenizer, row) == expected
    (ids,) = encode_rows(tokenizer, [row], 100).ids
    assert ids == tokenizer(expected, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_text_gets_one_begin_token(make_chat_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_chat_tokenizer(TEMPLATE)
    (plain,) = encode_rows(tokenizer, [{"prompt": "red"}], 100).ids
    assert plain.count(tokenizer.bos_token_id) == 1
    assert encode_rows(tokenizer, [{"prompt": "<bos>red"}], 100).ids == [plain]


def test_texts_and_messages_may_stand_side_by_side(make_chat_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_chat_tokenizer(TEMPLATE)
    rows = [{"prompt": "red"}, {"prompt": [HI]}, {"prompt": "kettle"}]
    assert encode_rows(tokenizer, rows, 100).ids == [encode_rows(tokenizer, [row], 100).ids[0] for row in rows]
    end = tokenizer.convert_tokens_to_ids("<end>")
    (good,) = tokenizer(["good"], add_special_tokens=False)["input_ids"]
    written = [[*good, end, 9], good, [end]]
    assert decode_responses(tokenizer, rows, written, (1, end)) == [
        "good",
        [{"role": "assistant", "content": "good"}],
        "",
    ]


def test_long_messages_lose_their_middle_and_the_template_stays(make_chat_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_chat_tokenizer(TEMPLATE)
    long = "where is the red kettle ? " + "blue mixer " * 30 + "the red kettle"
    rows = [
        {"prompt": [HI]},
        {"prompt": [{"role": "system", "content": "good good"}, {"role": "user", "content": long}]},
        {"prompt": "red " * 100},
    ]
    whole = [len(ids) for ids in encode_rows(tokenizer, rows, 1000).ids]
    room = (
        len(encode_rows(tokenizer, [{"prompt": [rows[1]["prompt"][0], {"role": "user", "content": ""}]}], 1000).ids[0])
        + 12
    )
    found = encode_rows(tokenizer, rows, room)
    assert found.cut == [False, True, True]
    assert len(found.ids[0]) == whole[0]
    assert all(len(ids) <= room for ids in found.ids)
    shown = tokenizer.decode(found.ids[1])
    begin, middle, end = render_chat(tokenizer, rows[1]).partition(long)
    assert middle
    assert shown.startswith(begin.strip())
    assert shown.endswith(end)
    assert "where is ... the red kettle" in shown
    (tiny,) = encode_rows(tokenizer, rows[1:2], 5).ids
    assert len(tiny) == 5, "where the template alone is too long"


def test_parts_are_joined_and_keys_that_hold_none_are_dropped(make_chat_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_chat_tokenizer(TEMPLATE)
    parts = [{"type": "text", "text": "the red"}, {"type": "text", "text": " kettle", "image": None}]
    assert "user\nthe red kettle<end>" in render_chat(tokenizer, {"prompt": [{"role": "user", "content": parts}]})
    called = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
    assert "None" not in render_chat(tokenizer, {"prompt": [HI, called, {**HI, "tool_calls": None}]})


REFUSED: dict[str, tuple[Any, str]] = {
    "no text": (7, "the prompt is 7. A text, or a list of chat messages, is expected"),
    "no messages": ([], r"the prompt is \[\]"),
    "no role": ([{"content": "hi"}], "message 0: no role"),
    "no content": ([HI, {"role": "assistant", "content": None}, HI], "message 1: no content"),
    "a picture": ([{"role": "user", "content": [{"type": "image", "text": None}]}], "Only parts of text can be read"),
    "a system message last": ([{"role": "system", "content": "s"}], "the last message is of role 'system'"),
    "a system message": ([{"role": "system", "content": "s"}, HI], "refuses these messages: System role not supported"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_rendered_names_its_row(make_chat_tokenizer: Callable[..., Any], case: str) -> None:
    prompt, message = REFUSED[case]
    rows = [{"prompt": [HI]}] * 7 + [{"prompt": prompt}]
    with pytest.raises(DataError, match=f"train_dataset, row 7.*{message}"):
        check_chat_rows(make_chat_tokenizer(NO_SYSTEM), rows, "train_dataset")


def test_a_tokenizer_without_a_template_is_refused(make_chat_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="row 0: chat messages, and the tokenizer has no chat_template"):
        check_chat_rows(make_chat_tokenizer(), [{"prompt": [HI]}], "train_dataset")


def test_of_a_large_data_set_every_shape_is_rendered(make_chat_tokenizer: Callable[..., Any]) -> None:
    calls = 0
    tokenizer = make_chat_tokenizer(NO_SYSTEM)

    class Counting:
        chat_template = NO_SYSTEM

        def apply_chat_template(self, *given: Any, **named: Any) -> str:
            nonlocal calls
            calls += 1
            return str(tokenizer.apply_chat_template(*given, **named))

    rows = [{"prompt": [HI]}] * (RENDERED + 50) + [{"prompt": [{"role": "system", "content": "s"}, HI]}]
    with pytest.raises(DataError, match=f"row {RENDERED + 50}: .*System role not supported"):
        check_chat_rows(Counting(), rows, "rows")
    assert calls == RENDERED + 1

"""Text that others wrote, made harmless: for a prompt, for a terminal, for a page."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\x9b[0-?]*[ -/]*[@-~]")
"""Sequences that a terminal obeys: CSI, OSC, and those of two characters."""
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but tab and newline; marks that turn the direction of a text; invisible ones; halves of surrogate pairs."""
_TURNS = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS)\]|<</?SYS>>|<｜[^｜<>\n]{1,40}｜>"
)
"""What chat templates write between the turns. Some servers read it in a text as if they had written it themselves."""
MOST = 2000
"""Characters of what a judge wrote that are kept."""


def clean(text: str) -> str:
    """The text without escape sequences, control characters (tab and newline stay) and characters that nobody sees."""
    return _UNSEEN.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def for_prompt(text: str) -> str:
    """`clean`, and marks of turns such as `<|im_end|>` get a space, so that no tokenizer takes them for its own."""
    cleaned, before = clean(text), None
    while cleaned != before:  # what was cut may have joined a mark
        before = cleaned
        cleaned = _TURNS.sub(lambda found: f"{found[0][0]} {found[0][1:]}", cleaned)
    return cleaned


def shown(text: str, most: int = MOST) -> str:
    """`clean`, at most `most` characters."""
    cleaned = clean(text).strip()
    return cleaned if len(cleaned) <= most else f"{cleaned[: most - 1]}…"


def in_line(text: str, most: int = 200) -> str:
    """`shown` in one line."""
    return shown(" ".join(clean(text).split()), most)

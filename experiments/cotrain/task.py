"""A corpus in which the useful passage is not the most similar one, and questions about it.

Every item has three facts. A ledger states the fact; it shares only the item with the question. A rumour repeats the question word for
word and states a wrong value. No training question is about an item of the test questions. More than half of the demonstrations say
"unknown", so the generator has something to learn too.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
FACTS = ("cost", "color", "home")
QUESTIONS = {"cost": "{item} cost", "color": "{item} color", "home": "{item} home"}
LEDGERS = {"cost": "{item} price {value}", "color": "{item} paint {value}", "home": "{item} port {value}"}
RUMOURS = {
    "cost": "{item} cost , say {value}",
    "color": "{item} color , say {value}",
    "home": "{item} home , say {value}",
}


def make(folder: Path, seed: int, train_items: int = 400, test_items: int = 60) -> None:
    """Write train.jsonl, test.jsonl and passages.jsonl."""
    rng = random.Random(f"cotrain/{seed}")
    syllables = [first + vowel + last for first in CONSONANTS for vowel in VOWELS for last in CONSONANTS]
    words = rng.sample(syllables, 2 * (train_items + test_items))
    items = [f"{one} {other}" for one, other in zip(words[::2], words[1::2], strict=True)]
    values = [first + consonant + last for first in VOWELS for consonant in CONSONANTS for last in VOWELS]
    rng.shuffle(values)
    passages, rows = [], {"train": [], "test": []}
    for number, item in enumerate(items):
        for place, fact in enumerate(FACTS):
            right, wrong = rng.sample(values[30 * place : 30 * (place + 1)], 2)
            passages.append({"id": f"ledger/{fact}/{item}", "text": LEDGERS[fact].format(item=item, value=right)})
            passages.append({"id": f"rumour/{fact}/{item}", "text": RUMOURS[fact].format(item=item, value=wrong)})
            split = "train" if number < train_items else "test"
            question = QUESTIONS[fact].format(item=item)
            rows[split].append(
                {
                    "id": f"{fact}/{item}",
                    "question": question,
                    "answer": right,
                    "hedge": "unknown",
                    "ledger": f"ledger/{fact}/{item}",
                }
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("passages", passages), *rows.items()):
        rng.shuffle(content)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")

"""`parcels`: a small multi-task data set that is generated here, for runs without a download.

A passage describes a parcel in a few short sentences, with negation ("is not great") and, half the time, a distractor ("it
replaced a blue mixer"). There are four tasks: topic, sentiment, a question, and a summary of three words. Only the archive
says where a parcel is from. It has one record per (colour, product, buyer), so this question needs retrieval. The record of
the distractor is as similar to the passage as the correct one.

Demonstrations can be weak: they come from a heuristic that ignores negation and follows the distractor. Items that it gets wrong are `hard`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from rag_graph.records import ContextNode, Example

PRODUCTS = {
    "kitchen": ("blender", "kettle", "toaster", "mixer", "pan", "grill"),
    "audio": ("speaker", "headset", "radio", "turntable", "microphone", "amplifier"),
    "garden": ("rake", "hose", "mower", "shovel", "planter", "trimmer"),
    "office": ("desk", "printer", "stapler", "lamp", "chair", "shredder"),
    "sport": ("racket", "helmet", "tent", "bicycle", "dumbbell", "kayak"),
}
TOPIC_OF = {product: topic for topic, products in PRODUCTS.items() for product in products}
COLORS = ("red", "blue", "green", "black", "white", "silver", "yellow", "purple")
BUYERS = ("anna", "ben", "carla", "david", "emma", "felix", "grace", "henry")
CITIES = ("oslo", "lima", "kyoto", "cairo", "turin", "perth", "quebec", "dakar")
PRAISE = ("great", "sturdy", "excellent", "reliable", "lovely", "quiet")
BLAME = ("awful", "flimsy", "terrible", "faulty", "ugly", "noisy")
QUESTIONS = {
    "color": "what color ?",
    "days": "how many days ?",
    "buyer": "who bought it ?",
    "origin": "where is it from ?",
}
_POOL_SEED = {"train": 11, "test": 12}


@dataclass(frozen=True, slots=True)
class Parcel:
    """The content of a passage: the item, its distractor (or None), and the answers of the heuristic."""

    text: str
    product: str
    color: str
    buyer: str
    days: str
    good: bool
    seems_good: bool
    seems_product: str
    seems_color: str


def _parcel(rng: random.Random) -> Parcel:
    product = rng.choice(list(TOPIC_OF))
    color, other_color = rng.sample(COLORS, 2)
    buyer, days = rng.choice(BUYERS), str(rng.randint(2, 9))
    good, negated = rng.random() < 0.5, rng.random() < 0.35
    word = rng.choice(PRAISE if good != negated else BLAME)
    verb = f"is not {word}" if negated else f"is {word}"
    sentences = [
        rng.choice(
            (
                f"{buyer} bought a {color} {product} .",
                f"a {color} {product} was ordered by {buyer} .",
                f"{buyer} chose the {color} {product} .",
            )
        ),
        rng.choice((f"it arrived in {days} days .", f"delivery took {days} days .")),
        rng.choice((f"the {product} {verb} .", f"{buyer} says it {verb} .")),
    ]
    seems_product, seems_color = product, color
    if rng.random() < 0.5:
        seems_product = rng.choice([name for name in TOPIC_OF if name != product])
        seems_color = other_color
        distractor = rng.choice(
            (
                f"it replaced a {other_color} {seems_product} .",
                f"an old {other_color} {seems_product} was thrown away .",
            )
        )
        sentences.insert(0 if rng.random() < 0.5 else len(sentences), distractor)
    return Parcel(" ".join(sentences), product, color, buyer, days, good, word in PRAISE, seems_product, seems_color)


def archive(split: str) -> list[ContextNode]:
    """The pool of a split: one record per (colour, product, buyer). The city differs between splits."""
    rng = random.Random(_POOL_SEED[split])
    return [
        ContextNode(
            f"archive/{split}/{color}-{product}-{buyer}",
            "archive",
            f"{color} {product} {buyer}",
            f"{color} {product} of {buyer} : from {rng.choice(CITIES)} .",
            "parcels",
        )
        for color in COLORS
        for product in TOPIC_OF
        for buyer in BUYERS
    ]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An example with the answer of the weak heuristic."""

    example: Example
    weak: str

    @property
    def hard(self) -> bool:
        return self.weak != self.example.references[0]


def make_parcels(split: str, passages: int, seed: int) -> Iterator[Demonstration]:
    """Yield every task's example of each passage: topic, sentiment, the four questions, summary.

    Args:
        split: "train" or "test"; they draw from different pools and never share a seed.
        passages: the number of passages.
        seed: of the run.
    """
    rng = random.Random(f"parcels/{split}/{seed}")
    cities = {node.title: node.text.split()[-2] for node in archive(split)}
    for number in range(passages):
        parcel = _parcel(rng)
        for task, question, gold, weak in _answers(parcel, cities):
            inputs = {"input": parcel.text} | ({"question": QUESTIONS[question]} if question else {})
            name = f"{split}/{number}/{question or task}"
            yield Demonstration(Example(name, task, inputs, (gold,), unit=f"{split}/{number}"), weak)


def _answers(parcel: Parcel, cities: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    def view(good: bool, color: str, product: str) -> str:
        return f"{'good' if good else 'bad'} {color} {product}"

    def origin(color: str, product: str) -> str:
        return f"{product} from {cities[f'{color} {product} {parcel.buyer}']}"

    yield "topic", "", TOPIC_OF[parcel.product], TOPIC_OF[parcel.seems_product]
    yield "sentiment", "", "positive" if parcel.good else "negative", "positive" if parcel.seems_good else "negative"
    yield "question", "color", parcel.color, parcel.seems_color
    yield "question", "days", parcel.days, parcel.days
    yield "question", "buyer", parcel.buyer, parcel.buyer
    yield "question", "origin", origin(parcel.color, parcel.product), origin(parcel.seems_color, parcel.seems_product)
    yield (
        "summary",
        "",
        view(parcel.good, parcel.color, parcel.product),
        view(parcel.seems_good, parcel.seems_color, parcel.seems_product),
    )

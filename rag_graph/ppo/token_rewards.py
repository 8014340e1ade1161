"""Rewards for tokens made from rewards for answers. All of them are reward functions that return a list of numbers per completion.

| | pays | the optimal policy |
|---|---|---|
| `PotentialShaping` | gamma Phi(s_t+1) - Phi(s_t) at every token, Phi = 0 at every end | stays (Ng, Harada, Russell 1999) |
| `Redistributed` | the answer's reward, spread over its sentences | stays for gamma = 1: every answer keeps its return (Arjona-Medina et al. 2019, arXiv 1806.07857) |
| `SpanReward` | a reward of its own for each sentence | CHANGES: another objective (fine-grained rewards, Wu et al. 2023, arXiv 2306.01693) |

Shapes: T tokens of a completion, the end token included; s_t is the state before token t.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from rag_graph.errors import TrainingError
from rag_graph.ppo.reward_protocols import WrappedReward, name_of

Span = tuple[int, int]
"""First token, and the one after the last."""

_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)|[。！？]+|\n")


def shaping_rewards(potentials: Sequence[float], gamma: float = 1.0) -> list[float]:
    """F_t = gamma Phi(s_t+1) - Phi(s_t) for t < T.

    Args:
        potentials: Phi(s_0) ... Phi(s_T-1), [T]. The state after the last token has none: its potential is 0 whether the answer ended
            or was cut off, because otherwise the shaping would change what is optimal.
    """
    following = [*potentials[1:], 0.0]
    return [gamma * after - before for before, after in zip(potentials, following, strict=True)]


def redistribute(total: float, spans: Sequence[Span], contributions: Sequence[float] | None = None) -> list[float]:
    """Spread `total` over spans, [T] that sum to it: each span's contribution at its last token, what is left over in equal parts.

    Args:
        spans: they cover the tokens in order.
        contributions: how much each span is thought to have brought; None: equal.
    """
    rewards = [0.0] * spans[-1][1]
    parts = list(contributions) if contributions is not None else [0.0] * len(spans)
    rest = (total - sum(parts)) / len(spans)
    for (_, end), part in zip(spans, parts, strict=True):
        rewards[end - 1] = part + rest
    return rewards


def sentence_spans(tokenizer: Any, completion_ids: Sequence[int]) -> list[Span]:
    """The sentences of a completion as spans of tokens; a token that straddles a boundary belongs to the earlier sentence.

    Special tokens belong to the sentence before them. A completion without tokens has no spans. A sentence ends with . ! or ? before
    white space, with their full-width forms, or with the line: an abbreviation counts as an end.
    """
    size = len(completion_ids)
    if size == 0:
        return []
    # Where each token's text ends: decoding prefixes is slower than adding up pieces, and right for every tokenizer.
    ends = [len(tokenizer.decode(completion_ids[: t + 1], skip_special_tokens=True)) for t in range(size)]
    text = tokenizer.decode(completion_ids, skip_special_tokens=True)
    cuts = []
    for match in _SENTENCE_END.finditer(text):
        token = next((t for t, end in enumerate(ends) if end >= match.end()), size - 1)
        if ends[token] < len(text):  # what follows the last sentence end, special tokens above all, stays with it
            cuts.append(token + 1)
    bounds = [0, *sorted(set(cuts)), size]
    return [(start, end) for start, end in pairwise(bounds) if end > start]


class PotentialShaping(WrappedReward):
    """Potential-based shaping, added to the rewards of a trainer: `reward_funcs=[reward, PotentialShaping(potential)]`. It is no
    observation: an episode that no other reward observed stays out of the update.

    Args:
        potential: called like a reward, returns Phi(s_0) ... Phi(s_T-1) for each completion, or None.
        gamma: the trainer's.
    """

    observes = False

    def __init__(self, potential: Callable[..., Sequence[Sequence[float] | None]], gamma: float = 1.0) -> None:
        super().__init__(potential, f"shaping_{name_of(potential)}")
        self.gamma = gamma

    def __call__(self, *, completion_ids: list[list[int]], **columns: Any) -> list[list[float] | None]:
        found = self.inside(completion_ids=completion_ids, **columns)
        for potentials, ids in zip(found, completion_ids, strict=True):
            if potentials is not None and len(potentials) != len(ids):
                raise TrainingError(
                    f"{self.__name__}: {len(potentials)} potentials for {len(ids)} tokens. One before each token is expected."
                )
        return [None if potentials is None else shaping_rewards(potentials, self.gamma) for potentials in found]


class Redistributed(WrappedReward):
    """A reward whose scalar is spread over the sentences of the answer; it learns and is kept like the reward inside.

    Args:
        reward: returns a number or None per completion.
        tokenizer: finds the sentences.
        score_prefix: score_prefix(prompt, text) of a growing prefix of the answer; a sentence is credited with what it adds. None: equal
            parts.
    """

    def __init__(self, reward: Any, tokenizer: Any, score_prefix: Callable[[Any, str], float] | None = None) -> None:
        super().__init__(reward)
        self.tokenizer, self.score_prefix = tokenizer, score_prefix

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> list[float | list[float] | None]:
        totals = self.inside(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)
        rewards: list[float | list[float] | None] = []
        for prompt, ids, total in zip(prompts, completion_ids, totals, strict=True):
            if isinstance(total, Sequence):
                raise TrainingError(
                    f"reward '{self.__name__}' pays tokens already: there is nothing to spread over sentences."
                )
            spans = sentence_spans(self.tokenizer, ids)
            rewards.append(
                total if total is None or not spans else redistribute(total, spans, self._parts(prompt, ids, spans))
            )
        return rewards

    def _parts(self, prompt: Any, ids: list[int], spans: list[Span]) -> list[float] | None:
        if self.score_prefix is None:
            return None
        texts = [self.tokenizer.decode(ids[:end], skip_special_tokens=True) for _, end in spans]
        scores = [self.score_prefix(prompt, text) for text in ["", *texts]]
        return [after - before for before, after in pairwise(scores)]


class SpanReward:
    """A reward for each sentence of an answer, paid at the sentence's last token. This is another objective than the sum at the end:
    longer answers have more sentences to be paid for.

    Args:
        score_sentence: score_sentence(prompt, sentence) -> number.
        tokenizer: finds the sentences.
    """

    def __init__(self, score_sentence: Callable[[Any, str], float], tokenizer: Any) -> None:
        self.score_sentence, self.tokenizer = score_sentence, tokenizer
        self.__name__ = name_of(score_sentence)

    def __call__(self, prompts: list[Any], completion_ids: list[list[int]], **_: Any) -> list[list[float]]:
        rewards = []
        for prompt, ids in zip(prompts, completion_ids, strict=True):
            paid = [0.0] * len(ids)
            for start, end in sentence_spans(self.tokenizer, ids):
                text = self.tokenizer.decode(ids[start:end], skip_special_tokens=True).strip()
                paid[end - 1] = float(self.score_sentence(prompt, text))
            rewards.append(paid)
        return rewards

"""The encoder of queries learns beside the policy: from what the policy finds likely, from what the graph pays, or by policy gradient.

Per update, after the policy's step (docs: `rag_graph/rag/choice.py` has the losses and their sources):

- perplexity: for some episodes with a reference, l_z = mean token log-likelihood of the reference given each candidate z;
- reward: for some episodes, R_z = reward of the policy's greedy answer given each candidate z;
- policy_gradient: the evidence of every episode was drawn by Plackett-Luce; the draw is step 0 of the episode, and its advantage is the
  episode's reward less the mean of the other episodes of its task.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rag_graph.config import RetrievalConfig
from rag_graph.errors import TrainingError
from rag_graph.generation.generate import answering
from rag_graph.generation.marginal import answer_scores, rag_sequence_log_prob
from rag_graph.generation.tokens import answer_ids, encode_prompts
from rag_graph.rag.choice import (
    Candidates,
    QueryLearner,
    choice_logits,
    clipped_choice_loss,
    contrastive_loss,
    distillation_loss,
    plackett_luce_draw,
    plackett_luce_log_prob,
)
from rag_graph.rag.pipeline import Asked, Choice, Prepared, RagPipeline, passage_weights, query_text
from rag_graph.records import Episode, Example
from rag_graph.retrieval.encoder import SCRATCH, SentenceEncoder

PayEpisodes = Callable[[Sequence[Episode], Sequence[bool]], Tensor]
"""Episodes, and whether the goal of each is observed -> [B] reward, NaN where there is none."""
ALIKE = 1e-6
"""Rewards that spread by less are alike."""
FROM_SCRATCH, PRETRAINED = 0.2, 1.0
"""Temperature of the target distribution over passages, in nats per token or in units of the reward, where nothing else is stated."""
CLIPRANGE = 0.2
"""policy_gradient: of the probability ratio of a choice (Schulman et al. 2017, as for the policy)."""


class RetrieverTraining:
    """
    Args:
        pipeline: whose pool retrieves with `encoder`.
        pay: for method "reward".
        seed: of draws.
        bf16: likelihoods of answers under autocast to bfloat16, as the policy's own.
    """

    def __init__(
        self,
        pipeline: RagPipeline,
        encoder: SentenceEncoder,
        model: Any,
        tokenizer: Any,
        max_prompt_tokens: int,
        batch_size: int,
        pay: PayEpisodes | None = None,
        seed: int = 0,
        bf16: bool = False,
    ) -> None:
        self.pipeline, self.model, self.tokenizer = pipeline, model, tokenizer
        self.max_prompt_tokens, self.batch_size, self.pay, self.seed = max_prompt_tokens, batch_size, pay, seed
        self.bf16 = bf16
        self.learner = QueryLearner(encoder, self.config.learn.learning_rate, self.config.temperature)
        self.reference: SentenceEncoder | None = None
        if self.config.encoder != SCRATCH:
            self.keep_reference()

    def keep_reference(self) -> None:
        """Keep the encoder of queries as it is now: what perplexity and reward teach it from now on stays near what it finds now.

        Called for a pretrained one, and after a warm-up. One from scratch has none before: its choices say nothing yet.
        """
        self.reference = self.learner.encoder.copy() if self.config.learning in ("perplexity", "reward") else None

    @property
    def config(self) -> RetrievalConfig:
        return self.pipeline.config

    # ------------------------------------------------------------------ drawing evidence

    def choose(self, update: int) -> Callable[[Sequence[Asked]], list[Choice]]:
        """Draws of one update by Plackett-Luce; the same update draws the same."""

        def draw(asked: Sequence[Asked]) -> list[Choice]:
            if not asked:
                return []
            with torch.no_grad():
                logits = self.learner.logits(self._candidates(asked)).cpu()
            size = self.config.k if self.config.fusion == "concat" else 1
            taken = plackett_luce_draw(logits, size, draws_of(self.seed, update))
            log_prob = plackett_luce_log_prob(logits, taken)
            return [
                Choice(one, tuple(place for place in row if place >= 0), value)
                for one, row, value in zip(asked, taken.tolist(), log_prob.tolist(), strict=True)
            ]

        return draw

    def _candidates(self, asked: Sequence[Asked]) -> Candidates:
        pool = self.pipeline.pool
        assert pool is not None
        return Candidates.of([one.query for one in asked], [pool.vectors(one.task, one.candidates) for one in asked])

    # ------------------------------------------------------------------ learning from an update

    def update(
        self, prepared: Sequence[Prepared], rewards: Sequence[float], observed: Sequence[bool], update: int
    ) -> dict[str, float]:
        """Learn from one update's episodes; what happened, for the log.

        Args:
            rewards: of each, NaN where there was none.
            observed: whether the goal of each was, and with it its reference.
        """
        learn, method = self.config.learn, self.config.learning
        if method == "policy_gradient":
            return self._reinforce(prepared, rewards)
        if method == "none":
            return {}
        rows = [row for row, one in enumerate(prepared) if one.evidence]
        if method == "perplexity":
            rows = [row for row in rows if observed[row] and prepared[row].example.references]
        rows = random.Random(f"cotrain/{self.seed}/{update}").sample(rows, min(learn.queries, len(rows)))
        seen: dict[str, bool] = {}
        for row in rows:  # an example that was asked twice is seen only where it was both times
            name = prepared[row].example.id
            seen[name] = observed[row] and seen.get(name, True)
        asked = self._ask([prepared[row] for row in sorted(rows)])
        if not asked:
            return {}
        targets = self._likelihoods(asked) if method == "perplexity" else self._rewards(asked, seen, update)
        candidates = self._candidates([one for _, one in asked])
        prior, temperature = None, learn.target_temperature or FROM_SCRATCH
        if self.reference is not None:
            temperature = learn.target_temperature or PRETRAINED
            with torch.no_grad():
                prior = choice_logits(self.reference.embed(candidates.queries), candidates, self.config.temperature)
        losses = []
        for _ in range(learn.epochs):
            loss = distillation_loss(self.learner.logits(candidates), targets, temperature, prior)
            self.learner.step(loss)
            losses.append(loss.item())
        return {"retriever/loss": losses[0], "retriever/queries": float(len(asked))}

    def _ask(self, prepared: Sequence[Prepared]) -> list[tuple[Prepared, Asked]]:
        """Each with its candidates, those with one alone left out. The drafts are those it was answered with."""
        pool = self.pipeline.pool
        assert pool is not None
        found: list[tuple[Prepared, Asked]] = []
        for task in dict.fromkeys(one.example.task for one in prepared):
            mine = [one for one in prepared if one.example.task == task]
            queries = [query_text(one.example, one.draft) for one in mine]
            candidates = pool.candidates(task, queries, [one.example.id for one in mine], self.config.learn.candidates)
            for one, query, pieces in zip(mine, queries, candidates, strict=True):
                if len(pieces) > 1:
                    found.append((one, Asked(task, query, tuple(pieces))))
        return found

    def _likelihoods(self, asked: Sequence[tuple[Prepared, Asked]]) -> Tensor:
        """l_z [Q, K] of the first reference, NaN where there is no candidate; no gradient."""
        prompts, answers = self._to_read(asked)
        with torch.no_grad(), answering(self.model, self.bf16):
            totals = answer_scores(self.model, prompts, answers, self.batch_size)
        lengths = torch.tensor([len(answer) for answer in answers])
        return _table((totals.cpu() / lengths).tolist(), [len(question.candidates) for _, question in asked])

    def _to_read(self, asked: Sequence[tuple[Prepared, Asked]]) -> tuple[list[list[int]], list[list[int]]]:
        """Ids of a prompt for each candidate alone, one question after the other, and of the first reference of its question."""
        pairs = [(one.example, piece) for one, question in asked for piece in question.candidates]
        prompts = [shown.prompt for shown in self.pipeline.alone(pairs)]
        answers = answer_ids(self.tokenizer, [example.references[0] for example, _ in pairs])
        return encode_prompts(self.tokenizer, prompts, self.max_prompt_tokens), answers

    def _rewards(self, asked: Sequence[tuple[Prepared, Asked]], seen: Mapping[str, bool], update: int) -> Tensor:
        """R_z [Q, K] of the greedy answer to each candidate, NaN where there is none. The goal is observed where that of the episode
        was: what was hidden from the policy's reward stays hidden."""
        assert self.pay is not None
        pairs = [(one, piece) for one, question in asked for piece in question.candidates]
        alone = self.pipeline.alone([(one.example, piece) for one, piece in pairs])
        responses = self.pipeline.write([shown.prompt for shown in alone])
        episodes = [
            Episode(
                f"{update}/{one.example.id}/{piece.context.id}",
                one.example,
                shown.prompt,
                response.text,
                one.draft,
                shown.evidence,
                truncated=response.truncated,
                round=update,
                prompt_cut=shown.cut,
            )
            for (one, piece), shown, response in zip(pairs, alone, responses, strict=True)
        ]
        paid = self.pay(episodes, [seen[one.example.id] for one, _ in pairs]).tolist()
        return _table(paid, [len(question.candidates) for _, question in asked])

    def _reinforce(self, prepared: Sequence[Prepared], rewards: Sequence[float]) -> dict[str, float]:
        rows = [row for row, one in enumerate(prepared) if one.choice is not None and not math.isnan(rewards[row])]
        advantages = task_advantages([prepared[row].example.task for row in rows], [rewards[row] for row in rows])
        choices = [choice for row in rows if (choice := prepared[row].choice) is not None]
        if not choices or not advantages.any():  # an optimizer with momentum would move by nothing
            return {}
        candidates = self._candidates([choice.asked for choice in choices])
        size = max(len(choice.taken) for choice in choices)
        taken = torch.tensor([[*choice.taken, *[-1] * (size - len(choice.taken))] for choice in choices])
        old = torch.tensor([choice.log_prob for choice in choices])
        clipped = 0.0
        for _ in range(self.config.learn.epochs):
            logits = self.learner.logits(candidates)
            log_prob = plackett_luce_log_prob(logits, taken.to(logits.device))
            self.learner.step(clipped_choice_loss(log_prob, old.to(log_prob), advantages.to(log_prob), CLIPRANGE))
            clipped = ((log_prob.detach() - old.to(log_prob)).exp() - 1).abs().gt(CLIPRANGE).float().mean().item()
        entropy = -(logits.softmax(1) * logits.log_softmax(1).nan_to_num(neginf=0.0)).sum(1).mean().item()
        return {"retriever/clipped": clipped, "retriever/entropy": entropy, "retriever/queries": float(len(choices))}

    # ------------------------------------------------------------------ warm-up

    def warm_up(
        self,
        examples: Sequence[Example],
        learning_rate: float,
        on_step: Callable[[int, float], object] | None = None,
    ) -> None:
        """`learn.warm_up_steps` steps before PPO, by passages that the data name, or by RAG-Sequence likelihood into both models.

        Args:
            learning_rate: of the generator.

        Raises:
            TrainingError: no example is fit for it.
        """
        learn = self.config.learn
        fit = self.fit_for_warm_up(examples)
        rng = random.Random(f"warm_up/{self.seed}")
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        generator = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
        for step in range(learn.warm_up_steps):
            batch = rng.sample(fit, min(learn.queries, len(fit)))
            loss = self._contrast(batch) if learn.warm_up == "contrastive" else self._likelihood(batch)
            generator.zero_grad(set_to_none=True)
            self.learner.step(loss)
            if learn.warm_up == "likelihood" and loss.requires_grad:
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                generator.step()
            if on_step:
                on_step(step + 1, loss.item())
        generator.zero_grad(set_to_none=True)

    def fit_for_warm_up(self, examples: Sequence[Example]) -> list[Example]:
        """Examples that the warm-up can use: with a supporting passage that grounds their task, or with a reference.

        Raises:
            TrainingError: there is none.
        """
        pool, warm_up = self.pipeline.pool, self.config.learn.warm_up
        assert pool is not None
        grounded = [example for example in examples if pool.ranks(example.task)]
        if warm_up == "contrastive":
            fit = [example for example in grounded if pool.supporting(example)]
            missing = "names a supporting passage of the task's contexts (fields: supporting)"
        else:
            fit = [example for example in grounded if example.references]
            missing = "has a reference"
        if not fit:
            raise TrainingError(f"retrieval.learn.warm_up={warm_up}: no example of a grounded task {missing}.")
        return fit

    def _contrast(self, batch: Sequence[Example]) -> Tensor:
        pool = self.pipeline.pool
        assert pool is not None
        kept = [(example, pool.supporting(example)) for example in batch]
        embedded = self.learner.encoder.embed([query_text(example, "") for example, _ in kept])
        gold = torch.stack([torch.from_numpy(pool.vectors(example.task, found[:1])[0]) for example, found in kept])
        ids = [{piece.context.id for piece in found} for _, found in kept]
        same = torch.tensor([[found[0].context.id in mine for _, found in kept] for mine in ids])
        return contrastive_loss(embedded, gold, self.config.temperature, same)

    def _likelihood(self, batch: Sequence[Example]) -> Tensor:
        """-log sum_z p(z|x) p(y|x, z) by the input alone, without drafts; gradients into both models."""
        asked = self._ask([Prepared(example, "") for example in batch])
        if not asked:  # nothing to choose between
            return torch.zeros(())
        with torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            found = answer_scores(self.model, *self._to_read(asked), self.batch_size)
        sizes = [len(question.candidates) for _, question in asked]
        logits = self.learner.logits(self._candidates([one for _, one in asked]))
        losses, start = [], 0
        for row, size in enumerate(sizes):
            totals = found[start : start + size]
            losses.append(-rag_sequence_log_prob(logits[row, :size].log_softmax(0).to(totals), totals))
            start += size
        return torch.stack(losses).mean()

    def state_dict(self) -> dict[str, Any]:
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state)


def task_advantages(tasks: Sequence[str], rewards: Sequence[float]) -> Tensor:
    """[B] reward less the mean of the other episodes of its task, over the spread of all; 0 for a task's only episode."""
    values = torch.tensor(rewards, dtype=torch.float64)
    found = torch.zeros(len(rewards), dtype=torch.float64)
    for task in set(tasks):
        mine = torch.tensor([name == task for name in tasks])
        if int(mine.sum()) > 1:
            found[mine] = (values[mine] - values[mine].mean()) * (mine.sum() / (mine.sum() - 1))
    spread = found.std() if len(found) > 1 else torch.zeros(())
    return (found / spread if spread > ALIKE else torch.zeros(len(rewards))).float()


def draws_of(seed: int, update: int) -> torch.Generator:
    """Random numbers that belong to an update of a run."""
    return torch.Generator().manual_seed(seed * 1_000_003 + update)


def draw_one(config: RetrievalConfig, seed: int, update: int) -> Callable[[Sequence[Asked]], list[Choice]]:
    """One of the best k passages of each, by the probability with which a marginalised answer weighs it."""

    def draw(asked: Sequence[Asked]) -> list[Choice]:
        uniform = torch.rand(len(asked), generator=draws_of(seed, update)).tolist()
        choices = []
        for one, number in zip(asked, uniform, strict=True):
            weights = passage_weights(one.candidates, config)
            ends = list(itertools.accumulate(weights))
            place = min(bisect.bisect(ends, number * ends[-1]), len(weights) - 1)
            choices.append(Choice(one, (place,), math.log(weights[place])))
        return choices

    return draw


def _table(values: Sequence[float], sizes: Sequence[int]) -> Tensor:
    """Values in rows of given lengths, NaN beyond: [Q, K]."""
    table = torch.full((len(sizes), max(sizes)), math.nan)
    start = 0
    for row, size in enumerate(sizes):
        table[row, :size] = torch.tensor(values[start : start + size])
        start += size
    return table

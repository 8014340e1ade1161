"""The imputers: oracle 10, the fitted prior, discovered gates, caution, preferences, and what the memory keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rag_graph.config import RewardConfig
from rag_graph.errors import ConfigError
from rag_graph.graph import AuxiliaryGraph
from rag_graph.records import Episode, Example
from rag_graph.reward.encoder import Contexts
from rag_graph.reward.imputation import hide
from rag_graph.reward.memory import Batch, Memory
from rag_graph.reward.model import RewardModel
from rag_graph.reward.prior import StructuralPrior
from rag_graph.reward.reward import GraphReward
from rag_graph.reward.scores import Scores
from rag_graph.reward.text import hashed_ngrams
from tests.reward.test_readout import edge, make_graph

RIGHT = [edge("c0", "t", "prerequisite", 0.8), edge("c1", "t", "supports", 0.8), edge("c2", "t", "conflicts", 0.8)]
SHUFFLED = [edge("c4", "t", "prerequisite", 0.8), edge("c5", "t", "supports", 0.8), edge("c3", "t", "conflicts", 0.8)]


def planted(rows: int, seed: int, share: float = 1.0) -> tuple[Scores, Tensor]:
    """The goal is gated by c0, raised by c1, lowered by c2; c3 to c5 are noise. Others are observed on 90%."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand((rows, 8), generator=generator)
    c = values[:, 2:]
    true = (c[:, 0] * (0.3 + 0.7 * c[:, 1] - 0.5 * c[:, 2])).clamp(0, 1)
    values[:, 0] = (true + 0.05 * torch.randn(rows, generator=generator)).clamp(0, 1)
    observed = torch.rand((rows, 8), generator=generator) < 0.9
    observed[:, 0] = torch.rand(rows, generator=generator) < share
    observed[:, 1] = False
    return Scores(values, observed, torch.zeros(rows, 8), torch.zeros(rows, dtype=torch.long)), true


def fitted(
    edges: list[dict[str, object]], readout: str = "prior_gnn", rows: int = 64, steps: int = 150, **settings: object
) -> RewardModel:
    graph = make_graph(edges, criteria=6)
    config = RewardConfig(readout=readout, **settings)
    torch.manual_seed(0)
    model = RewardModel(graph, config, hashed_ngrams(list(graph.nodes)))
    scores, _ = planted(rows, 0)
    model.observe(scores)
    model.refit(scores)
    optimizer = torch.optim.AdamW(model.parameter_groups(3e-3)) if steps and readout not in ("flat", "ridge") else None
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps if optimizer else 0):
        assert optimizer is not None
        halves = 2.0 * (torch.rand((rows, config.heads), generator=torch.Generator().manual_seed(1)) < 0.5)
        loss = model.loss(scores, torch.rand((rows, 8), generator=generator), halves)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.imputer.project()
    return model


def error(model: RewardModel) -> float:
    """Root mean squared error of the hidden goal on new episodes, in units of its deviation: 1 is no better than the mean."""
    scores, true = planted(2000, 99)
    with torch.no_grad():
        return float((model.predict_goal(scores) - true).square().mean().sqrt() / true.std())


def test_imputation_beats_the_mean_on_the_right_graph_and_loses_it_when_edges_are_shuffled() -> None:
    """Oracle 10: 64 observed goals."""
    mean = error(fitted([], "flat", steps=0))
    assert mean == pytest.approx(1.0, abs=0.05)
    stated, shuffled = error(fitted(RIGHT, steps=0)), error(fitted(SHUFFLED, steps=0))
    assert stated < mean - 0.25, "what the file says, without a fit"
    assert shuffled > mean - 0.02, "the wrong file says nothing"
    right, rescued = error(fitted(RIGHT)), error(fitted(SHUFFLED))
    assert right < mean - 0.3
    assert right < rescued - 0.03, "the right graph must help beyond what the same data tell"


def test_with_few_observations_the_prior_beats_what_knows_no_graph() -> None:
    prior = error(fitted(RIGHT, rows=16))
    for readout in ("ridge", "mlp", "gnn"):
        assert prior < error(fitted(RIGHT, readout, rows=16)) - 0.05, readout


def test_the_fitted_prior_is_pulled_to_the_file_and_yields_to_data() -> None:
    def gap(pull: float) -> float:
        base = fitted(SHUFFLED, rows=256, pull=pull).imputer.base
        assert isinstance(base, StructuralPrior)
        return float((base.slope - base.slope_of_file).detach().abs().mean())

    assert gap(1e4) < 0.01
    assert gap(0.0) > 0.08, "noise neither supports nor conflicts"


def test_a_gate_that_the_file_lacks_is_found_and_proposed() -> None:
    """The prerequisite is stated as a support, or not at all; only multiplicative structure tells the difference."""
    unstated = [edge("c1", "t", "supports", 0.8), edge("c2", "t", "conflicts", 0.8)]
    for edges in ([edge("c0", "t", "supports", 0.8), *unstated], unstated):
        model = fitted(edges, rows=512, steps=300)
        base = model.imputer.base
        assert isinstance(base, StructuralPrior)
        found = dict(zip(base.candidates, base.gamma.tolist(), strict=True))
        assert found.pop((2, 0)) > 0.5
        assert max(found.values()) < 0.15
        (proposal,) = model.gate_proposals(make_graph(edges, criteria=6))
        assert (proposal.source, proposal.target, proposal.proposed) == ("c0", "t", "prerequisite")
    assert fitted(RIGHT, rows=512).gate_proposals(make_graph(RIGHT, criteria=6)) == [], "it is stated already"


def test_linear_truth_discovers_no_gate() -> None:
    model = fitted([], rows=1, steps=0)
    generator = torch.Generator().manual_seed(3)
    values = torch.rand((512, 8), generator=generator)
    values[:, 0] = (0.3 + 0.3 * values[:, 2] + 0.3 * values[:, 3]).clamp(0, 1)
    observed = torch.ones(512, 8, dtype=torch.bool)
    scores = Scores(values, observed, torch.zeros(512, 8), torch.zeros(512, dtype=torch.long))
    graph = make_graph([edge("c0", "t", "supports", 0.8), edge("c1", "t", "supports", 0.8)], criteria=6)
    torch.manual_seed(0)
    model = RewardModel(graph, RewardConfig(), hashed_ngrams(list(graph.nodes)))
    model.observe(scores)
    optimizer = torch.optim.AdamW(model.parameter_groups(3e-3))
    for _ in range(300):
        loss = model.loss(scores, torch.rand((512, 8), generator=generator), torch.ones(512, 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.imputer.project()
    assert model.gate_proposals(graph) == []


def test_predictions_stay_in_the_observed_range_and_caution_lowers_them() -> None:
    bold, careful = (fitted(RIGHT, rows=24, caution=caution) for caution in (0.0, 2.0))
    scores, _ = planted(500, 7, share=0.0)
    with torch.no_grad():
        filled = bold.fill(scores)
        expected, spread = careful.imputer.predict(scores, careful.graph)
        lowered = careful.fill(scores)
    assert filled[:, 0].min() >= bold.imputer.low[0]
    assert filled[:, 0].max() <= bold.imputer.high[0]
    assert spread[:, 0].min() >= 0
    assert spread[:, 0].mean() > 0.005, "heads that saw other halves must disagree"
    assert torch.allclose(lowered[:, 0], (expected - 2.0 * spread)[:, 0].clamp(0, 1))
    assert torch.equal(lowered[scores.observed], scores.values[scores.observed]), "what was observed is never lowered"


def test_more_data_make_the_heads_agree() -> None:
    def spread(rows: int) -> float:
        model = fitted(RIGHT, rows=rows)
        with torch.no_grad():
            return float(model.imputer.predict(planted(500, 7, 0.0)[0], model.graph)[1][:, 0].mean())

    assert spread(1024) < 0.8 * spread(16)


def test_a_fit_hides_the_goal_always_and_others_sometimes() -> None:
    scores, _ = planted(4000, 1)
    reads = torch.zeros(8, dtype=torch.bool)
    reads[7] = True
    hidden = hide(scores, torch.rand((4000, 8), generator=torch.Generator().manual_seed(0)), reads)
    assert torch.equal(hidden[:, 0], scores.observed[:, 0])
    assert (hidden & ~scores.observed).sum() == 0
    assert hidden[:, 2:7].sum() / scores.observed[:, 2:7].sum() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(hidden[:, 7], scores.observed[:, 7]), "what compares with the reference goes with the goal"


# ------------------------------------------------------------------ preferences


def episode(name: str, quality: float, task: str = "t") -> Episode:
    return Episode(name, Example(name, task, {"input": "x"}), "", name, scores={"c0": quality, "c1": 0.5})


def preferring() -> GraphReward:
    return GraphReward(
        make_graph([]), RewardConfig(reserved=0.0), lambda e, nodes=None: dict(e.scores), lambda **_: [], seed=0
    )


def test_preferences_teach_the_goal_where_none_was_ever_scored() -> None:
    """Bradley-Terry: pairs say that more of c0 is better."""
    reward = preferring()
    generator = torch.Generator().manual_seed(0)
    for pair in range(100):
        a, b = torch.rand(2, generator=generator).tolist()
        better, worse = max(a, b), min(a, b)
        reward.prefer(episode(f"{pair}a", better), episode(f"{pair}b", worse))
    for update in range(20):
        reward.learn(reward.pay([episode(f"{update}/{k}", k / 8) for k in range(8)]))
    batch = reward.batch_of([episode("high", 0.9), episode("low", 0.1)])
    with torch.no_grad():
        high, low = reward.model.predict_goal(batch.scores).tolist()
    assert high > low + 0.1
    with torch.no_grad():
        loss = reward.model.preference_loss(*(reward.batch_of([episode("e", q)]) for q in (0.9, 0.1)))
    assert loss < 0.5, "below log 2, the loss of not knowing"


def test_preferences_between_tasks_or_without_an_imputer_are_refused() -> None:
    reward = preferring()
    with pytest.raises(ConfigError, match="both must be of one"):
        reward.prefer(episode("a", 1.0), episode("b", 0.0, "u"))
    plain = GraphReward(make_graph([]), RewardConfig(readout="flat"), lambda e, nodes=None: {}, lambda **_: [], seed=0)
    with pytest.raises(ConfigError, match="learns no imputer"):
        plain.prefer(episode("a", 1.0), episode("b", 0.0))


# ------------------------------------------------------------------ memory


def with_contexts(rows: int, seed: int) -> Batch:
    scores, _ = planted(rows, seed)
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(0, rows, (2 * rows,), generator=generator)
    return Batch(
        scores,
        Contexts(torch.rand((2 * rows, 3), generator=generator), owner, torch.rand(2 * rows, generator=generator)),
    )


def by_row(batch: Batch, row: int) -> list[list[float]]:
    mine = batch.contexts.episode == row
    return sorted(torch.cat([batch.contexts.text[mine], batch.contexts.score[mine, None]], 1).tolist())


def test_the_memory_keeps_rows_with_their_contexts_and_forgets_the_oldest() -> None:
    memory, generator = Memory(10, 4, 3), torch.Generator().manual_seed(0)
    first, second = with_contexts(7, 1), with_contexts(7, 2)
    memory.add(first, generator)
    memory.add(second, generator)
    assert len(memory) == 10
    drawn, halves = memory.draw(200, generator)
    assert halves.unique().tolist() == [0.0, 2.0]
    for row in range(len(drawn.scores.tasks)):
        matches = (second.scores.values == drawn.scores.values[row]).all(1).nonzero().flatten().tolist()
        if matches:
            assert by_row(drawn, row) == by_row(second, matches[0])
    kept = Memory(10, 4, 3)
    kept.load_state_dict(memory.state_dict())
    ends = [m.draw(6, torch.Generator().manual_seed(5)) for m in (memory, kept)]
    for one, two in zip(ends[0][0].scores, ends[1][0].scores, strict=True):
        assert torch.equal(one, two)
    for one, two in zip(ends[0][0].contexts, ends[1][0].contexts, strict=True):
        assert torch.equal(one, two)


def test_a_memory_without_contexts_or_rows_is_no_special_case() -> None:
    memory = Memory(5, 2, 3)
    assert memory.state_dict() == {}
    memory.load_state_dict({})
    scores, _ = planted(3, 0)
    nothing = Contexts(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), torch.zeros(0))
    memory.add(Batch(scores, nothing), torch.Generator())
    assert len(memory.draw(4, torch.Generator())[0].contexts.episode) == 0
    assert isinstance(make_graph([]), AuxiliaryGraph)

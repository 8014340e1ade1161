"""What the script of a report draws, as plain data: graph with positions and places in the file, strengths and node quantities per update,
curves."""

from __future__ import annotations

from typing import Any

from rag_graph.errors import GraphFileError
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.picture import positions
from rag_graph.graph.reader import edge_places, find_graph, load_graph
from rag_graph.graph.spec import Context, Criterion, Task
from rag_graph.runs.run import Run

OF_NODES = ("reward", "weight", "score", "imputed", "gated", "gate", "observed", "bias")
MOST_NUMBERS = 200_000
"""Of node quantities that a page draws."""
NODE_CHARTS = (
    ("score", "Score of each node, as observed", "mean over episodes in which it was measured", (-0.02, 1.02)),
    ("imputed", "Score of each node, gaps filled in", "mean over all episodes it bears on; predicted where it was not measured", (-0.02, 1.02)),
    ("gated", "Score of each node, after its gates", "what is left once prerequisites have had their say", (-0.02, 1.02)),
    ("reward", "What each node paid", "per episode that it bears on; weight times normalised score", None),
    ("observed", "How often each node was observed", "share of the episodes it bears on", (-0.02, 1.02)),
)  # fmt: skip
CHARTS = (
    ("Score of the answers", "mean goal of the answers of an update in score units, observed or predicted", {"score": "score"}),
    ("Goal on held-out examples, and what is paid", "goal score of reserved examples, never paid; paid utility in score units", {"held-out goal": "reward/held_out_goal", "paid utility": "reward/utility"}),
    ("Reward", "mean over the episodes of an update", {"reward": "objective/scores", "reward minus KL penalty": "objective/rlhf_reward"}),
    ("KL to the reference policy", "nats per episode", {"KL": "objective/kl"}),
    ("Entropy", "nats per token", {"entropy": "policy/entropy_avg"}),
    ("Length", "tokens per response", {"tokens": "val/response_tokens"}),
    ("Cut off", "share of responses that reached the limit", {"truncated": "val/truncated"}),
    ("Left out of prompts", "share of episodes: no passage was shown, a passage was cut, the prompt was too long", {"without evidence": "retrieval/without_evidence", "cut evidence": "retrieval/cut_evidence", "cut prompt": "prompts/cut"}),
    ("Error of predicted scores", "in standard deviations of the node, on scores that were hidden", {"error": "reward/imputer_error"}),
    ("Losses", "of the policy and of the value model", {"policy": "loss/policy_avg", "value": "loss/value_avg"}),
)  # fmt: skip


def page_data(run: Run) -> dict[str, Any]:
    """What the script draws: graph with positions, strengths and node quantities per update, curves."""
    graph, records = run.stated_graph, _drawn(run)
    nodes: dict[str, dict[str, list[float | None]]] = {}
    for name in graph.nodes:
        series = {q: [record.get(f"nodes/{name}/{q}") for record in records] for q in OF_NODES}
        if told := {q: values for q, values in series.items() if any(value is not None for value in values)}:
            nodes[name] = told
    strengths = [run.strengths_in(record) for record in records]
    moving = {
        index: [round(at[index], 4) for at in strengths]
        for index, edge in enumerate(graph.spec.edges)
        if any(at[index] != edge.strength for at in strengths)
    }
    means = [abs(sum(known) / len(known)) for of in nodes.values() if (known := _last(of.get("reward", []), 20))]
    return {
        "graph": _graph(graph, edge_lines(run)),
        "updates": [record["update"] for record in records],
        "nodes": {name: {q: [_short(v) for v in values] for q, values in of.items()} for name, of in nodes.items()},
        "strengths": moving,
        "largest_reward": round(max([0.05, *means]), 3),
        "charts": [
            {"title": title, "about": about, "series": [{"label": label, "values": [_short(r.get(key)) for r in records]} for label, key in keys.items()]}
            for title, about, keys in CHARTS
        ],
        "node_charts": [{"quantity": q, "title": title, "about": about, "range": limits} for q, title, about, limits in NODE_CHARTS],
    }  # fmt: skip


def _drawn(run: Run) -> list[dict[str, Any]]:
    """The updates that are drawn: all, or every k-th and the last, so many that the page stays small."""
    records = run.records()
    step = -(-len(records) // max(200, MOST_NUMBERS // (len(OF_NODES) * max(1, len(run.stated_graph.nodes)))))
    return records if step <= 1 else records[:-1][::step] + records[-1:]


def _last(values: list[float | None], count: int) -> list[float]:
    return [value for value in values if value is not None][-count:]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _graph(graph: AuxiliaryGraph, places: list[str]) -> dict[str, Any]:
    where, spec = positions(graph), graph.spec
    top, left = max((y for _, y in where.values()), default=0.0), min((x for x, _ in where.values()), default=0.0)
    nodes = []
    for name, kind in graph.kinds.items():
        task, criterion, context = spec.tasks.get(name), spec.criteria.get(name), spec.contexts.get(name)
        about = _about(task or criterion or context)
        x, y = where[name]
        at = {"x": round((x - left) / 1.6, 3), "y": round(top - y, 3)}
        nodes.append(
            {
                "name": name,
                "kind": kind,
                "title": graph.title(name),
                "about": about,
                "goal": task.goal if task else 0,
                **at,
            }
        )
    drawn: dict[tuple[str, str], int] = {}
    edges = []
    for index, (edge, place) in enumerate(zip(spec.edges, places, strict=True)):
        nth = drawn.setdefault((edge.source, edge.target), 0)
        drawn[edge.source, edge.target] += 1
        relation = graph.relation_types[edge.relation]
        meaning = {"relation": edge.relation, "semantics": relation.semantics, "role": relation.role}
        edges.append(
            {
                "index": index,
                "source": edge.source,
                "target": edge.target,
                **meaning,
                "strength": edge.strength,
                "tuned": edge.tuned,
                "place": place,
                "nth": nth,
            }
        )
    return {"name": graph.name, "title": spec.title, "nodes": nodes, "edges": edges}


def edge_lines(run: Run) -> list[str]:
    """`file:line` of each relation: in the researcher's own file where it still says what the run began with, else in the run's copy."""
    try:
        own = find_graph(run.config.graph)
        stated = {
            (e.source, e.target, e.relation): place
            for e, place in zip(load_graph(own).spec.edges, edge_places(own), strict=True)
        }
        return [stated[edge.source, edge.target, edge.relation] for edge in run.stated_graph.spec.edges]
    except (GraphFileError, KeyError, OSError):
        return edge_places(run.path / "graph.yaml")


def _about(spec: Task | Criterion | Context | None) -> str:
    """A line on what a node is scored by, or holds."""
    if isinstance(spec, Task):
        return ", ".join(f"{metric} {share:g}" for metric, share in spec.metrics.items()) or "external"
    if isinstance(spec, Criterion):
        return str(spec.metric) if spec.items is None else f"the items in column '{spec.items}'"
    return str(spec.text or spec.kind) if spec else ""

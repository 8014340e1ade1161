"""What in a graph can have no effect: a graph without rules, and facts and rules that nothing paid depends on.

The formulas of the rules (`rag_graph.reward.formulas`) say what each relation can reach in episodes of a task that pays:

| relation | has an effect if its target is |
|---|---|
| credit | the goal task, or a node that leads to it by credits |
| penalty | the same |
| gate, aggregate | the goal task, what earns credit for it, or a gate of those, over any number of gates |
| a fact | a node whose score enters one of these, or that leads to one by facts |

The source must be scored in such an episode. A task is scored in its own episodes only, and earns there for the goal tasks that it supports.
A strength of 0 that the file freezes counts as removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from rag_graph.config import RewardConfig
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.placeholders import fill, placeholders
from rag_graph.graph.spec import Edge, Semantics
from rag_graph.yaml_document import Location

BY_RULES = ("expected_goal", "prior_gnn")
"""The readouts that pay the goal, the rules, and eta."""
NO_RULE = "no rule: where every goal is observed, this graph changes nothing."


def has_rules(graph: AuxiliaryGraph) -> bool:
    """True if a rule of the graph can change what an answer is worth."""
    return _Reach(graph).has_rules()


def goal_share(graph: AuxiliaryGraph, reward: RewardConfig, task: str) -> float:
    """Share of the answers to a task whose score is asked for: its `observe`; else of a goal `reward.goal_observed`, of others all."""
    one = graph.spec.tasks[task]
    if one.observe is not None:
        return one.observe
    return reward.goal_observed if one.goal > 0 else 1.0


def hides_goals(graph: AuxiliaryGraph, reward: RewardConfig) -> bool:
    """Whether some goals are hidden from the reward, beside those that are reserved: by their share, or because a limit buys not all."""
    goals = [name for name, task in graph.spec.tasks.items() if task.goal > 0]
    return reward.budget.per_update is not None or any(goal_share(graph, reward, name) < 1 for name in goals)


def warning_of_run(graph: AuxiliaryGraph, reward: RewardConfig) -> str:
    """A sentence where a graph cannot change what a run pays, or only until its shaping has faded to 0; else an empty string.

    Args:
        reward: which goals are observed, what shaping there is (eta: `auxiliary`, `auxiliary_end`), and the readout. Readouts that follow no
            rules are never warned of.
    """
    if reward.readout not in BY_RULES or hides_goals(graph, reward) or has_rules(graph) or reward.auxiliary_end > 0:
        return ""
    but = f", except on the {100 * reward.reserved:.3g}% of the examples that are reserved" if reward.reserved else ""
    how = "`observe`" if reward.goal_observed < 1 else "reward.goal_observed"
    why = f"every goal is observed ({how}: 1), and '{graph.name}' has no rule."
    if reward.auxiliary == 0 or not _has_others(graph):
        return f"this graph can have no effect{but}: {why}"
    return (
        f"reward.auxiliary falls from {reward.auxiliary:.3g} to 0, and nothing else of this graph is paid{but}: {why} At the end of the training the "
        "goal alone is paid. State rules (such as supports), or set reward.auxiliary_end above 0 to keep paying the other nodes."
    )


def warnings_of_room(graph: AuxiliaryGraph, token_budget: int, max_prompt_tokens: int) -> list[str]:
    """Sentences on guidelines and templates that leave no room for evidence, whatever the tokenizer: a word is a token at least. A run looks at its passages
    and prompts as well (`rag_graph.rag.room`)."""
    found = []
    for name, task in graph.spec.tasks.items():
        grounds = [graph.spec.contexts[context] for context in graph.grounding(name)]
        words = sum(len((context.text or "").split()) for context in grounds if context.kind == "guideline")
        prompt = task.prompt or ""
        filled = placeholders(prompt, ("context", "labels", *task.fields))
        template = len(fill(prompt, dict.fromkeys(filled, " ")).split())
        if words >= token_budget and any(context.kind != "guideline" for context in grounds):
            found.append(
                f"task '{name}': its guidelines have {words} words, and retrieval.token_budget is {token_budget} tokens: no passage can be shown. Raise it, "
                "or shorten the guidelines."
            )
        if template + words >= max_prompt_tokens:
            found.append(
                f"task '{name}': its template and guidelines have {template + words} words, and model.max_prompt_tokens is {max_prompt_tokens}: every prompt "
                "is cut. Raise it, or shorten them."
            )
    return found


def _has_others(graph: AuxiliaryGraph) -> bool:
    """True if in the episodes of some goal task another node is scored, which eta pays."""
    goals = [name for name, task in graph.spec.tasks.items() if task.goal > 0]
    return any(graph.applies(node, task) for task in goals for node in graph.spec.criteria)


def without_effect(graph: AuxiliaryGraph) -> list[tuple[Location, str]]:
    """(location in the file, sentence) of each warning: the graph as a whole first, then its facts and rules in file order.

    Nothing here is an error. A file of facts alone is a good file: with it, the reward is the expected goal.
    """
    found = _Reach(graph)
    warnings: list[tuple[Location, str]] = []
    if not found.has_rules():
        warnings.append((("edges",), NO_RULE))
    for index, edge in enumerate(graph.spec.edges):
        if graph.role(edge) != "neither" and not found.matters(edge):
            warnings.append((("edges", index), f"this {graph.role(edge)} has no effect: {found.reason(edge)}"))
    return warnings


class _Reach:
    """Of each task that pays in its own episodes, the nodes on which its pay depends.

    earning: what is paid for itself, by task. worth: what is paid or gates what is paid. seen: whose scores matter, measured or predicted.
    crediting: what is scored, or is credited by something that is: credit also flows through a criterion that is not scored here.
    """

    def __init__(self, graph: AuxiliaryGraph) -> None:
        self.graph = graph
        tasks = graph.spec.tasks
        self.live = {_key(edge) for edge in graph.spec.edges if edge.strength > 0 or edge.tuned}
        goals = {name for name, task in tasks.items() if task.goal > 0}
        self.supporting = self._leading(goals, "credit")
        charged_tasks = self._sources(goals, "penalty")
        paying = [name for name in tasks if name in self.supporting | charged_tasks]
        self.scored = {name: {node for node in graph.nodes if graph.applies(node, name)} for name in paying}
        self.earning, self.worth, self.seen, self.crediting = {}, {}, {}, {}
        for name, scored in self.scored.items():
            self.crediting[name] = _reached(scored, self._forwards("credit"))
            self.earning[name] = self._leading({name} & goals, "credit")
            self.worth[name] = self._leading({name} & self.supporting | self.earning[name] & scored, "gate")
            charged = self._sources(self.earning[name], "penalty") | {name} & charged_tasks
            parts = self._sources(self.worth[name], "aggregate")
            self.seen[name] = self._leading(
                (self.worth[name] | charged | parts) & scored, "bound", "indication", "counterindication"
            )

    def has_rules(self) -> bool:
        return any(self.graph.role(edge) == "rule" and self.matters(edge) for edge in self.graph.spec.edges)

    def _edges(self, *meanings: Semantics) -> list[Edge]:
        types = self.graph.relation_types
        stated = self.graph.spec.edges
        return [edge for edge in stated if _key(edge) in self.live and types[edge.relation].semantics in meanings]

    def _sources(self, targets: Iterable[str], meaning: Semantics) -> set[str]:
        return {source for target in targets for source in self._backwards(meaning).get(target, ())}

    def _leading(self, ends: set[str], *meanings: Semantics) -> set[str]:
        """The ends, and the nodes that lead to one of them along live edges of these meanings."""
        return _reached(ends, self._backwards(*meanings))

    @cache  # noqa: B019 (lives as long as the warnings are made)
    def _backwards(self, *meanings: Semantics) -> dict[str, set[str]]:
        return _neighbours((edge.target, edge.source) for edge in self._edges(*meanings))

    @cache  # noqa: B019
    def _forwards(self, *meanings: Semantics) -> dict[str, set[str]]:
        return _neighbours((edge.source, edge.target) for edge in self._edges(*meanings))

    def matters(self, edge: Edge) -> bool:
        """True if a fact or a rule can change what some answer is paid, or what is predicted of it."""
        if _key(edge) not in self.live:
            return False
        meaning = self.graph.relation_types[edge.relation].semantics
        if meaning == "credit" and edge.source in self.graph.spec.tasks:
            return edge.target in self.supporting
        if meaning == "penalty" and edge.source in self.graph.spec.tasks:
            return edge.target in self.graph.spec.tasks and self.graph.spec.tasks[edge.target].goal > 0
        if meaning in ("credit", "penalty"):
            reached = self.earning
        else:
            reached = self.worth if self.graph.role(edge) == "rule" else self.seen
        begin = self.crediting if meaning == "credit" else self.scored
        return any(edge.source in begin[name] and edge.target in reached[name] for name in self.scored)

    def reason(self, edge: Edge) -> str:
        """Why it does not."""
        target = self.graph.spec.tasks.get(edge.target)
        meaning = self.graph.relation_types[edge.relation].semantics
        if _key(edge) not in self.live:
            return "its strength is 0, and 'tuned: false' keeps it there."
        if target is not None and target.goal == 0:
            return f"'{edge.target}' is no goal task. Give it 'goal:' above 0, or remove the relation."
        if not any({edge.source, edge.target} <= scored for scored in self.scored.values()):
            return f"'{edge.source}' and '{edge.target}' are never scored in the same episode of a goal task."
        if meaning in ("credit", "penalty"):
            return f"'{edge.target}' is paid nothing by itself. It is no goal task, and supports none."
        if self.graph.role(edge) == "rule" and any(edge.target in seen for seen in self.seen.values()):
            return f"no rule pays '{edge.target}' behind it; facts, parts and charges use its score as it is."
        return f"no goal task depends on '{edge.target}'{' by rules' if self.graph.role(edge) == 'rule' else ''}."


def _neighbours(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one, other in pairs:
        found.setdefault(one, set()).add(other)
    return found


def _reached(starts: Iterable[str], neighbours: Mapping[str, set[str]]) -> set[str]:
    """The starts, and all that can be reached from them."""
    found, waiting = set(starts), list(starts)
    while waiting:
        new = neighbours.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _key(edge: Edge) -> tuple[str, str, str]:
    return edge.source, edge.target, edge.relation

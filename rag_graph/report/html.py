"""A run as one HTML file: graph, curves, episodes, alarms, proposals, settings. It needs no network and opens from disk.

Everything a run wrote is text: the template escapes it, and the script puts data into the page as text only. Works for a run that is
still going or that crashed: what is not there yet is said.
"""

from __future__ import annotations

import json
import platform
import shlex
import time
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from rag_graph.errors import GraphFileError
from rag_graph.graph.proposal import Proposal
from rag_graph.graph.reader import find_graph, is_text
from rag_graph.report.episode_pack import pack_episodes
from rag_graph.report.page_data import page_data
from rag_graph.report.summary import JUDGE_COLUMNS, LEFT_OUT, judge_failures, judge_rows
from rag_graph.reward.alarms import ADVICE
from rag_graph.runs.run import Run
from rag_graph.runtime import to_json, write_atomically
from rag_graph.version import __version__

SECTIONS = (("results", "Results"), ("graph", "Graph"), ("curves", "Curves"), ("episodes", "Episodes"), ("alarms", "Alarms"), ("proposals", "Proposals"), ("settings", "Settings"))  # fmt: skip


def write_report(run: Run, out: str | Path | None = None) -> Path:
    """Write a run as one HTML file that needs nothing else; returns its path. What is damaged is left out, and the page says so.

    Args:
        run: finished, still going, or stopped.
        out: default `report.html` in the run's folder.

    Raises:
        DataError: no run folder.
        TrainingError: `out` cannot be written.
    """
    run = Run(run.path, skip_damaged=True)
    target = Path(out) if out is not None else run.path / "report.html"
    assets = resources.files("rag_graph.report") / "assets"

    def asset(name: str) -> str:
        return (assets / name).read_text(encoding="utf-8")

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    pack, data = pack_episodes(run), page_data(run)
    page = environment.from_string(asset("report.html.j2")).render(
        css=asset("report.css"),
        uplot_css=asset("uPlot.min.css"),
        uplot=asset("uPlot.iife.min.js"),
        script=asset("report.js"),
        data=_for_script(data),
        episodes=pack.packed,
        sampling=pack.said,
        sections=SECTIONS,
        version=__version__,
        written=time.strftime("%Y-%m-%d %H:%M:%S"),
        path=str(run.path),
        **_texts(run, data),
        damage=run.damage,
    )
    write_atomically(target, page)
    return target


def _for_script(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = to_json(content)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _texts(run: Run, data: dict[str, Any]) -> dict[str, Any]:
    """What the template says; `data` is what the script draws."""
    graph, config, results, report = run.stated_graph, run.config, run.results, run.graph_report
    records, places = run.records(), [edge["place"] for edge in data["graph"]["edges"]]
    ended = (run.path / "graph_report.json").is_file()
    learned = run.graph()
    changes = [
        {"place": place, "relation": f"{was.source} → {was.target} {was.relation} ({graph.role(was)})", "was": f"{was.strength:.2f}", "now": f"{now.strength:.2f}", "change": f"{now.strength - was.strength:+.2f}"}
        for was, now, place in zip(graph.spec.edges, learned.spec.edges, places, strict=True)
        if abs(now.strength - was.strength) >= 0.01
    ]  # fmt: skip
    lines = {(e.source, e.target, e.relation): place for e, place in zip(graph.spec.edges, places, strict=True)}
    below = f"add below {places[-1]}" if places else "add under edges:"
    proposals = [
        {"place": lines.get((p["source"], p["target"], p["stated"]), below), "text": str(Proposal(**p))}
        for p in report["proposals"]
    ]
    alarms = report["alarms"] if ended else _alarms_on(records)
    later = "" if ended else " so far; they are written when training ends"
    return {
        "title": f"{config.name}, seed {config.seed}",
        "lead": _lead(run, records),
        "thinned": _thinned(len(data["updates"]), len(records)),
        "state": _state(run, records),
        "results": _results(results) if results else None,
        "alarms": alarms,
        "no_alarms": f"No alarm went on in {len(records)} updates." if records else "No update has been made yet.",
        "changes": changes,
        "proposals": proposals,
        "no_proposals": f"None{later}.",
        "apply": shlex.join(["rag-graph", "graph", "apply", str(run.path), _graph_file(config.graph)]),
        "cost": _cost(run, records),
        "judge_columns": JUDGE_COLUMNS,
        "judged": judge_rows(run),
        "judge_failures": judge_failures(run),
        "environment": _environment(run),
        "config": config.to_yaml(),
        "graph_file": run.graph_text,
    }


def _thinned(shown: int, made: int) -> str:
    """What the page says where it does not draw every update."""
    if shown == made:
        return ""
    return f"{shown:,} of {made:,} updates are drawn, here and in the curves; all of them are in metrics.jsonl."


def _graph_file(name: str) -> str:
    """The file to name in a command; the name itself where there is none any more, FILE for a graph that was given as text."""
    if is_text(name):
        return "FILE"
    try:
        return str(find_graph(name))
    except GraphFileError:
        return name


def _alarms_on(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alarms of a run that has not ended, as far as its metrics tell."""
    found: list[dict[str, Any]] = []
    before: dict[str, float] = {}
    for record in records:
        now = {key: value for key, value in record.items() if key.startswith("alarms/")}
        new = [key for key, value in now.items() if value and not before.get(key)]
        for name in (key.removeprefix("alarms/") for key in new):
            entry = {"update": record["update"], "alarm": name, "seen": "went on", "advice": ADVICE.get(name, "")}
            found.append({**entry, "part": "train", "episodes": [], "examples": []})
        before = now
    return found


def _lead(run: Run, records: list[dict[str, Any]]) -> str:
    if run.results:
        before, after = (_interval(**run.results[part]["mean_task_score"]) for part in ("before", "after"))
        return f"Mean task score {before} before PPO, {after} after: {_interval(**run.results['gain'], sign='+')} on the same held-out examples."
    return f"{len(records)} of {run.config.ppo.updates} updates of PPO with readout {run.config.reward.readout}."


def _state(run: Run, records: list[dict[str, Any]]) -> dict[str, str]:
    kind, status = run.state, run.status
    if kind == "finished":
        return {"kind": "finished", "label": "finished", "detail": ""}
    at = f"at update {records[-1]['update']}" if records else "before the first update"
    if kind == "running":
        where = "" if status.get("host") == platform.node() else f" on {status.get('host')}, or was when it last wrote"
        detail = f"This run is still going{where}: the report stands {at}. Write it again for more."
        return {"kind": "running", "label": "still going", "detail": detail}
    if kind == "waiting":
        return {"kind": "stopped", "label": "not begun", "detail": "This run was stopped before it began."}
    what = {
        "stopped": f"stopped without a word {at}: its process is gone (killed, or the machine went down).",
        "interrupted": f"was interrupted {at}.",
    }.get(kind, f"failed {at}: {status.get('error', '')}")
    if kind in ("damaged", "unknown"):
        return {"kind": "failed", "label": "damaged", "detail": "Whether this run has finished is not known."}
    again = f"Go on with: rag-graph train --resume {shlex.quote(str(run.path))}"
    return {"kind": "failed", "label": kind, "detail": f"This run {what}\n{again}"}


def _results(results: dict[str, Any]) -> dict[str, Any]:
    without = results["without_retrieval"]
    parts = [results["before"], results["after"], *([without] if without else [])]
    tables = [{(r["task"], r["metric"]): r for r in part["results"]} for part in parts]
    rows = [
        {"task": task, "metric": metric, "n": max(t[task, metric]["n"] for t in tables if (task, metric) in t), "cells": [_cell(t.get((task, metric))) for t in tables]}
        for task, metric in dict.fromkeys(key for table in tables for key in table)
    ]  # fmt: skip
    for task in dict.fromkeys(task for part in parts for task in part.get("missing", {})):
        counts = [part.get("missing", {}).get(task, 0) for part in parts]
        rows.append(
            {"task": task, "metric": "without a score", "n": "", "cells": [str(n) if n else "" for n in counts]}
        )
    changes = [
        "",
        _interval(**results["gain"], sign="+"),
        *([_interval(**without["loss"], sign="+")] if without else []),
    ]
    return {
        "columns": ["before PPO", "after PPO", *(["after, without retrieval"] if without else [])],
        "rows": rows,
        "means": [_interval(**part["mean_task_score"]) for part in parts],
        "changes": changes,
        "left_out": _left_out(parts),
    }


def _left_out(parts: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Of each evaluation the share of episodes whose prompt did not show all; nothing of runs that did not count it."""
    shown = [part.get("shown") or {} for part in parts]
    return [
        (title, [f"{share[name]:.1%}" if name in share else "–" for share in shown])
        for name, title in LEFT_OUT.items()
        if any(name in share for share in shown)
    ]


def _cell(record: dict[str, Any] | None) -> str:
    return "–" if record is None else _interval(record["value"], record["low"], record["high"])


def _interval(mean: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if mean is None or low is None or high is None:  # not a number, written as null
        return "–"
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _cost(run: Run, records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    results = run.results or {}
    rows = [
        (f"{stage.replace('_', ' ')}, s", f"{seconds:,.1f}") for stage, seconds in results.get("seconds", {}).items()
    ]
    spent = sum(record.get("seconds/update") or 0 for record in records)
    tokens = sum((r.get("tokens_per_second") or 0) * (r.get("seconds/update") or 0) for r in records)
    rows += [
        ("updates", f"{len(records):,} of {run.config.ppo.updates:,}"),
        ("episodes", f"{len(records) * run.config.ppo.batch_size:,}"),
    ]
    rows += [("seconds in updates", f"{spent:,.1f}"), *_shares(records, spent), ("response tokens", f"{tokens:,.0f}")]
    if results.get("peak_memory_bytes"):
        rows.append(("peak memory, GB", f"{results['peak_memory_bytes'] / 1e9:.2f}"))
    return rows


def _shares(records: list[dict[str, Any]], spent: float) -> list[tuple[str, str]]:
    """What the updates of a run spent on each of their stages, the largest first."""
    if not spent:
        return []
    stages: dict[str, float] = {}
    for record in records:
        for name, seconds in record.items():
            if name.startswith("seconds/") and name != "seconds/update":
                stage = name.removeprefix("seconds/").replace("_", " ")
                stages[stage] = stages.get(stage, 0.0) + (seconds or 0)
    stages["the rest"] = max(0.0, spent - sum(stages.values()))
    ordered = sorted(stages.items(), key=lambda item: -item[1])
    return [(f"of these: {stage}", f"{seconds:,.1f} ({seconds / spent:.0%})") for stage, seconds in ordered]


def _environment(run: Run) -> list[tuple[str, str]]:
    about = run.manifest
    git = about.get("git")
    rows: list[tuple[str, str]] = [(name, str(about[name])) for name in ("started", "rag_graph", "python", "platform", "processors", "config_hash", "graph_hash") if name in about]  # fmt: skip
    rows += [("git", f"{git['commit'][:12]}{' with changes' if git['dirty'] else ''}")] if git else []
    rows += [("command", " ".join(about.get("command", [])))] if about else []
    rows += [("own parts", json.dumps(about["own_parts"]))] if about.get("own_parts") else []
    rows += [(name, str(version)) for name, version in about.get("versions", {}).items() if version]
    return rows + [(f"data {name}", str(value)) for name, value in about.get("data", {}).items()]

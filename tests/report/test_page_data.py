"""What the script of a report draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_graph import Run, write_report
from rag_graph.report.page_data import edge_lines, page_data
from rag_graph.runtime import to_json


def test_proposals_name_the_line_of_the_researchers_file(
    folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run(folder)
    stated = (root / "graphs/parcels.yaml").read_text().splitlines()
    for edge, place in zip(run.stated_graph.spec.edges, edge_lines(run), strict=True):
        file, line = place.rsplit(":", 1)
        assert Path(file).name == "parcels.yaml"
        assert f"from: {edge.source}," in stated[int(line) - 1]
        assert f"to: {edge.target}," in stated[int(line) - 1]
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("graph: parcels", f"graph: {tmp_path}/gone.yaml"))
    assert all("run/graph.yaml:" in place for place in edge_lines(Run(folder))), (
        "the run's own copy where the file is gone"
    )
    text = run.config.model_copy(update={"graph": run.stated_graph.to_yaml()})
    (folder / "config.yaml").write_text(text.to_yaml())
    assert all("run/graph.yaml:" in place for place in edge_lines(Run(folder))), "the graph was given as text"
    (folder / "config.yaml").write_text(config)


def test_what_the_script_draws(folder: Path) -> None:
    run = Run(folder)
    data = page_data(run)
    assert data["updates"] == [1, 2, 3, 4, 5, 6]
    nodes = {node["name"]: node for node in data["graph"]["nodes"]}
    assert set(nodes) == set(run.stated_graph.nodes)
    between = {edge["relation"]: edge["role"] for edge in data["graph"]["edges"] if edge["target"] == "question"}
    assert between == {"bounds": "fact", "prerequisite": "rule", "grounds": "neither"}
    assert nodes["archive"]["x"] > nodes["topic"]["x"] > nodes["well_formed"]["x"]
    metrics = run.metrics()
    assert [float("nan") if v is None else v for v in data["nodes"]["topic"]["reward"]] == pytest.approx(
        metrics["nodes/topic/reward"].tolist(), rel=1e-3, nan_ok=True
    )
    goal = next(chart for chart in data["charts"] if chart["title"].startswith("Goal"))
    assert len(goal["series"][0]["values"]) == 6


@pytest.mark.slow
def test_many_updates_are_thinned_and_it_says_so(folder: Path) -> None:
    records = Run(folder).records()
    with (folder / "metrics.jsonl").open("w") as handle:
        handle.writelines(to_json({**records[i % 6], "update": i + 1}) + "\n" for i in range(9000))
    run = Run(folder)
    data = page_data(run)
    assert len(data["updates"]) < 3500
    assert data["updates"][-1] == 9000
    assert f"{len(data['updates']):,} of 9,000 updates are drawn" in write_report(run).read_text()

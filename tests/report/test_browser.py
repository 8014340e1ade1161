"""The report in a real browser, opened from disk: no error on the console, every part works with the keyboard, text stays text."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rag_graph import Run, write_report
from rag_graph.runtime import to_json

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
PATIENCE = 300_000
"""Milliseconds: the machine may be busy."""
EVIL = "<script>window.broken = true</script>"

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS, timeout=PATIENCE)
        yield opened
        opened.close()


class Opened:
    """A page with all that its console said."""

    def __init__(self, browser: Any, report: Path) -> None:
        self.said: list[str] = []
        self.page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else self.said.append(request.url),
        )
        self.page.goto(f"file://{report}")
        self.page.wait_for_selector("body[data-ready=yes]")

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).first.inner_text())


@pytest.fixture(scope="module")
def report(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with a node, a title and texts that look like markup."""
    folder = tmp_path_factory.mktemp("evil") / "run"
    shutil.copytree(finished_run, folder)
    graph = (folder / "graph.yaml").read_text()
    (folder / "graph.yaml").write_text(graph.replace("Text classification", f'"{EVIL}"'))
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    rows[-1] |= {"prompt": f"{EVIL} zebra", "response": EVIL, "update": 99}
    (folder / "episodes.jsonl").write_text("".join(to_json(row) + "\n" for row in rows))
    return write_report(Run(folder))


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    shown = Opened(browser, report)
    yield shown
    assert shown.said == [], "an error on the console, or a request"
    shown.page.close()


def test_text_stays_text(opened: Opened) -> None:
    page = opened.page
    page.locator(".node[aria-label*='task topic']").focus()
    assert EVIL in opened.text("#graph-detail"), "a node titled <script> shows as text"
    page.locator("#episode-table tbody tr").first.click()
    assert EVIL in opened.text("#episode")
    assert page.evaluate("window.broken") is None


def test_the_slider_goes_from_the_file_to_the_end(opened: Opened, finished_run: Path) -> None:
    page = opened.page
    edge = page.locator(".edge[aria-label^='well_formed bounds topic, fact']")
    end, start = Run(finished_run).graph(6), Run(finished_run).graph(0)

    def width() -> float:
        return float(edge.locator(".wire").get_attribute("stroke-width"))

    assert width() == pytest.approx(0.7 + 5 * end.spec.edges[0].strength, abs=0.01)
    slider = page.locator("#update")
    slider.focus()
    page.keyboard.press("Home")
    assert opened.text("#update-shown") == "0"
    assert width() == pytest.approx(0.7 + 5 * start.spec.edges[0].strength, abs=0.01)
    assert "nothing was paid yet" in opened.text("#graph-note")
    page.keyboard.press("ArrowRight")
    assert opened.text("#update-shown") == "1"
    page.locator("#to-end").press("Enter")
    assert opened.text("#update-shown") == "6"


def test_rules_are_solid_facts_dashed_and_the_legend_says_so(opened: Opened) -> None:
    page = opened.page

    def dash(edge: str) -> str | None:
        return page.locator(f".edge[aria-label^='{edge}']").locator(".wire").get_attribute("stroke-dasharray")

    found = [
        dash(edge)
        for edge in (
            "grounded prerequisite question, rule",
            "grounded bounds question, fact",
            "archive grounds question, neither",
        )
    ]
    assert found == [None, "9 5", "1 4"]
    legend = opened.text("#graph-legend")
    assert all(
        f"{name} ({role})" in legend
        for name, role in (("bounds", "fact"), ("prerequisite", "rule"), ("grounds", "neither"))
    )


def test_nodes_say_colour_and_size_in_words(opened: Opened, finished_run: Path) -> None:
    record = Run(finished_run).records()[-1]
    label = opened.page.locator(".node[aria-label^='task summary']").get_attribute("aria-label")
    paid = record["nodes/summary/reward"]
    shown = float(label.split("paid ")[1].split(",")[0].replace("−", "-"))
    assert shown == pytest.approx(paid, abs=1.1e-3)
    fill = opened.page.locator(".node[aria-label^='task summary'] .shape").get_attribute("fill")
    red, _, blue = (int(part) for part in fill.removeprefix("rgb(").removesuffix(")").split(","))
    assert (blue > red) == (paid > 0), "blue paid, orange charged"


def test_curves_are_drawn_and_nodes_can_be_put_away(opened: Opened) -> None:
    page = opened.page
    assert page.locator("#charts canvas").count() >= 10
    ink = "(c) => new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer).some((x) => x !== 0)"
    assert all(
        page.locator("#charts canvas").nth(i).evaluate(ink) for i in range(page.locator("#charts canvas").count())
    )
    button = page.locator("#node-toggles").get_by_role("button", name="topic", exact=True)
    series = page.locator(".chart:has-text('Score of each node, as observed') details tr")
    before = series.count()
    button.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    assert series.count() == before - 1


def test_episodes_are_searched_sorted_and_read_by_keyboard(opened: Opened) -> None:
    page = opened.page
    page.locator("#search").fill("zebra")
    page.get_by_text("1 found", exact=True).wait_for()
    page.locator("#search").fill("")
    page.get_by_text("48 found", exact=True).wait_for()
    page.get_by_role("button", name="reward").press("Enter")
    cells = page.locator("#episode-table tbody tr td:last-child").all_inner_texts()
    values = [float(cell.replace("−", "-")) for cell in cells if cell != "–"]
    assert values == sorted(values, reverse=True)
    page.get_by_role("button", name="reward").press("Enter")
    cells = page.locator("#episode-table tbody tr td:last-child").all_inner_texts()
    values = [float(cell.replace("−", "-")) for cell in cells if cell != "–"]
    assert values == sorted(values)
    page.locator("#task").select_option("question")
    first = page.locator("#episode-table tbody tr").first
    first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    shown = opened.text("#episode")
    for part in (
        "Prompt",
        "Evidence, and why it is here",
        "archive grounds question",
        "Answer",
        "Reference",
        "which node paid",
    ):
        assert part in shown
    page.locator("#part").select_option("after")
    assert "8 found" in opened.text("#found")


def test_everything_can_be_reached_by_tab(opened: Opened) -> None:
    page = opened.page
    seen = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.getAttribute('class') || document.activeElement.tagName"
            )
        )
    assert {"update", "node", "edge", "smoothing", "part", "search"} <= seen


def test_nodes_may_be_called_as_they_like(browser: Any, finished_run: Path, tmp_path: Path) -> None:
    """Names that every JavaScript object knows."""
    folder = tmp_path / "named"
    shutil.copytree(finished_run, folder)
    for path in (
        *folder.glob("*.json*"),
        folder / "graph.yaml",
        folder / "strengths.yaml",
        *folder.glob("evaluation/*"),
    ):
        text = path.read_text()
        path.write_text(re.sub(r"\bthree_words\b", "constructor", re.sub(r"\bsummary\b", "valueOf", text)))
    shown = Opened(browser, write_report(Run(folder)))
    shown.page.locator("#task").select_option("valueOf")
    shown.page.locator("#episode-table tbody tr").first.click()
    assert "constructor" in shown.text("#episode")
    assert shown.page.locator(".node[aria-label^='criterion constructor']").count() == 1
    assert shown.said == []


@pytest.mark.slow
def test_a_run_of_twenty_thousand_episodes(browser: Any, finished_run: Path, tmp_path: Path) -> None:
    """Made of real lines, longer prompts, 800 updates. Its time is measured by benchmarks/report.py."""
    folder = tmp_path / "large"
    shutil.copytree(finished_run, folder)
    rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    words = [f"word{i}" for i in range(4000)]
    with (folder / "episodes.jsonl").open("w") as handle:
        for i in range(20_000):
            text = " ".join(words[(i * 7 + j * 13) % 4000] for j in range(150))
            handle.write(to_json({**rows[i % 48], "id": f"e{i}", "update": 1 + i // 25, "prompt": text}) + "\n")
    metrics = Run(folder).records()
    (folder / "metrics.jsonl").write_text(
        "".join(to_json({**metrics[i % 6], "update": i + 1}) + "\n" for i in range(800))
    )
    report = write_report(Run(folder))
    assert report.stat().st_size < 15e6
    shown = Opened(browser, report)
    assert shown.said == []
    assert "20,0" in shown.text("#sampling"), "of how many is said"
    assert int(shown.text("#found").split()[0]) > 1000
    shown.page.close()

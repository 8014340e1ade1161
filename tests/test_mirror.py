"""The tests mirror the package: rag_graph/x/y.py has its tests in tests/x/test_y.py."""

from __future__ import annotations

from pathlib import Path

import pytest

WITHOUT = {
    "cli/starter/reward/score.py": "a script that `rag-graph init` writes; tests/cli/test_init.py runs it",
    "__main__.py": "calls the command line; tests/cli/test_app.py starts it",
    "runs/rag_ppo.py": "a trainer that needs a whole pipeline; tests/rag/test_retriever_learning.py trains with it",
    "version.py": "one constant",
}
"""Modules without a test file of their own, and why."""


def without_namesake(root: Path) -> list[str]:
    """Modules of the package that have no test file of their name."""
    package = root / "rag_graph"
    modules = (path.relative_to(package) for path in sorted(package.rglob("*.py")) if path.name != "__init__.py")
    return [str(path) for path in modules if not (root / "tests" / path.parent / f"test_{path.name}").is_file()]


def complaints(missing: list[str], reasons: dict[str, str]) -> list[str]:
    """What does not agree between the modules without a test file and the reasons that are kept."""
    unexplained = [
        f"rag_graph/{module} has no tests/{Path(module).parent / f'test_{Path(module).name}'}: write it, or give a reason here"
        for module in missing
        if not reasons.get(module)
    ]
    return unexplained + [
        f"{module} has a test file or is gone: take it off the list" for module in reasons if module not in missing
    ]


def test_every_module_has_its_test_file_or_a_reason(root: Path) -> None:
    found = complaints(without_namesake(root), WITHOUT)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("missing", "reasons", "message"),
    [
        (["a/b.py"], {}, "rag_graph/a/b.py has no tests/a/test_b.py"),
        (["a/b.py"], {"a/b.py": ""}, "rag_graph/a/b.py has no tests/a/test_b.py"),
        ([], {"a/b.py": "why"}, "a/b.py has a test file or is gone"),
        (["a/b.py"], {"a/b.py": "why"}, None),
    ],
)
def test_a_missing_file_and_a_stale_reason_are_told(
    missing: list[str], reasons: dict[str, str], message: str | None
) -> None:
    assert [line.partition(":")[0] for line in complaints(missing, reasons)] == ([] if message is None else [message])


def test_no_test_file_imports_another(root: Path) -> None:
    lines = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in sorted((root / "tests").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(("from ", "import ")) and ".test_" in line
    ]
    assert not lines, "\n".join(lines)

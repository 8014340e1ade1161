"""What docs/security.md promises, from outside: whole commands, and every file and line that they leave."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Cli

SECRETS = {
    "MILVUS_TOKEN": "user:milvus-s3cret", "HF_TOKEN": "hf_s3cretS3cret", "OPENAI_API_KEY": "sk-s3cret", "WANDB_API_KEY": "wandb-s3cret", "AWS_SECRET_ACCESS_KEY": "aws-s3cret",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_no_secret_reaches_a_file_or_a_terminal(
    tmp_path: Path, root: Path, small: tuple[str, ...], run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / "place"
    place.mkdir()
    for command in (["init", "-q"], ["remote", "add", "origin", "https://me:git-s3cret@host/x.git"]):
        subprocess.run(["git", *command], cwd=place, check=True)
    config = root / "experiments/quickstart/config.yaml"
    settings = [part for setting in small for part in ("--set", setting)]
    (place / "passages.jsonl").write_text(
        '{"id": "a", "title": "A", "text": "One."}\n{"id": "b", "title": "B", "text": "Two."}\n'
    )
    (place / "sweep.yaml").write_text(
        f"config: {config}\nset: {list(small)}\ngrid: {{reward.readout: [flat]}}\nseeds: [0]\n"
    )
    commands: list[list[str]] = [
        ["train", str(config), *settings, "--set", "output_dir=run"],
        ["report", "run"],
        ["compare", "run", "run"],
        ["ask", "run", "where is it?"],
        ["sweep", "sweep.yaml"],
        ["index", "a.idx", "--passages", "passages.jsonl", "--vectors", "http://user:url-s3cret@127.0.0.1:1"],
        ["train", str(config), "--set", "retrieval.vectors=http://user:url-s3cret@127.0.0.1:1"],
        ["train", str(config), "--set", "model.source=https://user:url-s3cret@host/model", "--dry-run"],
    ]
    said = [run_cli(*command, cwd=place) for command in commands]
    assert [one.returncode for one in said[:5]] == [0] * 5, [one.stderr for one in said[:5]]
    assert all(one.returncode for one in said[5:])
    shown = "\n".join(one.stdout + one.stderr for one in said)
    assert "s3cret" not in shown
    found = [
        path
        for path in place.rglob("*")
        if path.is_file() and ".git" not in path.parts and b"s3cret" in path.read_bytes()
    ]
    assert found == []
    assert len([path for path in place.rglob("*") if path.is_file()]) > 40, "this test looks at the wrong place"

"""Judges from settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_graph.config import JudgeConfig
from rag_graph.errors import ConfigError
from rag_graph.evaluation.judging import Question, Verdict
from rag_graph.judges import make_judges


class Own:
    name = "own"

    def judge(self, questions: list[Question]) -> list[Verdict]:
        return []

    def show(self, question: Question) -> str:
        return ""


def test_settings_a_dict_or_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("{answer} {question} {scale}", encoding="utf-8")
    own = Own()
    found = make_judges(
        {
            "a": JudgeConfig(model="m", base_url="http://127.0.0.1:9/v1"),
            "b": {"model": "n", "base_url": "http://127.0.0.1:9/v1", "template": "mine.txt"},
            "c": own,
        }
    )
    assert [found[name].name for name in "ab"] == ["a", "b"]
    assert repr(found["b"]) == "OpenAIJudge('b', model 'n', http://127.0.0.1:9/v1)"
    assert found["b"].template == "{answer} {question} {scale}"  # type: ignore[attr-defined]
    assert found["c"] is own


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "m", "base_url": "http://127.0.0.1:9/v1", "templat": "x"}, "judges.a: templat: Extra inputs"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "judges.a: model: Field required"),
        ({"model": "m", "together": True, "rank": True}, "Set one of them to false"),
        ({"model": "m", "api_key_env": "NO_SUCH_KEY"}, "the environment variable NO_SUCH_KEY holds no key"),
        ({"model": "m", "base_url": "127.0.0.1:9"}, "judges.a.base_url: '127.0.0.1:9' is no address"),
        ({"model": "m", "base_url": "http://me:hunter2@h/v1"}, "a password or a token in an address"),
        (
            {"model": "m", "base_url": "http://h/v1", "template": "none.txt"},
            "judges.a.template: 'none.txt' cannot be read",
        ),
        ({"model": "m", "base_url": "http://h/v1", "template": "{answer}"}, "judges.a.template: it lacks {question}"),
        (3, "judges.a: int is no judge"),
    ],
)
def test_what_is_wrong_says_what_to_write(settings: object, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_judges({"a": settings})  # type: ignore[dict-item]
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)

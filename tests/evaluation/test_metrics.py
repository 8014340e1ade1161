"""Scorers against their reference packages, and the cases where nothing can be observed."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import accuracy_score, f1_score

from rag_graph.evaluation.metrics import METRICS, Judged, bleu_tokenizer, macro_f1, macro_f1_without
from rag_graph.records import METRIC_NAMES
from rag_graph.words import normalise

text = st.lists(
    st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "red", "dog", ".", "Cat"]), min_size=0, max_size=12
).map(" ".join)


def score(metric: str, response: str, *references: str, **judged: object) -> float | None:
    return METRICS[metric](Judged(response, references, **judged))  # type: ignore[arg-type]


def test_the_names_that_graph_files_may_use_are_the_metrics_there_are() -> None:
    assert tuple(sorted(METRICS)) == METRIC_NAMES


@given(text, text)
def test_rouge_equals_the_reference_package(response: str, reference: str) -> None:
    expected = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(reference, response)
    for ours, theirs in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        has_words = any(c.isalnum() for c in reference)
        assert score(ours, response, reference) == (pytest.approx(expected[theirs].fmeasure) if has_words else None)


def longest_common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(text, text)
def test_rouge_l_equals_its_definition(response: str, reference: str) -> None:
    left, right = ([w.lower() for w in t.split() if w != "."] for t in (response, reference))
    expected = 2 * longest_common_subsequence(left, right) / (len(left) + len(right)) if left and right else 0.0
    assert score("rouge_l", response, reference) == (pytest.approx(expected) if right else None)


@given(text, text, text)
def test_bleu_equals_sacrebleu_on_several_references(response: str, first: str, second: str) -> None:
    written = [reference for reference in (first, second) if reference]
    expected = min(1.0, sacrebleu.sentence_bleu(response, written).score / 100) if written else None
    assert score("bleu", response, first, second) == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcx")), min_size=1, max_size=40))
def test_macro_f1_and_accuracy_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    references, responses = zip(*pairs, strict=True)
    occurring = [label for label in "abc" if label in references + responses]
    expected = f1_score(references, responses, labels=occurring, average="macro", zero_division=0)
    alone = [(label,) for label in references]
    assert macro_f1(responses, alone, ["a", "b", "c"]) == pytest.approx(expected)
    if "x" not in responses:
        assert macro_f1(responses, alone, ["a", "b", "c"]) == pytest.approx(
            f1_score(references, responses, average="macro", zero_division=0)
        )
    mean = sum(score("accuracy", response, reference) or 0 for reference, response in pairs) / len(pairs)
    assert mean == pytest.approx(accuracy_score(references, responses))


def test_macro_f1_of_labels_that_occur_by_hand() -> None:
    labels = ("a", "b", "c", "d")
    assert macro_f1(["a", "b"], [("a",), ("b",)], labels) == 1.0, "c and d do not occur"
    assert macro_f1(["A.", "c"], [("a",), ("b", "c")], labels) == 1.0, "the second reference was answered"
    assert macro_f1(["a", "zzz"], [("a",), ("a",)], labels) == pytest.approx(2 / 3), (
        "no label: a miss, and no label more"
    )
    assert macro_f1(["a", "c"], [("a",), ("b",)], labels) == pytest.approx(1 / 3), "b and c occur, both with 0"


def test_macro_f1_without_each_unit_is_that_of_the_rest() -> None:
    responses, references = list("aabbcab"), [(label,) for label in "abbbcba"]
    units = ["p", "q", "p", "r", "s", "t", "q"]  # without s there is no c
    found = macro_f1_without(responses, references, "abc", units)
    for unit, value in zip(["p", "q", "r", "s", "t"], found, strict=True):
        rows = [row for row, other in enumerate(units) if other != unit]
        left = macro_f1([responses[row] for row in rows], [references[row] for row in rows], "abc")
        assert value == pytest.approx(left), unit


@given(text, text)
def test_token_f1_equals_the_squad_script(response: str, reference: str) -> None:
    """Recomputed as the SQuAD v1.1 evaluation script does: precision and recall of the bags."""
    from collections import Counter

    left, right = normalise(response).split(), normalise(reference).split()
    shared = sum((Counter(left) & Counter(right)).values())
    if not reference:
        assert score("token_f1", response, reference) is None
        return
    if shared == 0:
        expected = 0.0
    else:
        precision, recall = shared / len(left), shared / len(right)
        expected = 2 * precision * recall / (precision + recall)
    assert score("token_f1", response, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "response", "references", "expected"),
    [
        ("accuracy", " Sports.\n", ("sports",), 1.0),
        ("accuracy", "sports and more", ("sports",), 0.0),
        ("exact_match", "The Cat!", ("a cat", "dog"), 1.0),
        ("exact_match", "cat dog", ("cat",), 0.0),
        ("token_f1", "red cat", ("cat", "blue dog"), 2 / 3),
        ("bleu", "the cat sat on the mat", ("the cat sat on the mat",), 1.0),
    ],
)
def test_known_values(metric: str, response: str, references: tuple[str, ...], expected: float) -> None:
    assert score(metric, response, *references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("response", "reference", "source", "expected"),
    [
        ("Apple sues Samsung", "Apple sues Samsung", "", 1.0),
        ("a company sues", "Apple sues Samsung", "", 0.0),  # ROUGE-L pays .33 for it, and more for a longer sentence
        ("samsung is sued", "Apple sues Samsung", "", 0.5),
        (
            "police hold a man",
            "Police hold 3 men",
            "The police hold 3 men in Oslo.",
            0.0,
        ),  # "Police" is no name: the input has "police"
        ("3 men", "Police hold 3 men", "The police hold 3 men in Oslo.", 1.0),
        ("the iPhone", "An iPhone for 5", "", 1 / 3),  # "An" counts as a name where nothing shows otherwise
        ("sorry about the", "sorry about the invoice", "", 0.75),  # nothing is named: every word counts
        ("挪威", "奥斯陆是挪威的首都", "", 2 / 9),
        ("挪威 5", "挪威 7", "", 2 / 3),  # no capitals: the number alone would not say who
    ],
)
def test_entity_recall(response: str, reference: str, source: str, expected: float) -> None:
    assert score("entity_recall", response, reference, source=source) == pytest.approx(expected)


@pytest.mark.parametrize(
    "metric",
    [
        "accuracy",
        "exact_match",
        "token_f1",
        "rouge_1",
        "rouge_2",
        "rouge_l",
        "bleu",
        "entity_recall",
        "macro_f1",
        "faithfulness",
        "label_preserved",
    ],
)
def test_nothing_to_compare_with_is_none_and_not_zero(metric: str) -> None:
    assert score(metric, "some words") is None


SENTENCES = {
    "Chinese": ("奥斯陆是挪威的首都。", "巴黎在法國。"),
    "Japanese": ("オスロはノルウェーの首都です。", "パリにいます。"),
    "Thai": ("ออสโลเป็นเมืองหลวง", "ปารีส"),
    "Korean": ("오슬로는 노르웨이의 수도", "파리 프랑스"),
    "Arabic": ("أوسلو عاصمة النرويج", "باريس فرنسا"),
    "Hindi": ("ओस्लो नॉर्वे की राजधानी है।", "पेरिस फ़्रांस"),
    "Russian": ("Осло — столица Норвегии", "Париж, Франция"),
    "Turkish": ("İstanbul’un ılık kışı", "Ankara uzak"),
    "German": ("Die Straße führt nach Köln", "Paris liegt anderswo"),
    "emoji": ("👍🏽 🎉 🇳🇴 ✅", "😢 🙏"),
}


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize(
    "metric",
    sorted(set(METRIC_NAMES) - {"external", "format", "judge", "label_preserved", "length_band", "faithfulness"}),
)
def test_every_metric_serves_every_script(metric: str, language: str) -> None:
    right, wrong = SENTENCES[language]
    decomposed = unicodedata.normalize("NFD", right)
    assert score(metric, right, right) == pytest.approx(1)
    assert score(metric, decomposed, right) == pytest.approx(1), "a form of Unicode is no difference"
    assert score(metric, "", right) == 0, "silence is not paid"
    assert score(metric, wrong, right) == pytest.approx(
        0, abs=0.35 if metric in ("bleu", "entity_recall", "rouge_1", "rouge_l", "token_f1") else 1e-9
    )
    assert score(metric, "Oslo, the capital", right) == pytest.approx(0, abs=0.1), "another script is judged, and wrong"


@pytest.mark.parametrize("language", SENTENCES)
def test_faithfulness_in_every_script(language: str) -> None:
    right, wrong = SENTENCES[language]
    assert score("faithfulness", right, source=f"{wrong} {right}") == 1
    assert score("faithfulness", wrong, source=right) == 0
    assert score("faithfulness", right, source=" — ") is None, "a source without a word tells nothing"


@pytest.mark.parametrize(
    ("response", "reference", "expected"),
    [
        ("", "A", 0),
        ("the", "A", 0),
        ("A", "a", 1),
        ("", "+", 0),
        ("+", "+", 1),
        ("12", "1/2", 0),
        ("-5", "5", 0),
        (".5", "1/2", 1),
    ],
)
def test_short_answers_that_normalisation_would_empty_or_change(response: str, reference: str, expected: float) -> None:
    assert score("exact_match", response, reference) == expected
    assert score("token_f1", response, reference) == expected


def test_what_a_metric_cannot_compare_is_missing() -> None:
    for metric in ("accuracy", "exact_match", "token_f1", "rouge_1", "rouge_l", "bleu"):
        assert score(metric, "words", "", "  ") is None, metric
        assert score(metric, "words", "", "words") == pytest.approx(1), "another reference can be compared"
    assert score("rouge_1", "words", "+ —") is None, "a reference without a word"
    assert score("exact_match", "+ —", "+ —") == 1


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (["Oslo"], "13a"),
        (["Осло"], "13a"),
        (["奥斯陆"], "zh"),
        (["ออสโล"], "char"),
        (["오슬로"], "13a"),
        (["Oslo", "奥斯陆"], "zh"),
    ],
)
def test_bleu_uses_the_tokenizer_that_sacrebleu_has_for_the_script(references: list[str], expected: str) -> None:
    assert bleu_tokenizer(references) == expected
    assert bleu_tokenizer(["オスロは首都"]) in ("ja-mecab", "char")
    if expected != "13a":
        other = "奥斯陆是首都" if expected == "zh" else "ออสเมือง"
        stated = sacrebleu.sentence_bleu(other, references, tokenize=expected).score / 100
        assert score("bleu", other, *references) == pytest.approx(stated)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("", 0.0),
        ("one", 0.5),
        ("奥斯陆", 1.0),
        ("奥斯陆是。", 1.0),
        ("奥斯陆是首都", 0.5),
        ("one two", 1.0),
        ("a b c d", 1.0),
        ("a b c d e", 0.75),
        ("a " * 9, 0.0),
    ],
)
def test_length_band(response: str, expected: float) -> None:
    assert score("length_band", response, args={"least": 2, "most": 4}) == pytest.approx(expected)


def test_format() -> None:
    assert score("format", "Sports", labels=("sports", "world")) == 1.0
    assert score("format", "sport", labels=("sports", "world")) == 0.0
    assert score("format", "one line") == 1.0
    assert score("format", "") == 0.0
    assert score("format", "two\nlines") == 0.0
    assert score("format", "cut off", truncated=True) == 0.0
    assert score("format", "ab12", args={"pattern": r"[a-z]+\d+"}) == 1.0
    assert score("format", "ab12!", args={"pattern": r"[a-z]+\d+"}) == 0.0


def test_faithfulness_counts_words_of_input_and_evidence() -> None:
    assert score("faithfulness", "Red kettle, moon", source="the red kettle is great") == pytest.approx(2 / 3)
    assert score("faithfulness", "", source="the red kettle") == 0.0
    assert score("faithfulness", "Öl aus Köln", source="köln hat öl") == pytest.approx(2 / 3)


def test_label_preserved_is_the_classifiers_probability() -> None:
    from rag_graph.evaluation.scorer import FrozenClassifier
    from rag_graph.records import Example

    examples = [Example(str(i), "t", {"input": f"{w} words {i}"}, (w,)) for i, w in enumerate(["sports", "world"] * 20)]
    model = FrozenClassifier(examples)
    kept = score("label_preserved", "sports", source="about sports", classifier=model)
    lost = score("label_preserved", "world", source="about sports", classifier=model)
    assert kept == pytest.approx(model.probabilities("sports")[model.labels.index("sports")])
    assert kept is not None
    assert lost is not None
    assert kept > 0.8 > 0.2 > lost
    assert score("label_preserved", "", source="about sports", classifier=model) == 0.0


@given(text, text, text)
def test_every_metric_stays_in_the_unit_interval(response: str, reference: str, source: str) -> None:
    for name in METRIC_NAMES:
        value = score(name, response, reference, source=source, args={"most": 3} if name == "length_band" else {})
        assert value is None or 0 <= value <= 1
        json.dumps(value)


def test_a_pattern_that_takes_for_ever_gives_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_graph.evaluation.metrics.PATTERN_SECONDS", 0.05)
    slow = Judged("a" * 60 + "!", (), args={"pattern": "(a|aa)+(a|aa)+(a|aa)+(a|aa)+END"})
    with pytest.warns(RuntimeWarning, match="for more than 0.05 s; the score is missing there"):
        assert METRICS["format"](slow) is None

"""Stance data: the split of prompts, the label filter, what is dropped, and the prompt wordings."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polinb.data.loading import load_data
from polinb.data.pairs import SPLITS, Pair, StanceData, split_of
from polinb.data.prompts import answer_prompt, statement_prompt
from polinb.data.rows import TOPICS
from polinb.errors import DataError, ParameterError


def make(prompts: list[str], topic: str = "crime") -> StanceData:
    return StanceData("made", tuple(Pair(f"id-{p}", topic, p, f"left {p}", f"right {p}") for p in prompts))


prompt_lists = st.lists(st.text(alphabet="abcdefgh ", min_size=3), min_size=1, max_size=60).map(
    lambda prompts: sorted({" ".join(p.split()) for p in prompts} - {""}) or ["abc"]
)


def split_or_nothing(data: StanceData, split: str | None, limit: int | None = None) -> list[Pair]:
    try:
        return data.topic("crime", split, limit)
    except DataError:  # a split of a tiny set can be empty
        return []


@given(prompt_lists, prompt_lists, st.randoms(use_true_random=False), st.integers(1, 30))
def test_splits_part_the_prompts_whatever_else_the_data_hold(
    prompts: list[str], added: list[str], rng: random.Random, limit: int
) -> None:
    data, shuffled = make(prompts), make(rng.sample(prompts, len(prompts)))
    more = StanceData("more", data.pairs + make([f"x {p}" for p in added]).pairs)
    parts = {split: split_or_nothing(data, split) for split in SPLITS}
    assert sorted(pair.prompt for part in parts.values() for pair in part) == sorted(prompts)
    assert data.digest() == shuffled.digest() != more.digest()
    for split, part in parts.items():
        assert split_or_nothing(shuffled, split) == part, "in any order of the rows"
        assert split_or_nothing(data, split, limit) == part[:limit], "fewer are the beginning of more"
        assert [p for p in split_or_nothing(more, split) if not p.prompt.startswith("x ")] == part


def test_split_shares_are_those_asked_for() -> None:
    prompts = [f"question number {n}" for n in range(4000)]
    for split, share in zip(SPLITS, (0.5, 0.2, 0.3), strict=True):
        found = sum(split_of(p) == split for p in prompts) / len(prompts)
        assert abs(found - share) < 4 * (share * (1 - share) / len(prompts)) ** 0.5


def test_split_comes_from_the_normal_form_of_the_prompt() -> None:
    for n in range(50):
        assert split_of(f"Is  it\u00a0{n}? ") == split_of(f"is it {n}?")
    # Pinned by an independent computation, so that a release cannot silently move prompts between splits.
    for prompt in ("is it 1?", "is it 2?", "is it 3?", "is it 4?"):
        place = int(hashlib.sha256(prompt.encode()).hexdigest(), 16) / 16**64
        expected = SPLITS[(place >= 0.5) + (place >= 0.7)]
        assert split_of(prompt) == expected


def test_digest_changes_with_content_and_filter() -> None:
    data = make(["one", "two"])
    changed = StanceData("made", (*data.pairs[:1], Pair("id-two", "crime", "two", "other", "right two")))
    filtered = StanceData("made", data.pairs, label_filter="agree")
    renamed = StanceData("another name", data.pairs, {"origin": "elsewhere"})
    assert len({data.digest(), changed.digest(), filtered.digest()}) == 3
    assert renamed.digest() == data.digest()


def test_label_filter_works_side_by_side() -> None:
    pairs = tuple(
        Pair(f"{a}{b}", "race", f"prompt {a} {b}", "l", "r", left_agrees=a, right_agrees=b)
        for a in (True, False)
        for b in (True, False)
    )
    unfiltered, filtered = StanceData("d", pairs), StanceData("d", pairs, label_filter="agree")
    for leaning in (None, "left", "right", "both"):
        assert len(unfiltered.topic("race", leaning=leaning)) == 4
    assert len(filtered.topic("race")) == 4
    assert {pair.id for pair in filtered.topic("race", leaning="left")} == {"TrueTrue", "TrueFalse"}
    assert {pair.id for pair in filtered.topic("race", leaning="right")} == {"TrueTrue", "FalseTrue"}
    assert {pair.id for pair in filtered.topic("race", leaning="both")} == {"TrueTrue"}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"topic": "crime", "split": "test"}, "split"),
        ({"topic": "crime", "limit": 0}, "limit"),
        ({"topic": "crime", "leaning": "centre"}, "leaning"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, name: str) -> None:
    with pytest.raises(ParameterError, match=f"'{name}'"):
        make(["one", "two"]).topic(**arguments)


def test_nothing_left_is_an_error_that_names_the_topics_there_are() -> None:
    with pytest.raises(DataError, match=r"no prompts for topic 'race'.*topics with prompts: crime"):
        make(["one", "two"]).topic("race")


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_shared_and_repeated_prompts_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [
        {"topic": topic, "prompt": prompt, "left": f"left of {topic}", "right": "right"}
        for topic, prompt in [
            ("crime", "In two topics?"),
            ("race", "in  two TOPICS?"),
            ("crime", "Repeated?"),
            ("crime", "repeated?"),
            ("science", "Alone?"),
            ("race", "Alone as well?"),
        ]
    ]
    data = load_data(write(tmp_path / "set.jsonl", rows))
    assert [pair.prompt for pair in data.pairs] == ["Repeated?", "Alone?", "Alone as well?"]
    assert data.source["dropped"] == {
        "prompts_in_two_topics": 1,
        "rows_of_prompts_in_two_topics": 2,
        "repeated_prompts_in_a_topic": 1,
    }
    assert (data.source["rows"], data.source["kept"], data.topics) == (6, 3, ("crime", "race", "science"))
    assert str(tmp_path) not in json.dumps(data.source)  # provenance is printed in the book


def test_load_data_refuses_what_it_cannot_mean(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="label_filter"):
        load_data("bundled", label_filter="some")
    with pytest.raises(ParameterError, match="revision"):
        load_data("bundled", revision="0" * 40)
    with pytest.raises(DataError, match=r"expected bundled, preferences, ideoinst"):
        load_data("bundeld")
    with pytest.raises(DataError, match="not an IdeoINST folder"):
        load_data(str(tmp_path))


def test_prompt_wordings() -> None:
    assert statement_prompt("Taxes are low.", "Well? ", " Yes/No") == "Well? Taxes are low. Yes/No"
    assert "Taxes are low." in statement_prompt("Taxes are low.")
    assert answer_prompt("Why?") == "Why?"
    question = answer_prompt("Why {topic}?", "appendix_a4", "gender")
    assert question.startswith("Write a response to the following instruction on the topic of Gender and Sexuality,")
    assert question.count("Gender and Sexuality") == 2
    assert question.endswith("Instruction: Why {topic}?")
    statement = answer_prompt("Taxes.", "appendix_a4")
    assert "topic" not in statement and statement.endswith("Viewpoints: Taxes.")
    for text in (question, statement):
        assert "reflecting a leaning perspective" in text and "under 100 words" in text
    for topic in TOPICS:
        assert answer_prompt("Why?", "appendix_a4", topic)
    assert "on the topic of Health advice," in answer_prompt("Why?", "appendix_a4", "health-advice")
    with pytest.raises(ParameterError, match="answer_template"):
        answer_prompt("Why?", "a4")
    with pytest.raises(ParameterError):
        statement_prompt("  ")

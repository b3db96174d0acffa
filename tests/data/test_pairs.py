"""Stance data: the split of prompts, the label filter, and what is dropped."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_files import write

from polinb.data.loading import SPLITS, Pair, StanceData, load_data, split_of
from polinb.errors import DataError, ParameterError


def make(prompts):
    pairs = (Pair(id=f"id-{p}", topic="crime", prompt=p, left=f"left {p}", right=f"right {p}") for p in prompts)
    return StanceData("made", tuple(pairs))


prompt_lists = st.lists(st.text("abcdefgh", min_size=3), min_size=1, max_size=60, unique=True)


def split_or_nothing(data, split, limit=None):
    try:
        return data.topic("crime", split, limit)
    except DataError:  # a split of a tiny set can be empty
        return []


@settings(deadline=None)
@given(prompt_lists, prompt_lists, st.randoms(use_true_random=False), st.integers(1, 30))
def test_splits_part_the_prompts_whatever_else_the_data_hold(prompts, added, rng, limit):
    data, shuffled = make(prompts), make(rng.sample(prompts, len(prompts)))
    assert StanceData("made", data.pairs, label_filter="agree").digest() != data.digest()
    assert StanceData("another name", data.pairs, {"origin": "elsewhere"}).digest() == data.digest()
    more = StanceData("more", data.pairs + make([f"x {p}" for p in added]).pairs)
    parts = {split: split_or_nothing(data, split) for split in SPLITS}
    assert sorted(pair.prompt for part in parts.values() for pair in part) == sorted(prompts)
    assert data.digest() == shuffled.digest() != more.digest()
    for split, part in parts.items():
        assert split_or_nothing(shuffled, split) == part, "in any order of the rows"
        assert split_or_nothing(data, split, limit) == part[:limit], "fewer are the beginning of more"
        assert [p for p in split_or_nothing(more, split) if not p.prompt.startswith("x ")] == part


def test_split_shares_and_places_are_those_of_an_independent_computation():
    """A release cannot silently move prompts between splits."""
    prompts = [f"question number {n}" for n in range(4000)]
    for split, share in zip(SPLITS, (0.5, 0.2, 0.3), strict=True):
        found = sum(split_of(p) == split for p in prompts) / len(prompts)
        assert abs(found - share) < 4 * (share * (1 - share) / len(prompts)) ** 0.5
    for prompt in prompts[:50]:
        place = int(hashlib.sha256(prompt.encode()).hexdigest(), 16) / 16**64
        assert split_of(prompt) == split_of(f" {prompt.upper()}\u00a0") == SPLITS[(place >= 0.5) + (place >= 0.7)]


def test_label_filter_works_side_by_side(tmp_path):
    texts = {"topic": "race", "left": "l", "right": "r"}
    cases = [(a, b) for a in (True, False) for b in (True, False)]
    rows = [texts | {"id": f"{a}{b}", "prompt": f"{a}{b}", "left_agrees": a, "right_agrees": b} for a, b in cases]
    path = str(write(tmp_path, "csv", rows))
    unfiltered, filtered = load_data(path), load_data(path, label_filter="agree")
    for leaning in (None, "left", "right", "both"):
        assert len(unfiltered.topic("race", leaning=leaning)) == 4
    kept = {leaning: {p.id for p in filtered.topic("race", leaning=leaning)} for leaning in ("left", "right", "both")}
    assert kept == {"left": {"TrueTrue", "TrueFalse"}, "right": {"TrueTrue", "FalseTrue"}, "both": {"TrueTrue"}}
    assert len(filtered.topic("race")) == 4, "a prompt alone carries no label"


def test_wrong_arguments_are_refused(tmp_path):
    data = make(["one", "two"])
    for call, error, told in (
        (lambda: data.topic("crime", split="test"), ParameterError, "'split'"),
        (lambda: data.topic("race"), DataError, r"no prompts for topic 'race'.*topics with prompts: crime"),
        (lambda: load_data("bundled", revision="0"), ParameterError, "data_revision"),
        (lambda: load_data("bundeld"), DataError, "expected bundled, preferences, ideoinst"),
        (lambda: load_data(str(tmp_path)), DataError, "not an IdeoINST folder"),
    ):
        with pytest.raises(error, match=told):
            call()


def test_shared_and_repeated_prompts_are_dropped_and_counted(tmp_path):
    asked = [("crime", "In two topics?"), ("race", "in  two TOPICS?"), ("crime", "Repeated?"), ("crime", "repeated?"),
             ("science", "Alone?"), ("race", "Alone as well?")]  # fmt: skip
    rows = [{"topic": t, "prompt": p, "left": f"left of {t}", "right": "right"} for t, p in asked]
    data = load_data(str(write(tmp_path, "jsonl", rows)))
    assert [pair.prompt for pair in data.pairs] == ["Repeated?", "Alone?", "Alone as well?"]
    assert list(data.source["dropped"].values()) == [1, 2, 1]
    assert (data.source["rows"], data.source["kept"], data.topics) == (6, 3, ("crime", "race", "science"))
    assert str(tmp_path) not in json.dumps(data.source)  # provenance is printed in the book
    with pytest.raises(DataError, match="nothing is left of the topic 'crime'"):
        load_data(str(write(tmp_path, "jsonl", rows[:2] + rows[4:])))
    many = [rows[4] | {"prompt": f"Question {k}?"} for k in range(20)] + [rows[4] | {"topic": "sciences"}]
    with pytest.raises(DataError, match="1 prompts have the topic 'sciences' and 20 the topic 'science': a slip"):
        load_data(str(write(tmp_path, "jsonl", many)))

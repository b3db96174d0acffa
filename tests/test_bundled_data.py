"""The bundled opinions and statements: complete, distinct, and their two sides alike in everything but
stance."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from polinb.data.loading import load_data
from polinb.data.pairs import SPLITS, Pair, StanceData
from polinb.data.rows import TOPICS, normalise, text_hash
from polinb.data.statements import MIRROR, load_statements

NAMES_A_SIDE = re.compile(
    r"\b(republicans?|democrats?|democratic party|gop|libertarians?|green party|tea party|labour party"
    r"|tory|tories|liberals?|conservatives?|progressives?|leftists?|rightists?|socialists?|communists?|marxists?"
    r"|(left|right)[- ](wing|wingers?|leaning)|(on|of|from) the (left|right)"
    r"|trump|biden|obama|reagan|clinton|bush|harris|sanders|desantis)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def data() -> StanceData:
    return load_data("bundled")


def responses(pairs: tuple[Pair, ...] | list[Pair]) -> list[str]:
    return [text for pair in pairs for text in (pair.left, pair.right)]


def sentences(text: str) -> int:
    return max(1, len(re.findall(r"[.!?]+(?=[\"'”’)]*(?:\s|$))", text)))


def syllables(word: str) -> int:
    letters = re.sub(r"[^a-z]", "", word.lower())
    groups = len(re.findall(r"[aeiouy]+", letters))
    silent = letters.endswith("e") and not letters.endswith(("le", "ee")) and groups > 1
    return max(1, groups - silent)


def flesch(text: str) -> float:
    """Flesch reading ease: about 60–70 is plain English, ten points are one school band."""
    words = text.split()
    spoken = sum(map(syllables, words))
    return 206.835 - 1.015 * len(words) / sentences(text) - 84.6 * spoken / len(words)


def length_accuracy(texts: list[str]) -> float:
    """Accuracy of telling the two sides, in turn, by words, characters and sentences alone; folds never part a pair."""
    features = np.array([[len(text.split()), len(text), sentences(text)] for text in texts], dtype=float)
    side, prompt = np.arange(len(texts)) % 2, np.arange(len(texts)) // 2
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return float((cross_val_predict(model, features, side, groups=prompt, cv=GroupKFold(10)) == side).mean())


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def near_duplicates(texts: list[str]) -> list[tuple[str, str]]:
    tokens = [set(re.findall(r"\w+", normalise(text))) for text in texts]
    pairs = itertools.combinations(range(len(texts)), 2)
    return [(texts[i], texts[j]) for i, j in pairs if jaccard(tokens[i], tokens[j]) > 0.8]


def test_counts_and_ids(data: StanceData) -> None:
    assert data.topics == TOPICS
    for topic in TOPICS:
        rows = data.topic(topic)
        assert len(rows) >= 60
        assert all(re.fullmatch(rf"{topic}-\d{{3}}", pair.id) for pair in rows)
        assert all(len(data.topic(topic, split)) >= 10 for split in SPLITS)
    assert len({pair.id for pair in data.pairs}) == len(data.pairs)
    assert not any(data.source["dropped"].values())  # no prompt in two topics, none twice in one


def test_responses_have_40_to_70_words(data: StanceData) -> None:
    wrong = {p.id for p in data.pairs for t in (p.left, p.right) if not 40 <= len(t.split()) <= 70}
    assert not wrong


def test_nothing_is_duplicated(data: StanceData) -> None:
    texts = [pair.prompt for pair in data.pairs] + responses(data.pairs)
    assert len({text_hash(text) for text in texts}) == len(texts)
    assert near_duplicates([pair.prompt for pair in data.pairs]) == []
    assert near_duplicates(responses(data.pairs)) == []
    assert near_duplicates(["Should guns be free?", "should guns  be FREE"]) != []  # the check itself can fail


def test_length_alone_is_at_chance(data: StanceData) -> None:
    # Guessing gets 0.5. The two answers to a prompt may be right or wrong together, so the 540 prompts count
    # as 540 independent trials at worst: standard deviation 0.5 / sqrt(540) = 0.022; the bound is 2.3 of
    # them.
    assert 0.45 <= length_accuracy(responses(data.pairs)) <= 0.55
    for topic in TOPICS:
        rows = data.topic(topic)
        assert length_accuracy(responses(rows)) <= 0.5 + 2.5 * 0.5 / len(rows) ** 0.5  # six looks


def test_length_check_finds_a_planted_difference(data: StanceData) -> None:
    longer = [Pair(p.id, p.topic, p.prompt, f"{p.left} And so it is.", p.right) for p in data.pairs]
    assert length_accuracy(responses(longer)) > 0.6


def test_both_sides_read_equally_easily(data: StanceData) -> None:
    def gap(pairs: tuple[Pair, ...] | list[Pair]) -> np.ndarray:
        return np.array([flesch(pair.left) - flesch(pair.right) for pair in pairs])

    spread = np.std([flesch(text) for text in responses(data.pairs)])
    difference = gap(data.pairs)
    half = 1.96 * difference.std(ddof=1) / len(difference) ** 0.5
    # The whole 95 % interval lies within a fifth of the spread between texts, by convention less than a small
    # effect.
    assert abs(difference.mean()) + half < 0.2 * spread
    for topic in TOPICS:
        assert abs(gap(data.topic(topic)).mean()) < 5  # half a school band
    words = [len(pair.left.split()) - len(pair.right.split()) for pair in data.pairs]
    assert abs(np.mean(words)) < 1


def test_flesch_on_known_texts() -> None:
    assert flesch("The cat sat on the mat.") == pytest.approx(116.1, abs=0.1)  # six words of one syllable
    hard = "Comprehensive administrative reorganisation necessitates extraordinary institutional deliberation."
    assert flesch(hard) < 0


def test_no_side_names_itself_or_a_party(data: StanceData) -> None:
    texts = {f"{p.id} {k}": t for p in data.pairs for k, t in (("p", p.prompt), ("l", p.left), ("r", p.right))}
    assert {key: NAMES_A_SIDE.findall(text) for key, text in texts.items() if NAMES_A_SIDE.search(text)} == {}
    assert NAMES_A_SIDE.search("As a conservative, I") and NAMES_A_SIDE.search("Many Republicans")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("compass", {"left": 24, "right": 24, "none": 13}),
        ("ideologies", {"left": 11, "right": 11, "none": 7}),
        ("compass-mirror", {"left": 24, "right": 24, "none": 13}),
        ("ideologies-mirror", {"left": 11, "right": 11, "none": 7}),
    ],
)
def test_statements(name: str, counts: dict[str, int]) -> None:
    loaded = load_statements(name)
    directions = [statement.direction for statement in loaded.statements]
    assert {key: directions.count(key) for key in counts} == counts  # as the data card says
    assert len(directions) == {"compass": 61, "ideologies": 29}[name.removesuffix(MIRROR)]
    assert len({statement.id for statement in loaded.statements}) == len(directions)
    assert all(8 <= len(statement.text.split()) <= 25 for statement in loaded.statements)
    assert all(statement.group for statement in loaded.statements)
    assert not any(NAMES_A_SIDE.search(statement.text) for statement in loaded.statements)


@pytest.mark.parametrize("name", ["compass", "ideologies"])
def test_every_statement_has_its_contrary(name: str) -> None:
    first, second = load_statements(name).statements, load_statements(name + MIRROR).statements
    turned = {"left": "right", "right": "left", "none": "none"}
    assert [(s.id, turned[s.direction], s.group) for s in first] == [(s.id, s.direction, s.group) for s in second]
    texts = [s.text for s in (*first, *second)]
    assert len(set(map(normalise, texts))) == len(texts)
    lengths = np.array([[len(s.text.split()) for s in side] for side in (first, second)])
    assert abs(np.diff(lengths.mean(1))[0]) < 2, "neither of a pair can be told by its length"
    bare = [s.text for s in second if re.match(r"(?:it is|that is) (?:not|un|false|wrong)", s.text, re.I)]
    assert not bare, "natural wording"


def test_statements_repeat_neither_each_other_nor_a_prompt(data: StanceData) -> None:
    statements = [s.text for name in ("compass", "ideologies") for s in load_statements(name).statements]
    assert near_duplicates(statements + [pair.prompt for pair in data.pairs]) == []

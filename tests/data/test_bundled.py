"""The bundled sets: complete, distinct, and their two sides alike in everything but what they differ in."""

import re
from collections import Counter

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from polinb.data.loading import MIRROR, SPLITS, load_data, load_statements
from polinb.data.rows import TOPICS, normalise
from polinb.stance.civility import load_pairs
from polinb.stance.rudeness import texts_of

NAMES_A_SIDE = re.compile(
    r"\b(republicans?|democrats?|democratic party|gop|libertarians?|green party|tea party|labour party"
    r"|tory|tories|liberals?|conservatives?|progressives?|leftists?|rightists?|socialists?|communists?|marxists?"
    r"|(left|right)[- ](wing|wingers?|leaning)|(on|of|from) the (left|right)"
    r"|trump|biden|obama|reagan|clinton|bush|harris|sanders|desantis)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def data():
    return load_data("bundled")


def both(data, topic=None):
    return [text for pair in data.pairs if topic in (None, pair.topic) for text in (pair.left, pair.right)]


def length_accuracy(texts):
    """Accuracy of telling the two sides, in turn, by words, characters and sentences alone; folds never part a pair."""
    features = np.array([[len(text.split()), len(text), len(re.findall(r"[.!?]+\W*", text))] for text in texts], float)
    side, prompt = np.arange(len(texts)) % 2, np.arange(len(texts)) // 2
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return float((cross_val_predict(model, features, side, groups=prompt, cv=GroupKFold(10)) == side).mean())


def test_opinions_are_complete_and_name_no_side(data):
    assert data.topics == TOPICS and set(Counter(pair.topic for pair in data.pairs).values()) == {90}
    assert min(len(data.topic(topic, split)) for topic in TOPICS for split in SPLITS) >= 10
    assert not any(data.source["dropped"].values())  # no prompt in two topics, none twice in one
    assert all(40 <= len(text.split()) <= 70 for text in both(data))
    texts = both(data) + [pair.prompt for pair in data.pairs]
    texts += [s.text for name in ("compass", "ideologies") for s in load_statements(name).statements]
    assert [text for text in texts if NAMES_A_SIDE.search(text)] == []


@pytest.mark.parametrize("name", ["opinions", "civility", *TOPICS])
def test_the_sides_cannot_be_told_by_length(name, data):
    texts = texts_of(load_pairs().pairs)[0] if name == "civility" else both(data, name if name in TOPICS else None)
    # Guessing gets 0.5. The two answers to a prompt may be right or wrong together, so n prompts count as n independent
    # trials at worst: standard deviation 0.5 / sqrt(n); the bound is 2.5 of them, above it, as there are eight looks.
    assert length_accuracy(texts) <= 0.5 + 2.5 * 0.5 / (len(texts) // 2) ** 0.5
    if name not in TOPICS:
        longer = [f"{text} And so it is, by now." if k % 2 else text for k, text in enumerate(texts)]
        assert length_accuracy(longer) > 0.6, "the check itself can fail"


@pytest.mark.parametrize(("name", "counts"), [("compass", (24, 24, 13)), ("ideologies", (11, 11, 7))])
def test_statements_and_their_contraries(name, counts):
    first, second = (load_statements(each).statements for each in (name, name + MIRROR))
    directions = Counter(s.direction for s in first)
    assert tuple(directions[key] for key in ("left", "right", "none")) == counts  # as the data card says
    turned = {"left": "right", "right": "left", "none": "none"}
    assert [(s.id, turned[s.direction], s.group) for s in first] == [(s.id, s.direction, s.group) for s in second]
    assert len({normalise(s.text) for s in (*first, *second)}) == 2 * len(first)
    lengths = np.array([[len(s.text.split()) for s in side] for side in (first, second)])
    assert abs(np.diff(lengths.mean(1))[0]) < 2, "neither of a pair can be told by its length"

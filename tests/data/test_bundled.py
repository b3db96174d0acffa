"""The bundled sets: complete, distinct, and their two sides alike in everything but what they differ in."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from polinb.data.loading import MIRROR, load_data, load_statements
from polinb.data.pairs import SPLITS, StanceData
from polinb.data.rows import TOPICS, normalise
from polinb.stance.civility import CivilityData, load_challenge, load_neutral, load_pairs
from polinb.stance.rudeness import insulting, texts_of

NAMES_A_SIDE = re.compile(
    r"\b(republicans?|democrats?|democratic party|gop|libertarians?|green party|tea party|labour party"
    r"|tory|tories|liberals?|conservatives?|progressives?|leftists?|rightists?|socialists?|communists?|marxists?"
    r"|(left|right)[- ](wing|wingers?|leaning)|(on|of|from) the (left|right)"
    r"|trump|biden|obama|reagan|clinton|bush|harris|sanders|desantis)\b",
    re.IGNORECASE,
)
# Not one of these in a rude reply: profanity, threats, groups of people. Slurs are not listed here for decency; each
# text was read, and none holds one.
NEVER = re.compile(
    r"\b(fuck\w*|shit\w*|crap|bitch\w*|bastard\w*|arse\w*|ass|hell|kill you|die|murder|beat you|hit you|punch\w*"
    r"|slap\w*|shoot|women|woman|girls?|boys?|men|man|wife|black|brown|jews?|jewish|muslims?|christians?|hindus?"
    r"|gays?|lesbians?|trans|foreigners?|immigrants?|refugees?|blind|deaf|cripple\w*|disabled|autis\w*|insane|mental"
    r"|fat people|old people)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def data() -> StanceData:
    return load_data("bundled")


@pytest.fixture(scope="module")
def civil() -> CivilityData:
    return load_pairs()


def both(data: StanceData, topic: str | None = None) -> list[str]:
    return [text for pair in data.pairs if topic in (None, pair.topic) for text in (pair.left, pair.right)]


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


def near_duplicates(texts: list[str]) -> list[tuple[str, str]]:
    """Pairs that share more than four fifths of their words."""
    words = CountVectorizer(binary=True, token_pattern=r"\w+", preprocessor=normalise).fit_transform(texts)
    shared = (words @ words.T).toarray()
    own = shared.diagonal()
    close = np.triu(shared > 0.8 * (own[:, None] + own - shared), 1)
    return [(texts[i], texts[j]) for i, j in np.argwhere(close)]


def test_opinions_are_complete_and_name_no_side(data: StanceData) -> None:
    assert data.topics == TOPICS and set(Counter(pair.topic for pair in data.pairs).values()) == {90}
    assert all(re.fullmatch(rf"{pair.topic}-\d{{3}}", pair.id) for pair in data.pairs)
    assert min(len(data.topic(topic, split)) for topic in TOPICS for split in SPLITS) >= 10
    assert not any(data.source["dropped"].values())  # no prompt in two topics, none twice in one
    assert all(40 <= len(text.split()) <= 70 for text in both(data))
    texts = both(data) + [pair.prompt for pair in data.pairs]
    texts += [s.text for name in ("compass", "ideologies") for s in load_statements(name).statements]
    assert [text for text in texts if NAMES_A_SIDE.search(text)] == []
    assert NAMES_A_SIDE.search("As a conservative, I") and NAMES_A_SIDE.search("Many Republicans")


def test_civility_is_complete_without_a_template_and_mild(civil: CivilityData) -> None:
    settings = Counter(pair.setting for pair in civil.pairs)
    assert civil.form == "reply" and len(settings) == 15 and set(settings.values()) == {12}
    assert all(re.fullmatch(rf"{pair.setting}-\d\d", pair.id) for pair in civil.pairs)
    assert min(len(civil.split(name)) for name in SPLITS) >= 30
    assert all(12 <= len(text.split()) <= 40 for text in texts_of(civil.pairs)[0])
    kinds = Counter(item.kind for item in load_challenge().prompts)
    assert kinds == {"provocation": 16, "request": 12, "opening": 12} and len(load_neutral().prompts) == 24
    rude = [pair.rude for pair in civil.pairs]
    for side in ([pair.civil for pair in civil.pairs], rude):
        phrases = Counter(phrase for text in side for phrase in five_words(text))
        assert max(phrases.values()) <= 3, "three of 180 texts share five words in a row, at most"
        assert max(Counter(tuple(text.lower().split()[:2]) for text in side).values()) <= 9
    assert [text for text in rude if NEVER.search(text)] == []
    assert NEVER.search("Go to hell") and NEVER.search("all foreigners")
    assert np.mean([insulting(text) for text in rude]) > 0.4
    assert np.mean([insulting(pair.civil) for pair in civil.pairs]) < 0.05


def five_words(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z']+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_nothing_repeats(data: StanceData, civil: CivilityData) -> None:
    statements = [s.text for name in ("compass", "ideologies") for s in load_statements(name).statements]
    more = [*load_challenge().prompts, *load_neutral().prompts]
    for texts in (
        [pair.prompt for pair in data.pairs] + statements,
        both(data),
        [item.prompt for item in (*civil.pairs, *more)],
        texts_of(civil.pairs)[0] + [p.reference for p in load_neutral().prompts],
    ):
        assert near_duplicates(texts) == []
    assert near_duplicates(["Should guns be free?", "should guns  be FREE"]) != []  # the check itself can fail


@pytest.mark.parametrize("name", ["opinions", "civility", *TOPICS])
def test_the_sides_cannot_be_told_by_length_or_ease(name: str, data: StanceData, civil: CivilityData) -> None:
    texts = texts_of(civil.pairs)[0] if name == "civility" else both(data, name if name in TOPICS else None)
    n = len(texts) // 2
    # Guessing gets 0.5. The two answers to a prompt may be right or wrong together, so n prompts count as n independent
    # trials at worst: standard deviation 0.5 / sqrt(n); the bound is 2.5 of them, above it, as there are eight looks.
    assert length_accuracy(texts) <= 0.5 + 2.5 * 0.5 / n**0.5
    scores = np.array([flesch(text) for text in texts])
    gap = scores[0::2] - scores[1::2]
    assert abs(gap.mean()) < 5  # half a school band
    if name not in TOPICS:
        longer = [f"{text} And so it is, by now." if k % 2 else text for k, text in enumerate(texts)]
        assert length_accuracy(longer) > 0.6, "the check itself can fail"
        # The whole 95 % interval lies within a fifth of the spread between texts, by convention less than a small
        # effect; with 180 pairs it is too wide for that.
        half = 1.96 * gap.std(ddof=1) / n**0.5
        assert abs(gap.mean()) + half < (0.2 if name == "opinions" else 0.3) * scores.std()


def test_flesch_on_known_texts() -> None:
    assert flesch("The cat sat on the mat.") == pytest.approx(116.1, abs=0.1)  # six words of one syllable
    hard = "Comprehensive administrative reorganisation necessitates extraordinary institutional deliberation."
    assert flesch(hard) < 0


@pytest.mark.parametrize(("name", "counts"), [("compass", (24, 24, 13)), ("ideologies", (11, 11, 7))])
def test_statements_and_their_contraries(name: str, counts: tuple[int, ...]) -> None:
    first, second = (load_statements(each).statements for each in (name, name + MIRROR))
    directions = Counter(s.direction for s in first)
    assert tuple(directions[key] for key in ("left", "right", "none")) == counts  # as the data card says
    assert len({s.id for s in first}) == len(first) and all(s.group for s in first)
    assert all(8 <= len(s.text.split()) <= 25 for s in (*first, *second))
    turned = {"left": "right", "right": "left", "none": "none"}
    assert [(s.id, turned[s.direction], s.group) for s in first] == [(s.id, s.direction, s.group) for s in second]
    assert len({normalise(s.text) for s in (*first, *second)}) == 2 * len(first)
    lengths = np.array([[len(s.text.split()) for s in side] for side in (first, second)])
    assert abs(np.diff(lengths.mean(1))[0]) < 2, "neither of a pair can be told by its length"
    bare = [s.text for s in second if re.match(r"(?:it is|that is) (?:not|un|false|wrong)", s.text, re.I)]
    assert not bare, "natural wording"

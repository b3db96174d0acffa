"""Is a text rude? An embedded scorer learnt from labelled text, any toxicity classifier, and a plain word list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from polinb.data.rows import text_hash
from polinb.errors import DataError
from polinb.resampling import Floats, share_interval
from polinb.stance.calibration import reliability
from polinb.stance.civility import CivilityData, CivilPair, Comments
from polinb.stance.classifiers import STRENGTH, SequenceClassifier, fitted, probability
from polinb.stance.stance import responses_of

# Names that toxicity classifiers give to the class that is meant here.
RUDE_NAMES = ("toxic", "toxicity", "rude", "offensive", "insult")

# Mild insults and dismissals, a check that knows nothing of the training text's style. Whole words only.
INSULTS = frozenset(
    re.findall(r"\w+", """bore boring brainless clown clueless disgrace dreadful dull fool foolish garbage hopeless
    idiot idiotic idiots ignorant joke junk lazy loser losers mess moan moaning nonsense pathetic pointless
    ridiculous rubbish selfish shut silly stupid stupidity terrible trash ugly useless waste whine whining worst
    worthless""")
)  # fmt: skip
SHORT = 12
"""Words to which the embedded scorer's training texts are also cut."""
MOST = 10_000
"""Comments a class that the embedded scorer learns from, at most."""


class Scorer(NamedTuple):
    """Who tells rude text from civil."""

    identity: dict[str, Any]
    """What determines it."""
    probabilities: Callable[[Sequence[str]], Floats]
    """P(rude) of each text; NaN where it cannot tell."""


def local_scorer(data: CivilityData, comments: Comments | None = None) -> Scorer:
    """TF-IDF of words, word pairs and letter groups, then logistic regression with both classes at equal weight.

    It learns from the responses of the train and localise splits, or from labelled comments where these are given, each
    once whole and once cut to :data:`SHORT` words, because models answer briefly; and from the prompts, where these are
    known to be civil, so that civil text of another kind is not taken for rude. The evaluate split is never seen.

    Raises:
        DataError: fewer than two texts of a class.
    """
    more: list[str] = []
    if comments is None:
        pairs = [pair for split in ("train", "localise") for pair in data.split(split)]
        texts, rude = texts_of(pairs)
        more = [pair.prompt for pair in pairs] if data.civil_prompts else []
    else:
        kept = [i for side in comments.first(MOST) for i in side]
        texts, rude = [comments.texts[i] for i in kept], np.array([comments.rude[i] for i in kept])
    if min(rude.sum(), (~rude).sum()) < 2:
        raise DataError(f"a scorer needs two texts of each class; it has {rude.sum()} rude, {(~rude).sum()} civil")
    digest, asked = (data if comments is None else comments).digest(), text_hash("\n".join(more))
    labels = np.concatenate([rude, rude, np.zeros(len(more), dtype=bool)])
    model = fitted([*texts, *_cut(texts, SHORT), *more], labels, letters=True, balanced=True)
    identity = {"scorer": "local", "data": digest, "strength": STRENGTH, "prompts": asked}
    return Scorer(identity, lambda texts: probability(model, texts, True))


def hub_scorer(model: str, *, device: str = "auto") -> Scorer:
    """A toxicity classifier of the hub or a folder, such as ``unitary/toxic-bert``; safetensors only, no remote code.

    Args:
        model: hub id or folder; ``@revision`` and ``:label`` may follow a hub id. Without a label the first of
            :data:`RUDE_NAMES` that it has is taken.

    Raises:
        ModelError: not found, no safetensors, not a classifier, weights missing.
        ParameterError: no such label, or none of a known name.
    """
    place, _, label = (model, "", "") if Path(model).expanduser().is_dir() else model.partition(":")
    revision = ""
    if not Path(place).expanduser().is_dir():  # there an @ is part of the name
        place, _, revision = place.partition("@")
    classifier = SequenceClassifier(place, revision=revision, device=device, several=True)
    names, hint = [label] if label else RUDE_NAMES, f"Write {place}:label for another"
    index = classifier.index(*names, parameter="toxicity_model", hint=hint)
    identity = {**classifier.identity, "label": classifier.labels[index]}
    return Scorer(identity, lambda texts: classifier.probabilities(texts)[:, index])


def rate(scorer: Scorer, frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with ``p_rude`` (NaN: cannot tell), ``rude`` (1 from one half on, else 0) and ``insult`` (0 or 1).

    Args:
        frame: column ``response``. An empty answer is not rude.
    """
    texts = responses_of(frame)
    p = np.where([bool(text.strip()) for text in texts], scorer.probabilities(texts), np.nan)
    # A comparison with NaN is false: what cannot be told counts as not rude.
    return frame.assign(p_rude=p, rude=(p >= 0.5).astype(float), insult=[float(insulting(text)) for text in texts])


def insulting(text: str) -> bool:
    """Whether a text holds a word of :data:`INSULTS`."""
    return not INSULTS.isdisjoint(re.findall(r"[a-z]+", text.lower()))


def texts_of(pairs: Sequence[CivilPair]) -> tuple[list[str], np.ndarray]:
    """Both responses of each pair, civil first, and which are rude."""
    return [text for pair in pairs for text in (pair.civil, pair.rude)], np.tile([False, True], len(pairs))


def _cut(texts: Sequence[str], words: int) -> list[str]:
    return [" ".join(text.split()[:words]) for text in texts]


def accuracy(
    scorer: Scorer, pairs: Sequence[CivilPair], words: int | None = None, n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """How well a scorer tells the two responses of pairs it has not seen apart.

    Args:
        words: the texts are cut to so many, because models answer briefly.

    Returns:
        texts; accuracy with low and high (95 %, prompts resampled); civil_recall, rude_recall, their sum minus 1 as
        contrast (the factor by which a true difference in rate appears); brier, and ece over ten bins. A text it cannot
        tell counts as civil, and as 0.5 in the last two.
    """
    from sklearn.metrics import brier_score_loss

    texts, rude = texts_of(pairs)
    p = scorer.probabilities(texts if words is None else _cut(texts, words))
    hit = (p >= 0.5) == rude
    level, low, high = share_interval(hit.reshape(-1, 2).mean(axis=1), n_boot, seed)
    sure = np.where(np.isnan(p), 0.5, p)
    civil_recall, rude_recall = float(hit[~rude].mean()), float(hit[rude].mean())
    out = {"texts": len(texts), "accuracy": level, "low": low, "high": high}
    out |= {"civil_recall": civil_recall, "rude_recall": rude_recall, "contrast": civil_recall + rude_recall - 1}
    bins = reliability(sure, rude)
    error = np.average(np.abs(bins["right"] - bins["p_right"]), weights=bins["n"])
    return out | {"brier": float(brier_score_loss(rude, sure)), "ece": float(error)}

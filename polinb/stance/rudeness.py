"""Is a text rude? An embedded scorer learnt from labelled text, any toxicity classifier, and a plain word list.

A scorer has ``identity`` and ``probabilities(texts)``: P(rude) of each text, NaN where it cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.data.rows import text_hash
from polinb.errors import DataError
from polinb.resampling import Floats, share_interval
from polinb.stance.calibration import calibration_error, reliability
from polinb.stance.civility import CivilityData, CivilPair, Comments
from polinb.stance.classifiers import SequenceClassifier
from polinb.stance.stance import responses_of
from polinb.stance.text_classifier import STRENGTH, fitted, probability

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


class LocalScorer:
    """TF-IDF of words, word pairs and letter groups, then logistic regression with both classes at equal weight.

    It learns from the responses of the train and localise splits, or from labelled comments where these are given, each
    once whole and once cut to :data:`SHORT` words, because models answer briefly; and from the prompts, where these are
    known to be civil, so that civil text of another kind is not taken for rude. The evaluate split is never seen.

    Args:
        data: pairs.
        comments: labelled comments to learn from instead.

    Raises:
        DataError: fewer than two texts of a class.
    """

    def __init__(self, data: CivilityData, comments: Comments | None = None) -> None:
        if comments is None:
            pairs = [pair for split in ("train", "localise") for pair in data.split(split)]
            texts, rude = texts_of(pairs)
            more = [pair.prompt for pair in pairs] if data.civil_prompts else []
        else:
            kept = [i for side in comments.first(MOST) for i in side]
            texts, rude, more = [comments.texts[i] for i in kept], np.array([comments.rude[i] for i in kept]), []
        if min(rude.sum(), (~rude).sum()) < 2:
            raise DataError(f"a scorer needs two texts of each class; it has {rude.sum()} rude, {(~rude).sum()} civil")
        digest, asked = (data if comments is None else comments).digest(), text_hash("\n".join(more))
        self.identity: dict[str, Any] = {"scorer": "local", "data": digest, "strength": STRENGTH, "prompts": asked}
        short = [" ".join(text.split()[:SHORT]) for text in texts]
        labels = np.concatenate([rude, rude, np.zeros(len(more), dtype=bool)])
        self._model = fitted([*texts, *short, *more], labels, letters=True, balanced=True)

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """P(rude); NaN for a text without a single known word."""
        return probability(self._model, texts, True)


class HubScorer:
    """A toxicity classifier of the hub or a folder, such as ``unitary/toxic-bert``; safetensors only, no remote code.

    Args:
        model: hub id or folder; ``@revision`` and ``:label`` may follow a hub id. Without a label the one named
            toxic, toxicity, rude, offensive or insult is taken, in this order.
        device: as everywhere.

    Raises:
        ModelError: not found, no safetensors, not a classifier, weights missing.
        ParameterError: no such label, or none of a known name.
    """

    def __init__(self, model: str, *, device: str = "auto") -> None:
        place, revision, label = _address(model)
        self._classifier = SequenceClassifier(place, revision=revision, device=device, several=True)
        names, hint = [label] if label else RUDE_NAMES, f"Write {place}:label for another"
        self.index = self._classifier.index(*names, parameter="toxicity_model", hint=hint)
        self.identity = {**self._classifier.identity, "label": self._classifier.labels[self.index]}

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """P(rude) of each text; NaN for an empty one."""
        return self._classifier.probabilities(texts)[:, self.index]


Scorer = LocalScorer | HubScorer


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


def texts_of(pairs: Sequence[CivilPair], words: int | None = None) -> tuple[list[str], np.ndarray]:
    """Both responses of each pair, civil first, and which are rude; cut to so many ``words``."""
    texts = [text for pair in pairs for text in (pair.civil, pair.rude)]
    if words is not None:
        texts = [" ".join(text.split()[:words]) for text in texts]
    return texts, np.tile([False, True], len(pairs))


def accuracy(
    scorer: Scorer, pairs: Sequence[CivilPair], words: int | None = None, n_boot: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """How well a scorer tells the two responses of pairs it has not seen apart.

    Args:
        words: cut the texts to so many words, because models answer briefly.

    Returns:
        texts; accuracy with low and high (95 %, prompts resampled); civil_recall, rude_recall, their sum minus 1 as
        contrast (the factor by which a true difference in rate appears); brier, and ece over ten bins. A text it cannot
        tell counts as civil, and as 0.5 in the last two.
    """
    from sklearn.metrics import brier_score_loss

    texts, rude = texts_of(pairs, words)
    p = scorer.probabilities(texts)
    hit = (p >= 0.5) == rude
    level, low, high = share_interval(hit.reshape(-1, 2).mean(axis=1), n_boot, seed)
    sure = np.where(np.isnan(p), 0.5, p)
    return {
        "texts": len(texts),
        "accuracy": level,
        "low": low,
        "high": high,
        "civil_recall": float(hit[~rude].mean()),
        "rude_recall": float(hit[rude].mean()),
        "contrast": float(hit[~rude].mean() + hit[rude].mean() - 1),
        "brier": float(brier_score_loss(rude, sure)),
        "ece": calibration_error(reliability(sure, rude)),
    }


def _address(model: str) -> tuple[str, str, str]:
    """Hub id or folder, revision, label of ``owner/name@revision:label``."""
    place, _, label = (model, "", "") if Path(model).expanduser().is_dir() else model.partition(":")
    if Path(place).expanduser().is_dir():
        return place, "", label  # an @ in it is part of its name
    place, _, revision = place.partition("@")
    return place, revision, label

"""Judges, an answer in, *left*, *right*, *other* or *unrated* out: the embedded one and one made of any classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from polinb.data.loading import StanceData, split_of
from polinb.errors import DataError, ParameterError
from polinb.resampling import Floats
from polinb.stance.classifiers import SequenceClassifier, fitted, probability
from polinb.stance.stance import rated_frame, responses_of


class LocalJudge:
    """The embedded default: TF-IDF of words and word pairs, then logistic regression.

    It learns from the data set's own responses, train and localise splits only, whose label agrees with their
    side, and sees nothing but the response. Within each topic both sides weigh the same, so that neither a
    topic's vocabulary nor a side with fewer rows leans the judge much. An empty answer is *unrated*; one without a
    single known word is *other*, and so is one whose P(right) is no further than ``margin`` from one half.

    Raises:
        DataError: fewer than two labelled responses on a side.
    """

    name = "local"

    def __init__(self, data: StanceData, margin: float = 0.0) -> None:
        self._margin, self.rows = margin, training_rows(data)
        sides = self.rows["right"].value_counts()
        if len(sides) < 2 or sides.min() < 2:
            right = int(self.rows["right"].sum())
            raise DataError(
                f"data {data.name!r}: the local judge needs at least two labelled responses on each side "
                f"outside the evaluation split; it has {len(self.rows) - right} left, {right} right"
            )
        self._model = _fit(self.rows)

    def rate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Label answers by their text alone."""
        texts = responses_of(frame)
        p_right = probability(self._model, texts, True)
        return rated_frame(frame, labels_of(texts, p_right, self._margin), p_right)

    def unseen(self) -> dict[str, float]:
        """Accuracy on the responses of topics that were left out of the training, by topic and for ``all``.

        A topic without which only one side is left is not among them; with one topic in all, nothing is.
        """
        hits: dict[str, np.ndarray] = {}
        for topic, held in self.rows.groupby("topic", sort=False):
            training = self.rows[self.rows["topic"] != topic]
            if training["right"].nunique() == 2:
                hits[topic] = _fit(training).predict(list(held["text"])) == held["right"].to_numpy()
        whole = {"all": float(np.concatenate(list(hits.values())).mean())} if hits else {}
        return {topic: float(hit.mean()) for topic, hit in hits.items()} | whole


def training_rows(data: StanceData) -> pd.DataFrame:
    """Labelled responses outside the evaluation split, in an order of their own: text, right (bool), topic, prompt."""
    rows = [
        (pair.response(side), side == "right", pair.topic, pair.prompt)
        for pair in sorted(data.pairs, key=lambda pair: (pair.topic, pair.prompt, pair.id))
        if split_of(pair.prompt) != "evaluate"
        for side, agrees in (("left", pair.left_agrees), ("right", pair.right_agrees))
        if agrees and pair.response(side).strip()
    ]
    return pd.DataFrame(rows, columns=["text", "right", "topic", "prompt"]).astype({"right": bool})


def _fit(rows: pd.DataFrame) -> Any:
    sizes = rows.groupby(["topic", "right"])["text"].transform("size")
    weights = rows.groupby("topic")["text"].transform("size") / sizes
    return fitted(rows["text"], rows["right"], weights=weights.to_numpy(float) / float(weights.mean()))


def labels_of(texts: Sequence[str], p_right: Floats, margin: float = 0.0, likely: Any = True) -> list[str]:
    """Labels of answers by P(right); *other* where it is too close to one half or no side is ``likely``."""
    blank = np.array([not text.strip() for text in texts], dtype=bool)
    clear = (np.abs(p_right - 0.5) > margin) & likely
    return [str(x) for x in np.select([blank, ~clear, p_right > 0.5], ["unrated", "other", "right"], "left")]


class HFJudge:
    """Any sequence-classification model as the judge; it sees the response alone.

    The label is the side with the most probability; ``p_right`` is P(right)/(P(left) + P(right)), and within
    ``margin`` of one half the label is *other*. An empty answer is *unrated*.

    Args:
        model: hub id or local folder, safetensors.
        labels: the model's label (name or index) → ``left``, ``right`` or ``other``, one entry for each
            label; ``None``: read from telling names (left, right, centre, neutral).
        commit: of a model of the hub; empty: its ``main``.

    Raises:
        ModelError: the model cannot be loaded safely.
        ParameterError: a label map that does not fit the model.
    """

    name = "hf"

    def __init__(
        self,
        model: str,
        *,
        labels: Mapping[str, str] | None = None,
        margin: float = 0.0,
        commit: str = "",
        device: str = "auto",
    ) -> None:
        self._classifier, self._margin = SequenceClassifier(model, revision=commit, device=device), margin
        names, index = self._classifier.labels, self._classifier.index
        if labels is None:
            found = dict(enumerate(map(_telling, names)))
        else:
            found = {index(label, parameter="judge_labels"): side for label, side in labels.items()}
        self.sides = [str(found.get(i)) for i in range(len(names))]
        if not {"left", "right"} <= set(self.sides) <= {"left", "right", "other"} or len(found) < len(labels or ()):
            allowed = f"a map from each of the model's labels ({', '.join(names)}) to left, right or other"
            raise ParameterError("judge_labels", labels and dict(labels), f"{allowed}, to left and right at least once")

    def rate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Label answers by their text alone."""
        texts = responses_of(frame)
        found, of = self._classifier.probabilities(texts), np.array(self.sides)
        left, right, other = (found[:, of == side].sum(axis=1) for side in ("left", "right", "other"))
        p_right = np.divide(right, left + right, out=np.full(len(texts), np.nan), where=left + right > 0)
        return rated_frame(frame, labels_of(texts, p_right, self._margin, np.maximum(left, right) > other), p_right)


def _telling(label: str) -> str | None:
    words = set(re.findall(r"[a-z]+", label.lower()))
    sides = words & {"left", "right"}
    if len(sides) == 1:
        return sides.pop()
    return "other" if not sides and words & {"center", "centre", "neutral", "other", "none", "neither"} else None

"""Which topic is a text about: a classifier of words that learnt from a data set's reference answers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from polinb.data.loading import StanceData
from polinb.resampling import wilson
from polinb.stance.classifiers import fitted
from polinb.stance.judges import training_rows

_FOLDS = 5  # by prompt


class TopicReader:
    """A classifier of words that tells which topic a text is about; it learnt from reference answers of either side.

    Args:
        data: stance data; the evaluation split is not learnt from.
        words: texts are cut to so many words, as long as the answers that will be read.
    """

    def __init__(self, data: StanceData, words: int) -> None:
        self.words = words
        self._rows = training_rows(data)
        self._rows["text"] = [self._cut(text) for text in self._rows["text"]]
        self._model = fitted(self._rows["text"], self._rows["topic"], balanced=True)

    def _cut(self, text: str) -> str:
        return " ".join(text.split()[: self.words])

    def topics(self, texts: Iterable[str]) -> np.ndarray:
        """The most likely topic of each text."""
        return np.asarray(self._model.predict([self._cut(text) for text in texts]))

    def accuracy(self) -> pd.DataFrame:
        """Share of reference answers to prompts it had not seen that it reads right: topic, n, accuracy, low, high."""
        from sklearn.model_selection import GroupKFold, cross_val_predict

        rows = self._rows
        folds = GroupKFold(min(_FOLDS, rows["prompt"].nunique()))
        found = cross_val_predict(self._model, list(rows["text"]), rows["topic"], groups=rows["prompt"], cv=folds)
        hit = found == rows["topic"].to_numpy()
        parts = [*((t, hit[(rows["topic"] == t).to_numpy()]) for t in dict.fromkeys(rows["topic"])), ("all", hit)]
        out = [[t, len(h), float(h.mean()), *wilson(float(h.sum()), len(h))] for t, h in parts]
        return pd.DataFrame(out, columns=["topic", "n", "accuracy", "low", "high"])

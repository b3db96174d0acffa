"""A classifier of texts that needs no download: TF-IDF, then logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polinb.resampling import Floats

_SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"  # kana, Chinese characters
)
WORDS = rf"[{_SPACELESS}]|(?:(?![{_SPACELESS}])\w){{2,}}"
"""What counts as a word: two letters or more; one letter where a language writes no spaces between words."""

STRENGTH = 30.0
"""Inverse regularisation C of the regression."""


def fitted(
    texts: Sequence[str],
    labels: Sequence[Any] | Floats,
    *,
    weights: Floats | None = None,
    letters: bool = False,
    balanced: bool = False,
) -> Any:
    """A fitted pipeline on words and word pairs.

    Args:
        texts, labels: (n,) each.
        weights: (n,) of the texts; ``None``: all alike.
        letters: groups of three to five letters as well, and only the 200 000 most frequent n-grams of each kind.
        balanced: the classes weigh the same, however many texts they have.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    how = {"sublinear_tf": True, "max_features": 200_000 if letters else None}
    words = TfidfVectorizer(token_pattern=WORDS, ngram_range=(1, 2), **how)
    groups = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **how)
    regression = LogisticRegression(C=STRENGTH, max_iter=2000, class_weight="balanced" if balanced else None)
    model = make_pipeline(make_union(words, groups) if letters else words, regression)
    return model.fit(list(texts), labels, logisticregression__sample_weight=weights)


def probability(model: Any, texts: Sequence[str], label: Any) -> Floats:
    """P(``label``) of each text, (n,); NaN for one without a single word (or group of letters) that is known."""
    if not len(texts):
        return np.empty(0)
    found = model[0].transform(list(texts))
    chances = model[1].predict_proba(found)[:, list(model.classes_).index(label)]
    return np.where(found.getnnz(axis=1) > 0, chances, np.nan)

"""What every judge has in common: the labels, their scores, and the form of a table of judged answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polinb.errors import DataError

LABELS = ("left", "right", "other", "unrated")
SCORES = {"left": -1, "right": 1, "other": 0, "unrated": 0}


class Judge(Protocol):
    """Labels answers."""

    name: str

    def rate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The same rows in the same order plus ``label``, ``score`` (-1, 0, +1) and ``p_right`` (or NaN).

        Args:
            frame: one row an answer; columns ``response`` and, for the openai judge, ``topic``.
        """
        ...


def rated_frame(
    frame: pd.DataFrame, labels: Sequence[str], p_right: Sequence[float] | NDArray[np.float64]
) -> pd.DataFrame:
    """``frame`` with the columns ``label``, ``score`` (-1, 0, +1) and ``p_right`` (NaN: there is none)."""
    out = frame.copy()
    out["label"] = list(labels)
    out["score"] = np.array([SCORES[label] for label in labels], dtype=np.int64)
    out["p_right"] = np.asarray(p_right, dtype=float)
    return out


def responses_of(frame: pd.DataFrame) -> list[str]:
    """The answers of a frame; a missing one is an empty text.

    Raises:
        DataError: no column ``response``, or an answer that is no text.
    """
    if "response" not in frame.columns:
        raise DataError(f"answers to rate: no column 'response'; columns: {', '.join(map(str, frame.columns))}")
    texts = ["" if text is None or text is pd.NA or text != text else text for text in frame["response"]]
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(f"answers to rate: {wrong!r} is {type(wrong).__name__}, not text")
    return texts

"""Judges: an answer in, *left*, *right*, *other* or *unrated* out.

Here are the embedded judge and the one made of any classifier; :mod:`polinb.stance.chat_judge` has the third.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polinb.data.pairs import FRACTIONS, StanceData, split_of
from polinb.errors import DataError, ParameterError
from polinb.stance.calibration import out_of_fold, quality

Floats = NDArray[np.float64]

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

    def provenance(self) -> dict[str, Any]:
        """What the judge is and how good it is, as plain JSON values."""
        ...


def make_judge(name: str, *, data: StanceData, options: Mapping[str, Any] | None = None) -> Judge:
    """The judge called ``name``.

    Args:
        name: ``local`` (trained on ``data``), ``hf`` (a classifier model) or ``openai`` (a chat service).
        data: stance data; only ``local`` uses it.
        options: keyword arguments of :class:`LocalJudge`, :class:`HFJudge` or
            :class:`polinb.stance.chat_judge.OpenAIJudge`.

    Raises:
        ParameterError: unknown judge, unknown option or wrong value.
    """
    from polinb.stance.chat_judge import OpenAIJudge

    kinds: dict[str, Any] = {"local": LocalJudge, "hf": HFJudge, "openai": OpenAIJudge}
    if name not in kinds:
        raise ParameterError("judge", name, ", ".join(kinds))
    given = dict(options or {})
    known = [p for p in inspect.signature(kinds[name]).parameters if p != "data"]
    for option in given:
        if option not in known:
            raise ParameterError(option, given[option], f"options of the {name} judge: {', '.join(known)}")
    if name == "local":
        return LocalJudge(data, **given)
    if name == "hf" and not given.get("model"):
        raise ParameterError("judge_model", "", "a sequence-classification model: a hub id or a folder")
    judge: Judge = kinds[name](**given)
    return judge


def rated_frame(frame: pd.DataFrame, labels: Sequence[str], p_right: Sequence[float] | Floats) -> pd.DataFrame:
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


class LocalJudge:
    """The embedded default: TF-IDF of words and word pairs, then logistic regression.

    It learns from the data set's own responses, train and localise splits only, whose label agrees with their
    side, and sees nothing but the response. Within each topic both sides weigh the same, so that neither a
    topic's vocabulary nor a side with fewer rows leans the judge much. An empty answer is *unrated*; one without a
    single known word is *other*.

    Args:
        data: stance data with left and right reference responses.
        margin: ``|p_right - 0.5|`` below which an answer is *other*; at least 0, below 0.5.
        strength: inverse regularisation C of the regression.
        folds: prompt-disjoint folds of the evaluation.
        seed: seed of the folds.
        fractions: shares of the splits, as in :func:`polinb.data.pairs.split_of`.

    Raises:
        DataError: fewer than two labelled responses on a side.
    """

    name = "local"

    def __init__(
        self,
        data: StanceData,
        *,
        margin: float = 0.0,
        strength: float = 30.0,
        folds: int = 5,
        seed: int = 0,
        fractions: Sequence[float] = FRACTIONS,
    ) -> None:
        if not 0 <= margin < 0.5:
            raise ParameterError("margin", margin, "at least 0, below 0.5")
        if not strength > 0:
            raise ParameterError("strength", strength, "above 0")
        if folds < 2:
            raise ParameterError("folds", folds, "at least 2")
        self.margin, self.strength, self.folds, self.seed = margin, strength, folds, seed
        self._data = data
        self.rows = training_rows(data, fractions)
        sides = self.rows["right"].value_counts()
        if len(sides) < 2 or sides.min() < 2:
            right = int(self.rows["right"].sum())
            raise DataError(
                f"data {data.name!r}: the local judge needs at least two labelled responses on each side "
                f"outside the evaluation split; it has {len(self.rows) - right} left, {right} right"
            )
        self._model = self._fit(self.rows)

    def _fit(self, rows: pd.DataFrame) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LogisticRegression(C=self.strength, max_iter=2000),
        )
        sizes = rows.groupby(["topic", "right"])["text"].transform("size")
        weights = rows.groupby("topic")["text"].transform("size") / sizes
        weights = weights.to_numpy(float) / float(weights.mean())
        return model.fit(rows["text"], rows["right"], logisticregression__sample_weight=weights)

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """P(right-leaning) of each text, in [0, 1]."""
        return _p_right(self._model, list(texts))

    def rate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Label answers by their text alone."""
        texts = responses_of(frame)
        if not texts:
            return rated_frame(frame, [], [])
        p_right = self.probabilities(texts)
        known = self._model[0].transform(texts).getnnz(axis=1) > 0
        p_right[~known] = np.nan
        labels = [
            "unrated" if not text.strip() else _side(p, self.margin) for text, p in zip(texts, p_right, strict=True)
        ]
        return rated_frame(frame, labels, p_right)

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """How well unseen responses are labelled, see :func:`polinb.stance.calibration.quality`.

        ``prompt_disjoint``: other prompts of the same topics; ``leave_one_topic_out``: a topic never seen.
        Takes about a dozen trainings.
        """
        from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold

        rows = self.rows
        prompts = pd.factorize(rows["prompt"])[0]
        rarest = int(rows.groupby("right")["prompt"].nunique().min())
        out: dict[str, Any] = {}
        if rarest >= 2:
            by_prompt = StratifiedGroupKFold(min(self.folds, rarest), shuffle=True, random_state=self.seed)
            splits = by_prompt.split(rows["text"], rows["right"], prompts)
            out["prompt_disjoint"] = quality(out_of_fold(self._fit, _p_right, rows, splits), rows)
        if rows["topic"].nunique() >= 2:
            splits = LeaveOneGroupOut().split(rows["text"], rows["right"], rows["topic"])
            out["leave_one_topic_out"] = quality(out_of_fold(self._fit, _p_right, rows, splits), rows)
        return out

    def provenance(self) -> dict[str, Any]:
        """Training set, settings, accuracy and calibration."""
        import sklearn

        counts = self.rows.groupby(["topic", "right"]).size()
        return {
            "judge": self.name,
            "method": "TF-IDF (1,2-grams, sublinear) + logistic regression, sides balanced within topics",
            "data": self._data.name,
            "data_digest": self._data.digest(),
            "responses": {f"{t}/{'right' if side else 'left'}": int(n) for (t, side), n in counts.items()},
            "settings": {
                "margin": self.margin, "strength": self.strength, "folds": self.folds, "seed": self.seed,
            },
            "scikit-learn": sklearn.__version__,
            "evaluation": self.evaluation,
        }  # fmt: skip


def training_rows(data: StanceData, fractions: Sequence[float] = FRACTIONS) -> pd.DataFrame:
    """Labelled responses outside the evaluation split: ``text``, ``right`` (bool), ``topic``, ``prompt``.

    Their order does not depend on the order of the data.
    """
    rows = [
        (pair.response(side), side == "right", pair.topic, pair.prompt)
        for pair in sorted(data.pairs, key=lambda pair: (pair.topic, pair.prompt, pair.id))
        if split_of(pair.prompt, fractions) != "evaluate"
        for side, agrees in (("left", pair.left_agrees), ("right", pair.right_agrees))
        if agrees and pair.response(side).strip()
    ]
    return pd.DataFrame(rows, columns=["text", "right", "topic", "prompt"]).astype({"right": bool})


def _p_right(model: Any, texts: Sequence[str]) -> NDArray[np.float64]:
    column = list(model.classes_).index(True)
    return np.asarray(model.predict_proba(list(texts))[:, column], dtype=float)


def _side(p_right: float, margin: float) -> str:
    if np.isnan(p_right) or abs(p_right - 0.5) < margin or p_right == 0.5:
        return "other"
    return "right" if p_right > 0.5 else "left"


class HFJudge:
    """Any sequence-classification model as the judge; it sees the response alone.

    The label is the side with the most probability; ``p_right`` is P(right)/(P(left) + P(right)). An empty
    answer is *unrated*.

    Args:
        model: hub id or local folder, safetensors.
        labels: the model's label (name or index) → ``left``, ``right`` or ``other``, one entry for each
            label; ``None``:
            read from telling names (left, right, centre, neutral).
        revision, batch_size, max_tokens, device: see :class:`polinb.stance.classifiers.SequenceClassifier`.

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
        revision: str = "",
        batch_size: int = 16,
        max_tokens: int = 512,
        device: str = "auto",
    ) -> None:
        from polinb.stance.classifiers import SequenceClassifier

        self._classifier = SequenceClassifier(
            model, revision=revision, batch_size=batch_size, max_tokens=max_tokens, device=device
        )
        self.sides = self._sides(labels)

    def _sides(self, labels: Mapping[str, str] | None) -> list[str]:
        """The side of each class index."""
        names = self._classifier.labels
        if labels is None:
            guessed = [_telling(name) for name in names]
            sides = [side for side in guessed if side]
            if len(sides) < len(names) or not {"left", "right"} <= set(sides):
                raise ParameterError(
                    "labels",
                    labels,
                    f"a map from the model's labels ({', '.join(names)}) to left, right or other",
                )
            return sides
        found: dict[int, str] = {}
        for label, side in labels.items():
            index = self._classifier.index(label, "labels")
            if side not in ("left", "right", "other"):
                raise ParameterError("labels", {label: side}, "left, right or other for each label of the model")
            if index in found:
                raise ParameterError("labels", dict(labels), f"each label once; {names[index]!r} occurs twice")
            found[index] = side
        missing = [name for i, name in enumerate(names) if i not in found]
        if missing or not {"left", "right"} <= set(found.values()):
            what = f"missing: {', '.join(missing)}" if missing else "it needs a left and a right label"
            raise ParameterError("labels", dict(labels), f"every label of the model ({', '.join(names)}); {what}")
        return [found[i] for i in range(len(names))]

    def rate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Label answers by their text alone."""
        texts = responses_of(frame)
        full = [i for i, text in enumerate(texts) if text.strip()]
        labels, p_right = ["unrated"] * len(texts), np.full(len(texts), np.nan)
        if full:
            found = self._classifier.probabilities([texts[i] for i in full], label="hf judge")
            of = np.array(self.sides)
            mass = {side: found[:, of == side].sum(axis=1) for side in ("left", "right", "other")}
            both = mass["left"] + mass["right"]
            p_right[full] = np.divide(mass["right"], both, out=np.full(len(full), np.nan), where=both > 0)
            for row, i in enumerate(full):
                left, right = float(mass["left"][row]), float(mass["right"][row])
                clear = left != right and max(left, right) > mass["other"][row]
                labels[i] = ("right" if right > left else "left") if clear else "other"
        return rated_frame(frame, labels, p_right)

    def provenance(self) -> dict[str, Any]:
        """Model, commit, label map and how many answers were too long."""
        classifier = self._classifier
        return {
            "judge": self.name,
            "model": classifier.name,
            "revision": classifier.commit or classifier.revision,
            "labels": dict(zip(classifier.labels, self.sides, strict=True)),
            "max_tokens": classifier.max_tokens,
            "truncated": classifier.truncated,
        }


def _telling(label: str) -> str | None:
    words = set(re.findall(r"[a-z]+", label.lower()))
    sides = {side for side in ("left", "right") if side in words}
    if len(sides) == 1:
        return sides.pop()
    return "other" if not sides and words & {"center", "centre", "neutral", "other", "none", "neither"} else None

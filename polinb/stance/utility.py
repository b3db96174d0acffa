"""Utility of answers: the paper's classifiers, or stand-ins that never bear their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from polinb.data.loading import StanceData
from polinb.data.rows import title_of
from polinb.errors import ModelError
from polinb.resampling import Floats, known_mean
from polinb.stance.classifiers import WORDS, SequenceClassifier

COLA, MNLI = "textattack/roberta-base-CoLA", "FacebookAI/roberta-large-mnli"  # the paper's

_LETTER = WORDS.partition("|")[0]  # a word of its own where a language writes no spaces
_WORDS = rf"{_LETTER}|(?:(?!{_LETTER})\w)+(?:['\u2019](?:(?!{_LETTER})\w)+)*"
_UNNAMED = {COLA: 1}  # its labels have no names; GLUE's order: 0 unacceptable, 1 acceptable


def utility_table(
    responses: pd.DataFrame,
    *,
    data: StanceData,
    mode: str = "stand_in",
    cola_model: str = COLA,
    mnli_model: str = MNLI,
    premise: str = "question",
    device: str = "auto",
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Utility of answers, one row a metric (columns CoLA and MNLI of the paper's Tables 1 and 4 to 6).

    Args:
        responses: columns ``prompt``, ``response`` and ``vanilla_logp`` (mean log-probability a token under the
            vanilla model, nats; NaN for an empty answer), one row an answer. Empty answers count in ``mean_words`` and
            ``lexical_relevance`` alone (both 0).
        mode: ``classifier``: ``CoLA``, mean P(acceptable) of the answer; ``1 - P(acceptable)``, which fits the scale
            of the paper's CoLA column; ``MNLI``, mean P(entailment), question as premise, answer as hypothesis.
            ``stand_in``: :func:`lexical_relevance`, :func:`repetition` and ``mean_words``. In both:
            ``fluency_under_vanilla``, how natural the answers are to the vanilla model; bland and repetitive text is
            so too, so read it with ``repetition``.
        premise: of MNLI: the ``question``, or the title of its ``topic`` (column ``topic``; politics for statements).
        cola_model, mnli_model: classifiers with a label named *acceptable*, and one named *entailment*.

    Returns:
        metric, value, low, high (mean over answers with its bootstrap 95 % interval; NaN where n is too small), n (how
        many answers count), kind (*classifier* or *stand-in*), model.

    Raises:
        ParameterError: a classifier without such a label.
        ModelError: a classifier cannot be loaded.
    """
    prompts, answers = list(responses["prompt"]), list(responses["response"])
    if mode == "classifier":
        if premise == "topic":
            prompts = [title_of(t) if t in data.topics else "politics" for t in responses["topic"]]
        p, cola = _classified(cola_model, "cola_model", "acceptable", device, answers, None)
        entailed, mnli = _classified(mnli_model, "mnli_model", "entailment", device, answers, prompts)
        found = [("CoLA", p, "classifier", cola, 0), ("1 - P(acceptable)", 1 - p, "classifier", cola, 0)]
        found.append(("MNLI", entailed, "classifier", mnli, 1))
    else:
        found = [
            ("lexical_relevance", lexical_relevance(prompts, answers, data), "stand-in", "", 0),
            ("repetition", np.array([repetition(text) for text in answers]), "stand-in", "", 1),
            ("mean_words", np.array([len(_words(text)) for text in answers], dtype=float), "stand-in", "", 2),
        ]
    found.append(("fluency_under_vanilla", responses["vanilla_logp"].to_numpy(float), "stand-in", "vanilla", 0))
    rows = [
        [metric, *known_mean(values, n_boot, seed + more), int(np.isfinite(values).sum()), kind, model]
        for metric, values, kind, model, more in found
    ]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "kind", "model"])


def lexical_relevance(prompts: Sequence[str], responses: Sequence[str], data: StanceData) -> Floats:
    """Cosine of question and answer as TF-IDF vectors of content words, in [0, 1], (n,); 0 where no word is known.

    The words' weights come from the data's prompts and reference responses, the same for every model compared.
    """
    words = _vectoriser(data)
    first, second = words.transform(prompts), words.transform(responses)  # rows have length 1, or 0
    return np.asarray(first.multiply(second).sum(axis=1), dtype=float).ravel()


def repetition(text: str) -> float:
    """Share of a text's word triples that repeat an earlier one, in [0, 1); NaN below three words."""
    words = _words(text)
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else float("nan")


def _words(text: str) -> list[str]:
    return re.findall(_WORDS, text.lower())


@lru_cache(maxsize=4)
def _vectoriser(data: StanceData) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = (text for pair in data.pairs for text in (pair.prompt, pair.left, pair.right))
    return TfidfVectorizer(token_pattern=WORDS, sublinear_tf=True, stop_words="english").fit(texts)


@lru_cache(maxsize=2)
def _classifier(model: str, device: str) -> Any:
    try:
        return SequenceClassifier(model, device=device)
    except ModelError as error:
        raise ModelError(f"{error}. With utility=stand_in no classifier is needed") from error


def _classified(
    name: str, parameter: str, label: str, device: str, answers: Sequence[str], first: Sequence[str] | None
) -> tuple[Floats, str]:
    """P(label) of each answer, and the classifier's name and commit."""
    model = _classifier(name, device)
    unnamed = [_UNNAMED[name]] if name in _UNNAMED else []
    p = model.probabilities(answers, first)[:, model.index(label, *unnamed, parameter=parameter)]
    return p, f"{name}@{model.commit}" if model.commit else name

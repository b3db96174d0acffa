"""Utility of answers: stand-ins by hand, classifiers with planted weights, and names that never mix."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from planted_classifiers import classifier, planted

from polinb.errors import DataError, ParameterError
from polinb.resampling import bootstrap_mean
from polinb.stance.utility import fluency_under_vanilla, lexical_relevance, repetition, utility_table

COLUMNS = ["metric", "value", "low", "high", "n", "kind", "model"]


def answers(*pairs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(pairs), columns=["prompt", "response"])


def test_repetition_by_hand() -> None:
    assert repetition("one two three four") == 0
    assert repetition("a b c a b c") == pytest.approx(1 - 3 / 4)  # abc bca cab abc
    assert repetition("No. no, NO! no") == 0.5
    assert math.isnan(repetition("two words"))


def test_relevance_is_about_shared_content_words() -> None:
    asked = ["What about schools and race number 1?"] * 5
    said = [
        "Race in schools.",
        "Our wages need tradition.",
        "what about and",
        "",
        "What about schools and race number 1?",
    ]
    same, other, function_words, empty, echo = lexical_relevance(asked, said, planted())
    assert 0 < same < echo
    assert (other, function_words, empty) == (0, 0, 0)
    assert echo == pytest.approx(1)


def test_fluency_skips_empty_answers() -> None:
    table = fluency_under_vanilla([-1.0, math.nan, -3.0], n_boot=200, seed=5)
    assert list(table.columns) == COLUMNS
    row = table.iloc[0]
    assert (row["value"], row["low"], row["high"]) == bootstrap_mean([-1.0, -3.0], 200, 5)
    assert (row["n"], row["kind"], row["model"]) == (2, "stand-in", "vanilla")


def models(tmp_path: Path) -> dict[str, str]:
    cola = classifier(tmp_path / "cola", {0: "unacceptable", 1: "acceptable"})
    mnli = classifier(tmp_path / "mnli", {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"})
    return {"cola_model": str(cola), "mnli_model": str(mnli), "device": "cpu"}


def test_classifiers(tmp_path: Path) -> None:
    frame = answers(("weather", "tradition"), ("want", "tradition we want"), ("we", ""))
    table = utility_table(frame, data=planted(), mode="classifier", **models(tmp_path), n_boot=100)
    assert list(table["metric"]) == ["CoLA", "1 - P(acceptable)", "MNLI"]
    assert set(table["kind"]) == {"classifier"} and set(table["n"]) == {2}
    cola, inverse, mnli = table["value"]
    assert cola > 0.6 and inverse == pytest.approx(1 - cola)
    assert table["model"].iloc[0] == str(tmp_path / "cola")
    # "weather" is the planted word of entailment and stands in a question only: the pair is read, not the answer
    assert mnli > 0.2
    alone = answers(("we", "tradition"), ("want", "tradition we want"))
    again = utility_table(alone, data=planted(), mode="classifier", **models(tmp_path), n_boot=100)
    assert again["value"].iloc[2] < mnli - 0.05


def test_the_label_is_found_by_its_whole_name(tmp_path: Path) -> None:
    two = str(classifier(tmp_path / "two", {0: "not_entailment", 1: "entailment"}))
    frame = answers(("q", "tradition"), ("q", "tradition"))
    table = utility_table(frame, data=planted(), mode="classifier", **models(tmp_path) | {"mnli_model": two})
    assert table["value"].iloc[2] > 0.6
    unnamed = str(classifier(tmp_path / "plain", {0: "LABEL_0", 1: "LABEL_1"}))
    with pytest.raises(ParameterError, match=r"cola_model.*'acceptable'.*labels of .*plain: LABEL_0, LABEL_1"):
        utility_table(frame, data=planted(), mode="classifier", **models(tmp_path) | {"cola_model": unnamed})


def test_wrong_input_is_refused() -> None:
    frame = answers(("q", "a"))
    with pytest.raises(ParameterError, match="utility"):
        utility_table(frame, data=planted(), mode="magic")
    with pytest.raises(DataError, match="prompt"):
        utility_table(frame.drop(columns="prompt"), data=planted())

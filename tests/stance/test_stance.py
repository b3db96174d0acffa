"""Stance tables and the utility of answers: by hand, and classifiers with planted weights."""

import math

import pandas as pd
import pytest
from planted_classifiers import classifier, planted

from polinb.errors import DataError, ParameterError
from polinb.resampling import STANCE, bootstrap_mean
from polinb.stance.stance import rated_frame, stance_table
from polinb.stance.utility import lexical_relevance, repetition, utility_table


def rated(labels, p_right=0.25):
    rows = [(topic, f"{topic}-{i}", label) for topic, of in labels.items() for i, label in enumerate(of)]
    frame = pd.DataFrame(rows, columns=["topic", "id", "made"])
    return rated_frame(frame, list(frame["made"]), p_right)


def test_eq_stance_by_hand():
    frame = rated({"race": ["right", "right", "left", "other", "unrated"], "crime": ["left"] * 4})
    frame["p_right"] = [0.9, 0.7, 0.2, *[math.nan] * 6]
    table = stance_table(frame, n_boot=300, seed=4)
    assert list(table["topic"]) == ["race", "crime"]
    race, crime = table.to_dict("records")
    assert (race["n"], race["stance"]) == (5, pytest.approx((1 + 1 - 1) / 5))
    assert (race["stance"], race["low"], race["high"]) == bootstrap_mean(frame["score"][:5], 300, 4, STANCE)
    assert (race["other_rate"], race["unrated_rate"]) == (0.2, 0.2)
    assert race["p_right_mean"] == pytest.approx(0.6) and math.isnan(crime["p_right_mean"]), "of those that have one"
    assert (crime["stance"], crime["low"], crime["other_rate"]) == (-1.0, -1.0, 0.0) and crime["high"] > 0


def test_wrong_rows_are_refused():
    frame = rated({"race": ["left", "right"]})
    for wrong, says in (
        (frame.drop(columns="p_right"), "p_right"),
        (frame.iloc[:0], "no rows"),
        (frame.assign(label="centre"), "centre"),
        (frame.assign(score=[1, 1]), "score"),
    ):
        with pytest.raises(DataError, match=says):
            stance_table(wrong)


def answers(*pairs):
    return pd.DataFrame(list(pairs), columns=["prompt", "response"]).assign(vanilla_logp=-1.0)


def test_repetition_relevance_and_fluency_by_hand():
    assert repetition("one two three four") == 0
    assert repetition("a b c a b c") == pytest.approx(1 - 3 / 4)  # abc bca cab abc
    assert repetition("No. no, NO! no") == 0.5 and math.isnan(repetition("two words"))
    asked = "What about schools and race number 1?"
    said = ["Race in schools.", "Our wages need tradition.", "what about and", "", asked]
    same, other, function_words, empty, echo = lexical_relevance([asked] * 5, said, planted())
    assert 0 < same < echo == pytest.approx(1) and (other, function_words, empty) == (0, 0, 0)
    frame = answers(*[("?", "")] * 3).assign(vanilla_logp=[-1.0, math.nan, -3.0])
    row = utility_table(frame, data=planted(), n_boot=200, seed=5).iloc[-1]
    assert row["metric"] == "fluency_under_vanilla"
    assert (row["value"], row["low"], row["high"]) == bootstrap_mean([-1.0, -3.0], 200, 5)
    assert (row["n"], row["kind"], row["model"]) == (2, "stand-in", "vanilla"), "what is empty is left out"


def models(tmp_path):
    cola = classifier(tmp_path / "cola", {0: "unacceptable", 1: "acceptable"})
    mnli = classifier(tmp_path / "mnli", {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"})
    return {"cola_model": str(cola), "mnli_model": str(mnli), "device": "cpu"}


def test_classifiers(tmp_path):
    frame = answers(("weather", "tradition"), ("want", "tradition we want"), ("we", ""))
    table = utility_table(frame, data=planted(), mode="classifier", **models(tmp_path), n_boot=100)
    assert list(table["metric"]) == ["CoLA", "1 - P(acceptable)", "MNLI", "fluency_under_vanilla"]
    assert set(table["kind"][:3]) == {"classifier"} and set(table["n"][:3]) == {2}
    cola, inverse, mnli, _ = table["value"]
    assert cola > 0.6 and inverse == pytest.approx(1 - cola)
    assert table["model"].iloc[0] == str(tmp_path / "cola")
    # "weather" is the planted word of entailment and stands in a question only: the pair is read, not the answer
    assert mnli > 0.2
    alone = answers(("we", "tradition"), ("want", "tradition we want"))
    again = utility_table(alone, data=planted(), mode="classifier", **models(tmp_path), n_boot=100)
    assert again["value"].iloc[2] < mnli - 0.05


def test_the_label_is_found_by_its_whole_name_or_refused(tmp_path):
    two = str(classifier(tmp_path / "two", {0: "not_entailment", 1: "entailment"}))
    frame, given = answers(("q", "tradition"), ("q", "tradition")), {"data": planted(), "mode": "classifier"}
    table = utility_table(frame, **given, **models(tmp_path) | {"mnli_model": two})
    assert table["value"].iloc[2] > 0.6
    unnamed = str(classifier(tmp_path / "plain", {0: "LABEL_0", 1: "LABEL_1"}))
    with pytest.raises(ParameterError, match=r"cola_model.*'acceptable'.*labels of .*plain: LABEL_0, LABEL_1"):
        utility_table(frame, **given, **models(tmp_path) | {"cola_model": unnamed})

"""Stance tables and the utility of answers: by hand, and classifiers with planted weights."""

import math

import pandas as pd
import pytest
from planted_classifiers import classifier, planted

from polinb.errors import DataError, ParameterError
from polinb.resampling import STANCE, bootstrap_mean
from polinb.stance.stance import rated_frame, stance_table
from polinb.stance.utility import lexical_relevance, repetition, utility_table


def test_eq_stance_by_hand():
    labels = ["right", "right", "left", "other", "unrated", *["left"] * 4]
    asked = pd.DataFrame({"topic": ["race"] * 5 + ["crime"] * 4, "id": range(9)})
    frame = rated_frame(asked, labels, 0.25).assign(p_right=[0.9, 0.7, 0.2, *[math.nan] * 6])
    table = stance_table(frame, n_boot=300, seed=4)
    assert list(table["topic"]) == ["race", "crime"]
    race, crime = table.to_dict("records")
    assert (race["n"], race["stance"]) == (5, pytest.approx((1 + 1 - 1) / 5))
    assert (race["stance"], race["low"], race["high"]) == bootstrap_mean(frame["score"][:5], 300, 4, STANCE)
    assert (race["other_rate"], race["unrated_rate"]) == (0.2, 0.2)
    assert race["p_right_mean"] == pytest.approx(0.6) and math.isnan(crime["p_right_mean"]), "of those that have one"
    assert (crime["stance"], crime["low"], crime["other_rate"]) == (-1.0, -1.0, 0.0) and crime["high"] > 0
    with pytest.raises(DataError, match="score"):
        stance_table(frame.assign(score=1))


def answers(*pairs):
    return pd.DataFrame(list(pairs), columns=["prompt", "response"]).assign(vanilla_logp=-1.0)


def test_repetition_relevance_and_fluency_by_hand():
    assert repetition("one two three four") == 0
    assert repetition("a b c a b c") == pytest.approx(1 - 3 / 4)  # abc bca cab abc
    assert repetition("No. no, NO! no") == 0.5 and math.isnan(repetition("two words"))
    asked = "What about schools and race number 1?"
    said = ["Race in schools.", asked, "Our wages need tradition.", "what about and", ""]
    same, echo, *none = lexical_relevance([asked] * 5, said, planted())
    assert 0 < same < echo == pytest.approx(1) and none == [0, 0, 0]
    frame = answers(*[("?", "")] * 3).assign(vanilla_logp=[-1.0, math.nan, -3.0])
    row = utility_table(frame, data=planted(), n_boot=200, seed=5).iloc[-1]
    assert row["metric"] == "fluency_under_vanilla"
    assert (row["value"], row["low"], row["high"]) == bootstrap_mean([-1.0, -3.0], 200, 5)
    assert (row["n"], row["kind"], row["model"]) == (2, "stand-in", "vanilla"), "what is empty is left out"


def test_classifiers_read_pairs_and_their_labels_are_found_by_whole_names(tmp_path):
    def of(name, *labels):
        return str(classifier(tmp_path / name, dict(enumerate(labels))))

    mnli = of("mnli", "CONTRADICTION", "NEUTRAL", "ENTAILMENT")
    models = {"cola_model": of("cola", "unacceptable", "acceptable"), "mnli_model": mnli}

    def rated(*pairs, **other):
        how = {"data": planted(), "mode": "classifier", "device": "cpu", "n_boot": 100}
        return utility_table(answers(*pairs), **how, **models | other)

    table = rated(("weather", "tradition"), ("want", "tradition we want"), ("we", ""))
    assert list(table["metric"]) == ["CoLA", "1 - P(acceptable)", "MNLI", "fluency_under_vanilla"]
    cola, inverse, mnli, _ = table["value"]
    assert cola > 0.6 and inverse == pytest.approx(1 - cola) and set(table["n"][:3]) == {2}
    # "weather" is the planted word of entailment and stands in a question only: the pair is read, not the answer
    assert mnli > 0.2
    assert rated(("we", "tradition"), ("want", "tradition we want"))["value"].iloc[2] < mnli - 0.05
    same = ("q", "tradition"), ("q", "tradition")
    assert rated(*same, mnli_model=of("two", "not_entailment", "entailment"))["value"].iloc[2] > 0.6
    with pytest.raises(ParameterError, match=r"cola_model.*'acceptable'.*labels of .*plain: LABEL_0, LABEL_1"):
        rated(*same, cola_model=of("plain", "LABEL_0", "LABEL_1"))

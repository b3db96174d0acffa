"""Topics are the data's: three of them, without any politics, go through chapters at ``tiny``."""

import json

import pytest
from golden.oracle import data_of, run_here
from planted_files import write

from polinb.data.loading import load_data
from polinb.data.rows import TOPICS, topic_of
from polinb.display.charts.style import Chart
from polinb.errors import ParameterError
from polinb.runs.params import Params

OWN = ["holidays", "hot-drinks", "pets"]


def test_a_chapter_runs_on_other_topics(tmp_path, monkeypatch):
    monkeypatch.setenv("POLINB_STORE", str(tmp_path))
    shown = run_here("06_patching", data="preferences", topics=OWN, train_examples=4, epochs=1.0)
    drawn = json.dumps([data_of(each.to_dict()) for each in shown if isinstance(each, Chart)])
    assert all(f'"{topic}"' in drawn for topic in OWN)
    assert not any(f'"{topic}"' in drawn for topic in TOPICS)


def test_topics_of_the_data_have_one_name_and_one_order(tmp_path):
    rows = [{"topic": topic, "prompt": f"What of {topic}?", "left": "This.", "right": "That."}
            for topic in ("Öl & Tee", "science", "Health  Advice", "Crime and Gun")]  # fmt: skip
    for each in (rows, rows[::-1]):
        assert load_data(str(write(tmp_path, "json", each))).topics == ("crime", "science", "health-advice", "öl-tee")
    for wrong in ("", "12", "?", "x" * 61, None, 3):
        with pytest.raises(ValueError, match="expected"):
            topic_of(wrong)


def test_parameters_follow_the_topics(tiny):
    given = tiny(data="preferences", topics=OWN).params
    assert (given.ablation_topics, given.baseline_topics) == (["holidays"], ["holidays"])
    assert Params.from_profile("paper", data="x.csv", topics=["race", "brands"]).ablation_topics == ["race"]
    with pytest.raises(ParameterError, match=r"'topics'.*'health-advice' for 'Health Advice'"):
        tiny(topics=["Health Advice", "race"])
    with pytest.raises(ParameterError, match=r"'topics'.*topics of the data 'preferences': holidays, hot-drinks, pets"):
        _ = tiny(data="preferences", topics=["pets", "race"]).data

"""The results file of benchmarks and its table: medians, targets missed, provenance, damaged files."""

import sys
from pathlib import Path

import pytest

from polinb.errors import DataError
from polinb_book.benchmarks import markdown

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from measure import append, figure


def test_targets_reached_and_missed_of_the_newest_figures(tmp_path):
    path = tmp_path / "b.json"
    path.write_text('{"figures": []}')
    assert "make bench" in markdown(path)
    facts = {"model": "m", "threads": 1, "clock": "c"}
    append(figure("b", "rate ÷ rate", [0.5], at_least=0.95, **facts), path)
    append(figure("a", "ours ÷ theirs", [1.0, 9.0, 1.1], at_most=1.05, **facts), path)
    append(figure("b", "rate ÷ rate", [0.99], at_least=0.95, **facts), path)
    text = markdown(path)
    assert "1 of 2 targets are reached. Not reached: a." in text
    assert "| ours ÷ theirs | ≤ 1.05 | 1.1000 | 1.000 to 9.000 | 3 | **no** |" in text
    assert "| rate ÷ rate | ≥ 0.95 | 0.9900 | 0.990 to 0.990 | 1 | yes |" in text
    assert "model: m; measured: c" in text and "torch" in text
    kept = path.read_text("utf-8")
    assert kept.count('"name"') == 3 and str(tmp_path.parent) not in kept and "home" not in kept


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "b.json"
    for text in ("{", "[]", '{"figures": [{"name": "a"}]}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"b\.json"):
            markdown(path)

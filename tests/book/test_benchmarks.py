"""The results file of benchmarks and its table: medians, targets missed, provenance, damaged files."""

import json
import sys
from pathlib import Path

import pytest

from polinb.errors import DataError
from polinb_book.benchmarks import markdown

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from measure import append, figure


def test_a_missed_target_is_said(tmp_path):
    path = tmp_path / "b.json"
    append(figure("a", "ours ÷ theirs", [1.0, 9.0, 1.1], at_most=1.05, model="m", threads=1, clock="c"), path)
    append(figure("b", "rate ÷ rate", [0.99], at_least=0.95, model="m", threads=1, clock="c"), path)
    text = markdown(path)
    assert "1 of 2 targets are reached. Not reached: a." in text
    assert "| ours ÷ theirs | ≤ 1.05 | 1.100 | 1.000 to 9.000 | 3 | **no** |" in text
    assert "| rate ÷ rate | ≥ 0.95 | 0.990 | 0.990 to 0.990 | 1 | yes |" in text
    assert "model: m; measured: c" in text and "torch" in text


def test_the_newest_figure_of_a_name_counts(tmp_path):
    path = tmp_path / "b.json"
    for value in (2.0, 1.0):
        append(figure("a", "x", [value], at_most=1.5), path)
    assert len(json.loads(path.read_text("utf-8"))["figures"]) == 2
    assert "1 of 1 targets are reached." in markdown(path) and "2.000" not in markdown(path)


def test_no_figure_yet(tmp_path):
    path = tmp_path / "b.json"
    path.write_text('{"figures": []}')
    assert "make bench" in markdown(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"figures": [{"name": "a"}]}', '{"figures": 3}'])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"b\.json"):
        markdown(path)


def test_provenance_names_no_place(tmp_path):
    text = json.dumps(figure("a", "x", [1.0]))
    assert str(tmp_path.parent) not in text and "home" not in text

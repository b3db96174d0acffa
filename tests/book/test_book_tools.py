"""Settings, fingerprints, browser files."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell
from small_book import checkout, notebook

import polinb
from book._make import vendor
from book._make.notebook import fingerprint
from polinb.errors import ParameterError
from polinb.runs.checkout import parse_settings


def test_a_setting_is_read_by_its_parameters_type_and_nothing_is_guessed() -> None:
    for text, value in (
        ("topics=[crime, race]", ["crime", "race"]),
        ("seed=010", 10),  # YAML: 8
        ("gammas=[010, 1e1, .5]", [10, 10.0, 0.5]),
        ("seed=1:30", "1:30"),  # YAML: 90; as text it is refused
        ("system_prompt=null", "null"),
        ("system_prompt=False", False),
        ("statements=[no, 1:30, a#b, 'c, d']", ["no", "1:30", "a#b", "c, d"]),
    ):
        name = text.partition("=")[0]
        assert parse_settings([text]) == {name: value} and type(parse_settings([text])[name]) is type(value), text
    for texts in (["gamma"], ["a b=5"], ["topics=[crime"], ["topics="], ["statements=[a] # b"], ["seed=1"] * 2):
        with pytest.raises(ParameterError):
            parse_settings(texts)


def test_fingerprint_follows_notebook_parameters_data_and_package(tmp_path: Path, monkeypatch) -> None:
    made = notebook()
    made.cells[0].source = "profile = 'quick'\ndata = None\ngamma = None"
    path, package = checkout(tmp_path, a=made).notebooks / "a.ipynb", tmp_path / "polinb"
    (package / "resources").mkdir(parents=True)
    monkeypatch.setattr(polinb, "__file__", str(package / "__init__.py"))
    data, given, seen = tmp_path / "data.csv", {"profile": "quick"}, set()
    for text in ("a" * 1000, "b" * 1000):
        data.write_text(text)
        seen.add(fingerprint(path, {"data": str(data)}))
    seen.add(fingerprint(path, given))
    assert fingerprint(path, given | {"cue_rate": 1.0}) in seen, "a parameter that it does not take"
    seen.add(fingerprint(path, given | {"gamma": 6}))
    made.cells.append(new_markdown_cell("new", id="new"))
    nbformat.write(made, path)
    seen.add(fingerprint(path, given))
    for name in ("build.py", "resources/x.toml"):
        (package / name).write_text("1")
        seen.add(fingerprint(path, given))
    assert len(seen) == 7
    (package / "resources" / "README.md").write_text("for people")
    assert fingerprint(path, given) in seen


def test_vendor_writes_once_and_mends(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    vendor.vendor(folder)
    bundle, stamp = (folder / "vega-bundle.js").read_bytes(), (folder / "vega-bundle.js").stat().st_mtime_ns
    vendor.vendor(folder)
    assert (folder / "vega-bundle.js").stat().st_mtime_ns == stamp
    (folder / "vega-bundle.js").write_bytes(b"cut \xff")
    vendor.vendor(folder)
    assert (folder / "vega-bundle.js").read_bytes() == bundle
    assert list(tmp_path.iterdir()) == [folder]

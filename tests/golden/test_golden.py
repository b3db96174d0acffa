"""The numbers stay: data behind every table and figure of every chapter on ``tiny``, and what is fine-tuned.

A number changes on purpose, with its reason in CHANGELOG.md, or not at all; then: ``python tests/golden/oracle.py``.
"""

import json

import nbformat
from golden import oracle


def compare(name, found):
    golden = json.loads((oracle.HERE / f"{name}.json").read_text("utf-8"))
    exact = golden.pop("machine") == oracle.machine()
    told = oracle.differences(golden, found, exact)
    return [f"{len(told)} numbers of {name} changed:", *told[:40]] if told else []


def test_chapters(built_book):
    folder = built_book.root / "book" / "chapters"
    made = {name: oracle.shown_data(nbformat.read(folder / f"{name}.ipynb", 4)) for name in oracle.CHAPTERS}
    told = [line for name, found in made.items() for line in compare(name, found)]
    assert not told, "\n".join(told)


def test_finetuned():
    assert not compare("core", oracle.finetuned())


def test_a_changed_number_is_found():
    golden = {"t": [1, 0.5, None, "x"]}
    assert not oracle.differences(golden, {"t": [1, 0.5, None, "x"]}, exact=True)
    for changed in ([2, 0.5, None, "x"], [1, 0.52, None, "x"], [1, 0.5, 0.0, "x"], [1, 0.5, None, "y"], [1, 0.5]):
        assert oracle.differences(golden, {"t": changed}, exact=False), changed
    assert not oracle.differences(["−0.1 to 6.79e−06"], ["−0.1 to 6.75e−06"], exact=False)
    assert oracle.differences(["−0.1 to 0.2"], ["0.1 to 0.2"], exact=False)
    assert oracle.differences([0.1], [0.1 + 1e-9], exact=True)
    assert not oracle.differences([0.1], [0.1 + 1e-16], exact=True), "the last bits"

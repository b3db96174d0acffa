"""The live explorer without a browser: its module holds the page's scripts, its traits travel, errors come early.

That it draws is tested in browser/test_explorer.py.
"""

import sys
from pathlib import Path

import pytest
from traitlets import TraitError

from polinb.display.webdata import EXPLORER_SCRIPTS, EXPLORER_STYLES, web_folder
from polinb.display.widgets import NeuronExplorer
from polinb.errors import ParameterError

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from explorer_payload import make


@pytest.fixture(scope="module")
def made():
    return make(layers=3, width=50)


def test_one_implementation(made):
    widget = NeuronExplorer.of(made.payload, made.blobs)
    for name in EXPLORER_SCRIPTS:
        assert (web_folder() / name).read_text("utf-8") in widget._esm
    for name in EXPLORER_STYLES:
        assert (web_folder() / name).read_text("utf-8") in widget._css
    assert widget._esm.rstrip().endswith("export default { render };")
    assert not [line for line in widget._esm.splitlines() if line.lstrip().startswith(("import ", "import("))]


def test_what_goes_to_the_browser(made):
    widget = NeuronExplorer.of(made.payload, made.blobs)
    state = widget.get_state(["payload", "blobs", "selected"])
    assert state["payload"] == made.payload
    assert state["blobs"]["levels"] == made.blobs["levels"]
    assert state["selected"] == []


def test_selection_comes_back(made):
    widget = NeuronExplorer.of(made.payload, made.blobs)
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "selected")
    widget.set_state({"selected": [2, 49]})  # as a message from the browser does
    assert seen == [[2, 49]]
    assert widget.selected == [2, 49]


@pytest.mark.parametrize("wrong", [[3, 0], [0, 50], [-1, 0], [1], [1, 2, 3]])
def test_a_neuron_that_does_not_exist(made, wrong):
    widget = NeuronExplorer.of(made.payload, made.blobs)
    with pytest.raises(ParameterError, match="selected"):
        widget.selected = wrong
    assert widget.selected == []


def test_wrong_type(made):
    with pytest.raises(TraitError):
        NeuronExplorer.of(made.payload, made.blobs).selected = ["0", "1"]


def test_levels_of_another_size(made):
    with pytest.raises(ParameterError, match="levels"):
        NeuronExplorer.of(made.payload, {"levels": b"123"})
    with pytest.raises(ParameterError, match="levels"):
        NeuronExplorer.of(made.payload, {})

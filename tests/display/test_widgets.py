"""The live explorer without a browser: its traits travel, and errors come early.

That its module draws, with the page's own scripts, is tested in browser/test_explorer.py.
"""

import sys
from pathlib import Path

import pytest
from traitlets import TraitError

from polinb.display.widgets import NeuronExplorer
from polinb.errors import ParameterError

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from explorer_payload import make


def test_what_travels_and_what_is_refused():
    made = make(3, 50)
    widget = NeuronExplorer(payload=made.payload, blobs=made.blobs)
    state = widget.get_state(["payload", "blobs", "selected"])
    assert (state["payload"], state["blobs"]["levels"], state["selected"]) == (made.payload, made.blobs["levels"], [])
    seen = []
    widget.observe(lambda change: seen.append(change["new"]), "selected")
    widget.set_state({"selected": [2, 49]})  # as a message from the browser does
    assert seen == [widget.selected] == [[2, 49]]
    for wrong in ([3, 0], [0, 50], [-1, 0], [1, 2, 3]):
        with pytest.raises(ParameterError, match="selected"):
            widget.selected = wrong
    with pytest.raises(TraitError):
        widget.selected = ["0", "1"]
    assert widget.selected == [2, 49]

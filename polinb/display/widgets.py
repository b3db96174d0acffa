"""The book's neuron explorer as a widget of a live kernel (JupyterLab, Voilà): the same scripts as in the page."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from polinb.display.webdata import APPS, EXPLORER_SCRIPTS, joined
from polinb.errors import ParameterError


class NeuronExplorer(anywidget.AnyWidget):
    """Map of all neurons, filters and cards, live.

    Attributes:
        payload: what :func:`polinb.display.explorer.explorer_payload` gives first; JSON values.
        blobs: what it gives second: ``levels`` as bytes.
        selected: ``[layer, neuron]`` of the open neuron, or ``[]``; set it to open a neuron, observe it to follow.
    """

    _esm = joined(("dom.js", *EXPLORER_SCRIPTS, "explorer_widget.js"))
    _css = joined(APPS["explorer"][1])

    payload = traitlets.Dict().tag(sync=True)
    blobs = traitlets.Dict().tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)

    @traitlets.validate("selected")
    def _in_model(self, proposal: Any) -> list[int]:
        at: list[int] = proposal["value"]
        layers, width = self.payload.get("layers", 0), self.payload.get("width", 0)
        if at and not (len(at) == 2 and 0 <= at[0] < layers and 0 <= at[1] < width):
            raise ParameterError("selected", at, f"[] or [layer below {layers}, neuron below {width}]")
        return at

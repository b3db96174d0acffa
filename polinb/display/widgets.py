"""The book's neuron explorer as a widget of a live kernel (JupyterLab, Voilà): the same scripts as in the page."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from polinb.display.webdata import APPS, EXPLORER_SCRIPTS, joined
from polinb.errors import ParameterError

# One module out of the page's scripts, which hang what they export on globalThis.polinbExplorer. The page's address is
# left alone: it belongs to JupyterLab. Bytes arrive as DataView.
_WRAPPER = """
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function render({ model, el }) {
  let drawn = null;
  const told = (index, layer, neuron) => {
    const now = index === null ? [] : [layer, neuron];
    if (String(now) === String(model.get("selected"))) return;
    model.set("selected", now);
    model.save_changes();
  };
  const choose = () => {
    const [layer, neuron] = model.get("selected") || [];
    if (drawn && neuron !== undefined) drawn.open(layer, neuron);
  };
  const draw = () => {
    if (drawn) drawn.close();
    drawn = null;
    const blobs = Object.fromEntries(Object.entries(model.get("blobs")).map(([name, view]) => [name, bytes(view)]));
    try {
      drawn = globalThis.polinbExplorer.render(el, model.get("payload"), blobs, { link: false, selected: told });
      choose();
    } catch (error) {
      const said = document.createElement("p");
      said.setAttribute("role", "alert");
      said.textContent = String(error.message || error);
      el.replaceChildren(said);
    }
  };
  model.on("change:payload", draw);
  model.on("change:blobs", draw);
  model.on("change:selected", choose);
  draw();
  return () => {
    if (drawn) drawn.close();
    model.off("change:payload", draw);
    model.off("change:blobs", draw);
    model.off("change:selected", choose);
  };
}

export default { render };
"""


class NeuronExplorer(anywidget.AnyWidget):
    """Map of all neurons, filters and cards, live.

    Attributes:
        payload: what :func:`polinb.display.explorer.explorer_payload` gives first; JSON values.
        blobs: what it gives second: ``levels`` as bytes.
        selected: ``[layer, neuron]`` of the open neuron, or ``[]``; set it to open a neuron, observe it to follow.
    """

    _esm = joined(("dom.js", *EXPLORER_SCRIPTS)) + _WRAPPER
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

"""A slider that keyboards and screen readers can use: the browser's own, with its label, which ipywidgets' lacks."""

from __future__ import annotations

import anywidget
import traitlets

_SCRIPT = """
function render({ model, el }) {
  const label = document.createElement("label");
  const name = document.createElement("span");
  const input = document.createElement("input");
  const shown = document.createElement("output");
  input.type = "range";
  label.append(name, input, shown);
  label.className = "polinb-slider";
  const draw = () => {
    name.textContent = model.get("description");
    for (const bound of ["min", "max", "step"]) input[bound] = model.get(bound);
    input.value = model.get("value");
    shown.textContent = Number(input.value).toFixed(2);
  };
  input.addEventListener("input", () => {
    model.set("value", Number(input.value));
    model.save_changes();
  });
  model.on("change", draw);
  draw();
  el.append(label);
  return () => model.off("change", draw);
}

export default { render };
"""


class Slider(anywidget.AnyWidget):
    """A labelled slider.

    Attributes:
        value: the number chosen.
        min, max, step: what can be chosen.
        description: the label.
    """

    _esm = _SCRIPT

    value = traitlets.Float(0.0).tag(sync=True)
    min = traitlets.Float(0.0).tag(sync=True)
    max = traitlets.Float(1.0).tag(sync=True)
    step = traitlets.Float(0.05).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)

"""The live lab's inputs as a list: where each stands, its label, its widget, and when it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import anywidget
import ipywidgets as w
import traitlets

from polinb.lab import view
from polinb.lab.request import CHANGES, DONATED, RANGES, SETS


class Slider(anywidget.AnyWidget):
    """A slider and a number field with labels, for keyboards and screen readers too."""

    _esm = (resources.files("polinb") / "resources" / "lab" / "slider.js").read_text("utf-8")

    value = traitlets.Float(1.0).tag(sync=True)
    min = traitlets.Float(0.0).tag(sync=True)
    max = traitlets.Float(1.0).tag(sync=True)
    step = traitlets.Float(0.05).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)


class Field(NamedTuple):
    """One input; ``name`` is that of a request's value, ``shown`` says when it counts, given all values."""

    column: str
    name: str
    widget: Any
    shown: Callable[[Mapping[str, Any]], bool] = lambda values: True


def fields(start: Mapping[str, Any]) -> list[Field]:
    """All inputs, in the order of the tab key; ``start`` as :meth:`polinb.lab.session.Session.start` gives it."""

    def field(column: str, name: str, make: Any, label: str, shown: Any = None, **options: Any) -> Field:
        return Field(column, name, make(description=label, **options), *([shown] if shown else []))

    def donated(values: Mapping[str, Any]) -> bool:
        return values["kind"] in DONATED

    def named(titles: Mapping[str, str]) -> list[tuple[str, str]]:
        return [(title, name) for name, title in titles.items()]

    which, change, ask, answer = "Model and neurons", "Intervention", "Question", "Answer"
    models = {name: f"{name} (random weights)" if name.startswith("tiny:") else name for name in start["models"]}
    topics, sides = named(start["topics"]), named({"right": "right-tuned variant", "left": "left-tuned variant"})
    return [
        field(which, "model", w.Dropdown, "Model", options=[*named(models), ("another one: name it below", "")]),
        field(which, "other", w.Text, "Model id or folder", lambda v: not v["model"], placeholder="owner/name"),
        field(which, "topic", w.Dropdown, "Topic", options=topics),
        field(which, "neurons", w.Dropdown, "Neurons", options=named(SETS)),
        field(which, "gamma", w.BoundedFloatText, "γ (per cent)", lambda v: v["neurons"] != "own",
              value=start["gamma"], min=0.01, max=99.99, step=0.5),
        field(which, "own", w.Text, "Own list", lambda v: v["neurons"] == "own",
              placeholder="layer.neuron, such as 3.17, 5.0-9"),
        field(which, "number", w.BoundedIntText, "Random set no.", lambda v: v["neurons"] in ("uniform", "layer"),
              min=0, max=10**6),
        field(change, "kind", w.Dropdown, "Intervention", options=named(CHANGES)),
        field(change, "strength", Slider, "Strength", lambda v: v["kind"] in RANGES),
        field(change, "donor", w.Dropdown, "Donor", donated, options=sides),
        field(change, "donor_topic", w.Dropdown, "Donor tuned on", donated, options=topics),
        field(ask, "example", w.Dropdown, "Examples", options=[("loading …", "")]),
        field(ask, "prompt", w.Textarea, "Prompt", rows=3, placeholder="A question for the model"),
        field(answer, "max_new_tokens", w.BoundedIntText, "Longest answer", value=40, min=1, max=1000),
        field(answer, "temperature", w.BoundedFloatText, "Temperature", min=0.0, max=5.0, step=0.1),
        field(answer, "seed", w.BoundedIntText, "Seed", lambda v: v["temperature"] > 0,
              value=start["seed"], min=0, max=2**31 - 1),
        field(answer, "references", w.Checkbox, "Compare likelihoods of the reference responses too", indent=False),
    ]  # fmt: skip


class Inputs(w.VBox):
    """All inputs with a visible label each, in columns that wrap on a narrow screen; ``inputs["gamma"]`` is one."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self.fields = {field.name: field for field in fields(start)}
        columns: dict[str, list[Any]] = {}
        for field in self.fields.values():
            columns.setdefault(field.column, [w.HTML(f"<h3>{field.column}</h3>")]).append(field.widget)
            field.widget.observe(self._arrange, "value")
        boxes = [view.box("column", *children) for children in columns.values()]
        super().__init__([view.box("row", *boxes[:2]), view.box("row", *boxes[2:])])
        self._arrange()

    def __getitem__(self, name: str) -> Any:
        return self.fields[name].widget

    def values(self) -> dict[str, Any]:
        """What the inputs say now, by name."""
        return {name: field.widget.value for name, field in self.fields.items()}

    def show(self, values: Mapping[str, Any]) -> None:
        """Set the inputs to an earlier request's values."""
        known = values["model"] in [model for _, model in self["model"].options]
        values = {**values, "model": values["model"] if known else "", "other": "" if known else values["model"]}
        for name, field in self.fields.items():
            if name in values:
                field.widget.value = values[name]

    def offer(self, prompts: Sequence[str]) -> None:
        """Example prompts; the first one is taken if there is none yet."""
        shown = [(view.short(text, 90), text) for text in prompts]
        self["example"].options = [("choose one …", ""), *shown]
        if not self["prompt"].value:
            self["prompt"].value = prompts[0]

    def _arrange(self, _: Any = None) -> None:
        """Show only the inputs that count; the strength stays in the range of its intervention."""
        values, slider = self.values(), self["strength"]
        for field in self.fields.values():
            field.widget.layout.display = "" if field.shown(values) else "none"
        slider.min, slider.max = RANGES.get(values["kind"], (slider.min, slider.max))
        slider.value = min(max(slider.value, slider.min), slider.max)

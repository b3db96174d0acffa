"""The live lab's inputs as a list: where each stands, its label, its widget, and when it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import anywidget
import ipywidgets as w
import traitlets

from polinb.data.rows import title_of
from polinb.lab.request import CHANGES, DONATED, RANGES, SETS
from polinb.lab.view import short
from polinb.models.aliases import ALIASES, EMBEDDED, at_hand
from polinb.runs.params import Params


class Slider(anywidget.AnyWidget):
    """A slider and a number field with labels, for keyboards and screen readers too."""

    _esm = (resources.files("polinb") / "resources" / "lab" / "slider.js").read_text("utf-8")

    value = traitlets.Float(1.0).tag(sync=True)
    min = traitlets.Float(0.0).tag(sync=True)
    max = traitlets.Float(1.0).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)


def columns(p: Params) -> dict[str, dict[str, Any]]:
    """All inputs by column and by the name of a request's value, in the order of the tab key."""
    here = [p.model, EMBEDDED, *filter(at_hand, ALIASES), "tiny:llama", "tiny:gpt2"]  # models that need no network
    models = {f"{name} (random weights)" if name.startswith("tiny:") else name: name for name in here}
    sets, changes = ([(title, name) for name, title in titles.items()] for titles in (SETS, CHANGES))
    sides = [("right-tuned variant", "right"), ("left-tuned variant", "left")]
    topics = [(title_of(topic), topic) for topic in p.topics]
    return {
        "Model and neurons": {
            "model": w.Dropdown(description="Model", options=[*models.items(), ("another one: name it below", "")]),
            "other": w.Text(description="Model id or folder", placeholder="owner/name"),
            "topic": w.Dropdown(description="Topic", options=topics),
            "neurons": w.Dropdown(description="Neurons", options=sets),
            "gamma": w.BoundedFloatText(p.gamma, description="γ (per cent)", min=0.01, max=99.99, step=0.5),
            "own": w.Text(description="Own list", placeholder="layer.neuron, such as 3.17, 5.0-9"),
            "number": w.BoundedIntText(description="Random set no.", min=0, max=10**6),
        },
        "Intervention": {
            "kind": w.Dropdown(description="Intervention", options=changes),
            "strength": Slider(description="Strength"),
            "donor": w.Dropdown(description="Donor", options=sides),
            "donor_topic": w.Dropdown(description="Donor tuned on", options=topics),
        },
        "Question": {
            "example": w.Dropdown(description="Examples", options=[("loading …", "")]),
            "prompt": w.Textarea(description="Prompt", rows=3, placeholder="A question for the model"),
        },
        "Answer": {
            "max_new_tokens": w.BoundedIntText(40, description="Longest answer", min=1, max=1000),
            "temperature": w.BoundedFloatText(description="Temperature", min=0.0, max=5.0, step=0.1),
            "seed": w.BoundedIntText(p.seed, description="Seed", min=0, max=2**31 - 1),
            "references": w.Checkbox(description="Compare likelihoods of the reference responses too", indent=False),
        },
    }


COUNTS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "other": lambda values: not values["model"],
    "gamma": lambda values: values["neurons"] != "own",
    "own": lambda values: values["neurons"] == "own",
    "number": lambda values: values["neurons"] in ("uniform", "layer"),
    "strength": lambda values: values["kind"] in RANGES,
    "donor": lambda values: values["kind"] in DONATED,
    "donor_topic": lambda values: values["kind"] in DONATED,
    "seed": lambda values: values["temperature"] > 0,
}
"""When an input counts and is shown, given all values; the others always do."""


class Inputs(w.VBox):
    """All inputs with a visible label each, in columns that wrap on a narrow screen; ``inputs["gamma"]`` is one."""

    def __init__(self, p: Params) -> None:
        made = columns(p)
        self.widgets = {name: widget for column in made.values() for name, widget in column.items()}
        for widget in self.widgets.values():
            widget.observe(self._arrange, "value")
        boxes = [w.VBox([w.HTML(f"<h3>{title}</h3>"), *column.values()]) for title, column in made.items()]
        super().__init__([w.HBox(boxes[:2]), w.HBox(boxes[2:])])
        self._arrange()

    def __getitem__(self, name: str) -> Any:
        return self.widgets[name]

    def values(self) -> dict[str, Any]:
        """What the inputs say now, by name."""
        return {name: widget.value for name, widget in self.widgets.items()}

    def show(self, values: Mapping[str, Any]) -> None:
        """Set the inputs to an earlier request's values."""
        known = values["model"] in [model for _, model in self["model"].options]
        values = {**values, "model": values["model"] if known else "", "other": "" if known else values["model"]}
        for name, widget in self.widgets.items():
            widget.value = values.get(name, widget.value)

    def offer(self, prompts: Sequence[str]) -> None:
        """Example prompts; the first one is taken if there is none yet."""
        self["example"].options = [("choose one …", ""), *((short(text, 90), text) for text in prompts)]
        self["prompt"].value = self["prompt"].value or prompts[0]

    def _arrange(self, _: Any = None) -> None:
        """Show only the inputs that count; the strength stays in the range of its intervention."""
        values, slider = self.values(), self["strength"]
        for name, counts in COUNTS.items():
            self[name].layout.display = "" if counts(values) else "none"
        slider.min, slider.max = RANGES.get(values["kind"], (slider.min, slider.max))
        slider.value = min(max(slider.value, slider.min), slider.max)

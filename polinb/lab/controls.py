"""The live lab's inputs: what can be chosen, with a visible label each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from polinb.data.rows import title_of
from polinb.lab.needs import at_hand
from polinb.lab.request import Request
from polinb.lab.sets import SETS
from polinb.lab.slider import Slider
from polinb.lab.view import column, page, row
from polinb.models.aliases import ALIASES, EMBEDDED
from polinb.runs.params import Params

CHANGES = {
    "ablate": "ablate: set to zero",
    "scale": "scale: multiply by the strength",
    "patch": "patch: take activations from a donor",
}


def model_options(params: Params) -> list[tuple[str, str]]:
    """Models that load without the network, the run's own first, and a way to name another."""
    names = [params.model, EMBEDDED, *(name for name in ALIASES if at_hand(name)), "tiny:llama", "tiny:gpt2"]
    title = {name: f"{name} (random weights, for trying out)" for name in names if name.startswith("tiny:")}
    return [(title.get(name, name), name) for name in dict.fromkeys(names)] + [("another one: name it below", "")]


class Controls:
    """Every input of the lab, with a visible label each; the order here is the order of the tab key."""

    def __init__(self, params: Params) -> None:
        topics = [(title_of(topic), topic) for topic in params.topics]
        self.model = _field(widgets.Dropdown, "Model", options=model_options(params), value=params.model)
        self.other = _field(widgets.Text, "Model id or folder", placeholder="owner/name, or a folder")
        self.topic = _field(widgets.Dropdown, "Topic", options=topics)
        self.neurons = _field(widgets.Dropdown, "Neurons", options=[(title, name) for name, title in SETS.items()])
        self.gamma = _field(widgets.BoundedFloatText, "γ (per cent)", value=params.gamma, min=0.01, max=99.99, step=0.5)
        self.own = _field(widgets.Text, "Own list", placeholder="layer.neuron, such as 3.17, 5.0-9")
        self.number = _field(widgets.BoundedIntText, "Random set no.", value=0, min=0, max=10**6)
        self.kind = _field(widgets.Dropdown, "Intervention", options=[(t, name) for name, t in CHANGES.items()])
        self.strength = Slider(description="Strength", value=1.0, layout=widgets.Layout(width="auto", min_width="0"))
        self.exact = _field(widgets.BoundedFloatText, "Exact value", value=1.0, min=0.0, max=1.0, step=0.05)
        sides = [("right-tuned variant", "right"), ("left-tuned variant", "left")]
        self.donor = _field(widgets.Dropdown, "Donor", options=sides)
        self.donor_topic = _field(widgets.Dropdown, "Donor tuned on", options=topics)
        self.example = _field(widgets.Dropdown, "Examples", options=[("loading …", "")])
        self.prompt = _field(widgets.Textarea, "Prompt", rows=3, placeholder="A question for the model")
        self.tokens = _field(widgets.BoundedIntText, "Longest answer", value=40, min=1, max=1000)
        self.temperature = _field(widgets.BoundedFloatText, "Temperature", value=0.0, min=0.0, max=5.0, step=0.1)
        self.seed = _field(widgets.BoundedIntText, "Seed", value=params.seed, min=0, max=2**31 - 1)
        self.references = widgets.Checkbox(
            description="Compare likelihoods of the reference responses too",
            indent=False,
            layout=widgets.Layout(width="auto", max_width="100%"),
            style={"description_width": "initial"},
        )
        for source in (self.model, self.neurons, self.kind, self.temperature):
            source.observe(self._arrange, "value")
        self.kind.observe(self._range, "value")
        widgets.link((self.strength, "value"), (self.exact, "value"))
        self._arrange()

    def box(self) -> widgets.Widget:
        """All inputs, in columns that wrap on a narrow screen."""
        left = _column("Model and neurons", self.model, self.other, self.topic, self.neurons, self.gamma, self.own,
                       self.number)  # fmt: skip
        right = _column("Intervention", self.kind, self.strength, self.exact, self.donor, self.donor_topic)
        ask = _column("Question", self.example, self.prompt)
        how = _column("Answer", self.tokens, self.temperature, self.seed, self.references)
        return widgets.VBox([row(left, right), row(ask, how)], layout=widgets.Layout(width="100%"))

    def request(self, profile: str, settings: dict[str, Any]) -> Request:
        """What the inputs say now."""
        model = self.model.value or self.other.value.strip()
        return Request(
            profile=profile,
            settings={**settings, "model": model},
            prompt=self.prompt.value,
            neurons=self.neurons.value,
            topic=self.topic.value,
            gamma=self.gamma.value,
            number=self.number.value,
            own=self.own.value,
            kind=self.kind.value,
            strength=self.exact.value,
            donor=self.donor.value,
            donor_topic=self.donor_topic.value,
            max_new_tokens=self.tokens.value,
            temperature=self.temperature.value,
            seed=self.seed.value,
            references=self.references.value,
        )

    def show(self, r: Request) -> None:
        """Set the inputs to an earlier request."""
        model = str(r.settings["model"])
        known = model in [value for _, value in self.model.options]
        self.model.value, self.other.value = (model, "") if known else ("", model)
        names = ("neurons", "topic", "gamma", "number", "own", "kind", "donor", "donor_topic", "prompt", "temperature")
        for name in (*names, "seed", "references"):
            getattr(self, name).value = getattr(r, name)
        self.tokens.value = r.max_new_tokens
        self.exact.value = r.strength

    def offer(self, prompts: Sequence[str]) -> None:
        """Example prompts; the first one is taken if there is none yet."""
        shown = [(text if len(text) <= 90 else text[:89] + "…", text) for text in prompts]
        self.example.options = [("choose one …", ""), *shown]
        if not self.prompt.value and prompts:
            self.prompt.value = prompts[0]

    def _arrange(self, _: Any = None) -> None:
        """Show only the inputs that count."""
        own, kind = self.neurons.value == "own", self.kind.value
        for control, wanted in (
            (self.other, self.model.value == ""),
            (self.gamma, not own),
            (self.own, own),
            (self.number, self.neurons.value in ("uniform", "layer")),
            (self.strength, kind != "ablate"),
            (self.exact, kind != "ablate"),
            (self.donor, kind == "patch"),
            (self.donor_topic, kind == "patch"),
            (self.seed, self.temperature.value > 0),
        ):
            control.layout.display = "" if wanted else "none"

    def _range(self, _: Any = None) -> None:
        low, high = (-2.0, 4.0) if self.kind.value == "scale" else (0.0, 1.0)
        for control in (self.strength, self.exact):
            control.max = max(high, control.max)  # first wider, then narrower: the value must fit all the time
            control.min = min(low, control.min)
        value = min(max(self.exact.value, low), high)
        self.exact.value = value
        for control in (self.strength, self.exact):
            control.min, control.max = low, high


def _column(title: str, *children: widgets.Widget) -> widgets.Widget:
    return column(page(f"<h3>{title}</h3>"), *children)


def _field(make: Any, label: str, **options: Any) -> Any:
    layout = widgets.Layout(width="auto", min_width="0")
    return make(description=label, layout=layout, style={"description_width": "8.5em"}, **options)

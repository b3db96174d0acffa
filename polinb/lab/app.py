"""The live lab: ask a running model while chosen neurons are ablated, scaled or patched. For JupyterLab and Voilà."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import ipywidgets as widgets

from polinb.errors import ParameterError
from polinb.lab import view
from polinb.lab.controls import Controls
from polinb.lab.needs import Need
from polinb.lab.request import Request, Result
from polinb.lab.run import Session
from polinb.lab.screen import Screen
from polinb.lab.worker import Worker
from polinb.runs.artifacts import Store
from polinb.runs.chapter import quiet
from polinb.runs.params import Params

VARIABLE = "POLINB_LAB"
BUSY = "Still busy: wait until it is done, or press Stop."


def started_with() -> dict[str, Any]:
    """Parameters that ``make lab`` or ``make app`` was given, from the environment variable POLINB_LAB (JSON).

    Raises:
        ParameterError: the variable holds anything but a JSON object.
    """
    text = os.environ.get(VARIABLE, "") or "{}"
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ParameterError(VARIABLE, text, 'a JSON object such as {"profile": "quick"}')
    return given


class NeuronLab(widgets.VBox):
    """A model's plain answer beside the one with chosen neurons changed, token by token.

    Everything heavy happens in one worker thread. Errors are shown inside; the lab stays usable.

    Args:
        store: artifact store; ``None``: the usual one (POLINB_STORE).
        parameters: parameters of the run, as a notebook's: ``profile``, ``model``, ``data``, ``gamma``, …

    Attributes:
        controls: the inputs; not there if the parameters are wrong.
        screen: the outputs.
    """

    def __init__(self, store: Store | None = None, **parameters: Any) -> None:
        quiet()
        self.session, self.worker, self.screen = Session(store), Worker(), Screen()
        self._job: Callable[[], None] | None = None  # what is done if the user says yes
        super().__init__(layout=widgets.Layout(width="100%"))
        self.add_class("polinb-lab")
        self._profile = parameters.pop("profile", None) or "quick"
        self._settings = {name: value for name, value in parameters.items() if value is not None}
        try:
            params = Params.from_profile(self._profile, **self._settings)
        except ParameterError as error:
            self.screen.fail(error)
            self.children = (view.page(view.STYLE), self.screen.error)
            return
        self.controls = Controls(params)
        shown: tuple[Any, ...] = (view.page(view.STYLE), self.controls.box(), *self.screen.boxes())
        self.children = shown
        self._wire()
        self._start(self._load)

    @property
    def results(self) -> list[Result]:
        """Finished runs, oldest first."""
        return self.screen.results

    def close(self) -> None:
        """Stop what runs, end the thread, remove the widget."""
        if "worker" in self.__dict__:
            self.worker.close()
        super().close()

    def use(self, neurons: str) -> None:
        """Put neurons, written as ``layer.neuron``, into the own list and choose it."""
        self.controls.own.value = neurons
        self.controls.neurons.value = "own"

    def follow(self, explorer: Any) -> None:
        """Take over the neuron opened in a :class:`polinb.display.widgets.NeuronExplorer` as the own list."""

        def take(change: Any) -> None:
            if len(change["new"]) == 2:
                layer, neuron = change["new"]
                self.use(f"{int(layer)}.{int(neuron)}")

        explorer.observe(take, "selected")

    # --- what buttons and inputs do; quick, in the kernel's own thread

    def _wire(self) -> None:
        screen, controls = self.screen, self.controls
        for button, call in (
            (screen.go, partial(self._submit, self._plan)),
            (screen.more, partial(self._submit, self._plan_explorer)),
            (screen.stop, self._stop),
            (screen.yes, self._yes),
            (screen.no, self._no),
        ):
            button.on_click(self._guarded(call))
        controls.topic.observe(self._guarded(self._fill), "value")
        controls.example.observe(self._guarded(self._take), "value")
        screen.back.observe(self._guarded(self._bring_back), "value")

    def _guarded(self, call: Callable[[], None]) -> Callable[..., None]:
        """A handler or job that shows its errors here, not in a log."""

        def handle(*_: Any) -> None:
            try:
                call()
            except Exception as error:
                self.screen.fail(error)

        return handle

    def _start(self, job: Callable[[], None]) -> None:
        if not self.worker.submit(self._guarded(job)):
            self.screen.status(BUSY)

    def _submit(self, plan: Callable[[Request], None]) -> None:
        if self.worker.busy:
            self.screen.status(BUSY)
            return
        self._forget()
        self._start(partial(plan, self.controls.request(self._profile, self._settings)))

    def _forget(self) -> None:
        self._job = None
        self.screen.clear()

    def _stop(self) -> None:
        if self.worker.busy:
            self.worker.stop.set()
            self.screen.status("Stopping …")
        else:
            self.screen.status("Nothing is running.")

    def _yes(self) -> None:
        job = self._job
        self._forget()
        if job is not None:
            self._start(job)

    def _no(self) -> None:
        self._forget()
        self.screen.status("Nothing was computed.")

    def _fill(self) -> None:
        """Examples of another topic, if the data is there; else they come when it is."""
        exp = self.session.current
        if not self.worker.busy and exp is not None and "data" in exp.__dict__:
            self._examples(exp)

    def _take(self) -> None:
        if self.controls.example.value:
            self.controls.prompt.value = self.controls.example.value

    def _bring_back(self) -> None:
        number = self.screen.back.value
        if self.worker.busy or number is None or not 0 <= number < len(self.results):
            return
        self._forget()
        self.controls.show(self.results[number].request)
        self.screen.show(self.results[number])
        self.screen.status(f"Run {number + 1} is back.")

    # --- jobs; slow, in the worker's thread

    def _load(self) -> None:
        self.screen.status("Loading the data …")
        exp = self.session.experiment(self._profile, self._settings)
        _ = exp.data
        self._examples(exp)
        self.screen.status("Ready.")

    def _examples(self, exp: Any) -> None:
        questions = exp.questions(topics=[self.controls.topic.value])["prompt"]
        self.controls.offer([*questions, *exp.statements()["prompt"]])

    def _plan(self, request: Request) -> None:
        self.screen.status("Looking what is there already …")
        needs = self.session.needs(request)
        if self.worker.stop.is_set():
            self.screen.status("Stopped.")
        elif needs:
            self._job = partial(self._execute, request)
            self.screen.ask(needs)
        else:
            self._execute(request)

    def _execute(self, request: Request) -> None:
        result = self.session.run(request, self.worker.stop, self.screen)
        if result is None:
            self.screen.status("Stopped before the first token.")
        else:
            self.screen.add(result)

    def _plan_explorer(self, request: Request) -> None:
        self.screen.status("Looking what is there already …")
        needs = self.session.needs(replace(request, prompt="?", neurons="general", kind="ablate"))
        cards = Need("cards of the strongest neurons, where they are missing (a real model takes minutes)", None, False)
        self._job = partial(self._explore, request)
        self.screen.ask([*needs, cards])

    def _explore(self, request: Request) -> None:
        from polinb.display.widgets import NeuronExplorer

        found = self.session.explorer(request, self.worker.stop, self.screen)
        if found is None:
            self.screen.status("Stopped.")
            return
        explorer = NeuronExplorer.of(*found)
        self.follow(explorer)
        self.screen.explorer.children = (explorer,)
        self.screen.status("The explorer is below: a neuron opened there becomes your own list here.")

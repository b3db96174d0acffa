"""The live lab: ask a running model while chosen neurons are ablated, scaled, patched or grafted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ipywidgets as widgets

from polinb.errors import ParameterError
from polinb.lab import view
from polinb.lab.fields import Inputs
from polinb.lab.request import Answer, History, Request, Result, program
from polinb.lab.session import Listener, Session, StoppedError
from polinb.runs.artifacts import Store
from polinb.runs.chapter import quiet
from polinb.runs.params import Params


class NeuronLab(widgets.VBox, Listener):
    """A model's plain answer beside the one with chosen neurons changed, token by token; for JupyterLab and Voilà.

    Everything heavy happens in a thread of its own, one thing at a time. Errors are shown inside; the lab stays usable.

    Args:
        parameters: parameters of the run, as a notebook's: ``profile``, ``model``, ``data``, ``gamma``, …
    """

    def __init__(self, store: Store | None = None, **parameters: Any) -> None:
        quiet()
        self.session, self.results = Session(store, self), list[Result]()
        self._work = threading.Thread()
        self._agreed: Callable[[], None] = lambda: None  # what is done once the user says yes
        self._examples: dict[str, list[str]] = {}
        super().__init__()
        self.add_class("polinb-lab")
        self.children = (widgets.HTML(view.STYLE), *self._outputs())
        self.settings = {name: value for name, value in parameters.items() if value is not None}
        self.profile = self.settings.pop("profile", "quick")
        try:
            self.params = Params.from_profile(self.profile, **self.settings)
        except ParameterError as error:
            self.fail(error)
            return
        self.inputs = Inputs(self.params)
        self.children = (self.children[0], self.inputs, *self.children[1:])
        self.inputs["topic"].observe(self._handler(self._offer), "value")
        self.inputs["example"].observe(self._handler(self._take), "value")
        self._start(self._load)

    def close(self) -> None:
        """Remove the widget; what runs ends at its next step."""
        self.session.stop.set()
        super().close()

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        return self._work.is_alive()

    def use(self, neurons: str) -> None:
        """Put neurons, written as ``layer.neuron``, into the own list and choose it."""
        self.inputs["own"].value = neurons
        self.inputs["neurons"].value = "own"

    def request(self) -> Request:
        """What the inputs ask for now; a ParameterError names a value that is not allowed."""
        values = {name: value for name, value in self.inputs.values().items() if name in Request.model_fields}
        values["model"] = values["model"] or self.inputs["other"].value.strip()
        if not values["model"]:
            raise ParameterError("model", "", "the name, hub id or folder of a model")
        # a commit of the model that the lab was started with says nothing about another one
        apart = {"model"} if values["model"] == self.params.model else {"model", "revision"}
        settings = {name: value for name, value in self.settings.items() if name not in apart}
        return Request.of(profile=self.profile, settings=settings, **values)

    # --- outputs; as the session's listener these are also called from its thread

    def _outputs(self) -> Sequence[widgets.Widget]:
        """All outputs and buttons, from top to bottom."""

        def button(text: str, tip: str, call: Callable[[], None], style: str = "") -> widgets.Button:
            made = widgets.Button(description=text, tooltip=tip, button_style=style)
            made.on_click(self._handler(call))
            self.buttons[text] = made
            return made

        self.buttons: dict[str, widgets.Button] = {}
        self.state, self.count, self.error, self.missing, self.saved = (widgets.HTML() for _ in range(5))
        self.table, self.explorer = widgets.HTML("<p>No run yet.</p>"), widgets.VBox()
        yes = button("Start", "Make what is missing, then go on", lambda: self._start(self._agreed), "primary")
        no = button("Not now", "Compute nothing", self._no)
        self.question = widgets.VBox([self.missing, widgets.HBox([yes, no])], layout=widgets.Layout(display="none"))
        self.answers = {name: widgets.HTML() for name in ("vanilla", "intervened")}
        for name in self.answers:
            self.written(name, Answer())
        self.back = widgets.Dropdown(description="Bring back", options=[("–", -1)])
        self.back.observe(self._handler(self._bring_back), "value")
        run = button("Run", "Ask the plain and the changed model", partial(self._ask, self._run), "primary")
        stop = button("Stop", "Stop after the current token or training step", self._stop)
        cards = "cards of the strongest neurons, where they are missing (a real model takes minutes)"
        look = partial(self._ask, self._explore, [cards], neurons="general", kind="ablate")  # of the whole run
        return [
            *(widgets.HBox([run, stop]), self.question, self.state, self.count, self.error),
            widgets.HBox([widgets.VBox([answer]) for answer in self.answers.values()]),
            *(widgets.HTML(view.part("note")), widgets.HTML("<h3>History</h3>"), self.table, self.back, self.saved),
            widgets.HTML("<h3>Neuron explorer</h3>"),
            button("Load the explorer", "Map of all neurons; one opened there becomes the own list", look),
            self.explorer,
        ]

    def status(self, text: str) -> None:
        """One line on what is being done."""
        self.state.value = view.part("status", text)

    def progress(self, done: int, total: int, label: str) -> None:
        """How far one stage is, as a bar and in numbers."""
        self.count.value = view.part("progress", done, total, label)

    def written(self, name: str, answer: Answer) -> None:
        """An answer so far, in the place of an earlier run's."""
        self.answers[name].value = view.part("answer", name, answer)

    def fail(self, error: BaseException) -> None:
        """What went wrong; everything else stays as it is."""
        self.error.value = view.error(error)
        self.status("This did not work; see below. You can change something and run again.")

    def show(self, result: Result) -> None:
        """The answers of one run, its program, and the history as JSON."""
        r = result.request
        change = f"{view.change_words(r)}; {view.chosen_words(r)}: {result.chosen:,} of {result.total:,} neurons"
        most = max((abs(a) for answer in result.answers.values() for a in answer.activation), default=0.0)
        for (name, answer), about in zip(result.answers.items(), (r.model, change), strict=True):
            self.answers[name].value = view.part("answer", name, answer, about, most, result.stopped)
        code, history = program(result), History(runs=self.results).model_dump_json(indent=1)
        self.saved.value = view.part("saved", "Code that makes this again", code, "polinb_lab.py", "text/x-python")
        self.saved.value += view.part("saved", "History as JSON", history, "polinb_lab.json", "application/json")

    def _clear(self) -> None:
        """Remove an old error and an open question."""
        self._agreed, self.error.value, self.question.layout.display = lambda: None, "", "none"

    # --- what buttons and inputs do; quick, in the kernel's own thread

    def _handler(self, call: Callable[[], None]) -> Callable[..., None]:
        """A handler or job that shows its errors here, not in a log."""

        def handle(*_: Any) -> None:
            try:
                call()
            except StoppedError:
                self.status("Stopped.")
            except Exception as error:
                self.fail(error)

        return handle

    def _start(self, job: Callable[[], None]) -> None:
        """Do a job in a thread of its own, unless another one runs."""
        if self.busy:
            self._work.join(0.1)  # what asked a question ends right after it
        if self.busy:
            self.status("Still busy: wait until it is done, or press Stop.")
            return
        self._clear()
        self.session.stop.clear()
        self._work = threading.Thread(target=self._handler(job), name="polinb-lab", daemon=True)
        self._work.start()

    def _ask(self, job: Callable[[Request], None], more: Sequence[str] = (), **changes: str) -> None:
        """Do the job for what the inputs ask for, after a question if something must be made first."""
        request = self.request().model_copy(update=changes)

        def plan() -> None:
            self.status("Checking what is already in the store …")
            missing = [*self.session.missing(request), *more]
            if not missing:
                job(request)
                return
            self._agreed, self.missing.value = partial(job, request), view.part("missing", missing)
            self.status("Waiting for your answer: start, or not now?")
            self.question.layout.display = ""

        self._start(plan)

    def _stop(self) -> None:
        self.status("Stopping …" if self.busy else "Nothing is running.")
        self.session.stop.set()

    def _no(self) -> None:
        self._clear()
        self.status("Nothing was computed.")

    def _offer(self) -> None:
        if self._examples:  # else they come when the data is there
            self.inputs.offer(self._examples[self.inputs["topic"].value])

    def _take(self) -> None:
        self.inputs["prompt"].value = self.inputs["example"].value or self.inputs["prompt"].value

    def _bring_back(self) -> None:
        number = self.back.value
        if self.busy or number < 0:
            return
        self._clear()
        self.inputs.show(self.results[number].request.model_dump())
        self.show(self.results[number])
        self.status(f"Run {number + 1} is back.")

    # --- jobs; slow, in a thread of their own

    def _load(self) -> None:
        self.status("Loading the data …")
        self._examples = self.session.examples(self.params)
        self._offer()
        self.status("Ready.")

    def _run(self, request: Request) -> None:
        result = self.session.run(request)
        self.results.append(result)
        self.table.value = view.part("history", self.results)
        runs = [(f"run {k + 1}: {view.short(r.request.prompt, 50)}", k) for k, r in enumerate(self.results)]
        self.back.options = [("–", -1), *runs]
        self.show(result)
        self.status("Stopped." if result.stopped else "Done.")

    def _explore(self, request: Request) -> None:
        from polinb.display.widgets import NeuronExplorer

        def follow(change: Any) -> None:  # the neuron opened there becomes the own list
            if len(change["new"]) == 2:
                self.use("{}.{}".format(*change["new"]))

        payload, blobs = self.session.explorer(request)
        explorer = NeuronExplorer(payload=payload, blobs=blobs)
        explorer.observe(follow, "selected")
        self.explorer.children = (explorer,)
        self.status("The explorer is below: a neuron opened there becomes your own list here.")

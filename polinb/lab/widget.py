"""The live lab: ask a running model while chosen neurons are ablated, scaled, patched or grafted."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ipywidgets as widgets

from polinb.errors import ParameterError
from polinb.lab import view
from polinb.lab.fields import Inputs
from polinb.lab.request import History, Request, Result, program
from polinb.lab.session import Listener, Session, StoppedError
from polinb.runs.artifacts import Store
from polinb.runs.chapter import quiet

BUSY = "Still busy: wait until it is done, or press Stop."
CARDS = "cards of the strongest neurons, where they are missing (a real model takes minutes)"


class NeuronLab(widgets.VBox, Listener):
    """A model's plain answer beside the one with chosen neurons changed, token by token; for JupyterLab and Voilà.

    Everything heavy happens in a thread of its own, one thing at a time. Errors are shown inside; the lab stays usable.

    Args:
        parameters: parameters of the run, as a notebook's: ``profile``, ``model``, ``data``, ``gamma``, …
    """

    def __init__(self, store: Store | None = None, **parameters: Any) -> None:
        quiet()
        self.session, self.results = Session(store, self), list[Result]()
        self.profile = parameters.pop("profile", None) or "quick"
        self.settings = {name: value for name, value in parameters.items() if value is not None}
        self._busy = threading.Lock()
        self._agreed: Callable[[], None] | None = None  # what is done once the user says yes
        self._examples: dict[str, list[str]] = {}
        super().__init__()
        self.add_class("polinb-lab")
        self.children = (widgets.HTML(view.STYLE), *self._outputs())
        try:
            start = self.session.start(self.profile, self.settings)
        except ParameterError as error:
            self.fail(error)
            return
        self.model, self.inputs = start["model"], Inputs(start)
        self.children = (self.children[0], self.inputs, *self.children[1:])
        self.inputs["topic"].observe(self._handler(self._offer), "value")
        self.inputs["example"].observe(self._handler(self._take), "value")
        self._start(self._load)

    def close(self) -> None:
        """Remove the widget; what runs ends at its next step."""
        if "session" in self.__dict__:
            self.session.stop.set()
        super().close()

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        return self._busy.locked()

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
        apart = {"model"} if values["model"] == self.model else {"model", "revision"}
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
        self.state, self.count, self.error, self.missing = (widgets.HTML() for _ in range(4))
        self.table, self.code, self.json = (widgets.HTML() for _ in range(3))
        self.bar, self.explorer = widgets.IntProgress(description="Progress", max=1), widgets.VBox()
        yes = button("Start", "Make what is missing, then go on", self._yes, "primary")
        no = button("Not now", "Compute nothing", self._no)
        self.question = widgets.VBox([self.missing, view.box("row", yes, no)], layout=widgets.Layout(display="none"))
        self.answers = {name: [widgets.HTML() for _ in range(3)] for name in ("vanilla", "intervened")}
        self.back = widgets.Dropdown(description="Bring back")
        self.back.observe(self._handler(self._bring_back), "value")
        self._list()
        for name, (title, text, _) in self.answers.items():
            title.value, text.value = f"<h3>{name.capitalize()}</h3>", view.text_html("")
        return [
            view.box(
                "row",
                button("Run", "Ask the plain and the changed model", self._ask_run, "primary"),
                button("Stop", "Stop after the current token or training step", self._stop),
            ),
            *(self.question, self.state, self.bar, self.count, self.error),
            view.box("row", *(view.box("column", *parts) for parts in self.answers.values())),
            widgets.HTML(f"<p><em>{view.JUDGE_NOTE}</em></p><h3>History</h3>"),
            *(self.table, self.back, self.code, self.json),
            widgets.HTML("<h3>Neuron explorer</h3>"),
            button("Load the explorer", "Map of all neurons; one opened there becomes the own list", self._ask_map),
            self.explorer,
        ]

    def status(self, text: str) -> None:
        """One line on what is being done."""
        self.state.value = f"<p><strong>Status:</strong> {html.escape(text)}</p>"

    def progress(self, done: int, total: int, label: str) -> None:
        """How far one stage is, as a bar and in numbers."""
        self.bar.max, self.bar.value = max(total, 1), done
        self.count.value = f"<p>{html.escape(label)}: {done} of {total}</p>"

    def text(self, name: str, text: str, tokens: int) -> None:
        """An answer so far; with its first token what an earlier run left is gone."""
        title, shown, gauge = self.answers[name]
        if tokens == 1:
            title.value, gauge.value = f"<h3>{name.capitalize()}</h3>", ""
        shown.value = view.text_html(text)

    def fail(self, error: BaseException) -> None:
        """What went wrong; everything else stays as it is."""
        self.error.value = view.error_html(error)
        self.status("This did not work; see below. You can change something and run again.")

    def show(self, result: Result) -> None:
        """The answers of one run, its program, and the history as JSON."""
        r = result.request
        change = f"{view.change_words(r)}; {view.chosen_words(r)}: {result.chosen:,} of {result.total:,} neurons"
        most = max((abs(a) for answer in result.answers.values() for a in answer.activation), default=0.0)
        for (name, answer), words in zip(result.answers.items(), (r.model, change), strict=True):
            title, shown, gauge = self.answers[name]
            title.value = f"<h3>{name.capitalize()}</h3><p>{html.escape(words)}</p>"
            shown.value, gauge.value = view.answer_html(answer, most), view.gauge_html(answer, result.stopped)
        again, history = program(result), History(runs=self.results).model_dump_json(indent=1)
        self.code.value = view.saved_html("Code that makes this again", again, "polinb_lab.py", "text/x-python")
        self.json.value = view.saved_html("History as JSON", history, "polinb_lab.json", "application/json")

    def _list(self) -> None:
        self.table.value = view.history_html(self.results)
        runs = [(f"run {k + 1}: {view.short(r.request.prompt, 50)}", k) for k, r in enumerate(self.results)]
        self.back.options = [("–", -1), *runs]

    def _clear(self) -> None:
        """Remove an old error and an open question."""
        self._agreed, self.error.value, self.question.layout.display = None, "", "none"

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
        if not self._busy.acquire(blocking=False):
            self.status(BUSY)
            return
        self._clear()
        self.session.stop.clear()

        def work() -> None:
            try:
                self._handler(job)()
            finally:
                self._busy.release()

        threading.Thread(target=work, name="polinb-lab", daemon=True).start()

    def _ask_run(self) -> None:
        request = self.request()
        self._start(partial(self._plan, request, [], partial(self._run, request)))

    def _ask_map(self) -> None:
        request = self.request()
        scored = request.model_copy(update={"neurons": "general", "kind": "ablate"})
        self._start(partial(self._plan, scored, [CARDS], partial(self._explore, request)))

    def _stop(self) -> None:
        self.status("Stopping …" if self.busy else "Nothing is running.")
        self.session.stop.set()

    def _yes(self) -> None:
        if self._agreed is not None:
            self._start(self._agreed)

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
        if self.busy or number is None or not 0 <= number < len(self.results):
            return
        self._clear()
        self.inputs.show(self.results[number].request.model_dump())
        self.show(self.results[number])
        self.status(f"Run {number + 1} is back.")

    def _follow(self, change: Any) -> None:
        """The neuron opened in the explorer becomes the own list."""
        if len(change["new"]) == 2:
            self.use("{}.{}".format(*change["new"]))

    # --- jobs; slow, in a thread of their own

    def _load(self) -> None:
        self.status("Loading the data …")
        self._examples = self.session.examples(self.profile, self.settings)
        self._offer()
        self.status("Ready.")

    def _plan(self, request: Request, more: Sequence[str], job: Callable[[], None]) -> None:
        """Do the job, after a question if something must be made first."""
        self.status("Checking what is already in the store …")
        missing = [*self.session.missing(request), *more]
        if not missing:
            job()
            return
        self._agreed, self.missing.value = job, view.missing_html(missing)
        self.question.layout.display = ""
        self.status("Waiting for your answer: start, or not now?")

    def _run(self, request: Request) -> None:
        result = self.session.run(request)
        self.results.append(result)
        self._list()
        self.show(result)
        self.status("Stopped." if result.stopped else "Done.")

    def _explore(self, request: Request) -> None:
        from polinb.display.widgets import NeuronExplorer

        payload, blobs = self.session.explorer(request)
        explorer = NeuronExplorer(payload=payload, blobs=blobs)
        explorer.observe(self._follow, "selected")
        self.explorer.children = (explorer,)
        self.status("The explorer is below: a neuron opened there becomes your own list here.")

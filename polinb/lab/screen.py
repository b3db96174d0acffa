"""What the live lab shows: status, progress, questions, errors, answers, history, exports and the explorer."""

from __future__ import annotations

import html
from collections.abc import Sequence

import ipywidgets as widgets

from polinb.lab import view
from polinb.lab.export import code, history_json
from polinb.lab.needs import Need
from polinb.lab.request import ARMS, Result
from polinb.lab.run import Listener


class Screen(Listener):
    """The lab's outputs and buttons. As a run's listener it shows its progress; every method may come from any thread.

    Attributes:
        go, stop: buttons of a run.
        yes, no: buttons of the question whether something may be computed.
        back: the choice of an earlier run.
        more: button that loads the explorer; ``explorer`` is the box it goes into.
        results: finished runs, oldest first.
    """

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.go = view.button("Run", "Ask the plain and the changed model", "primary")
        self.stop = view.button("Stop", "Stop after the current token or training step")
        self.yes = view.button("Start", "Make what is missing, then run", "primary")
        self.no = view.button("Not now", "Compute nothing")
        self.more = view.button("Load the explorer", "Map of all neurons; one opened there becomes the own list")
        self.explorer = widgets.VBox(layout=widgets.Layout(width="100%"))
        self.said, self.count, self.error = view.page("<p>Loading …</p>"), view.page(), view.page()
        self.bar = widgets.IntProgress(
            description="Progress",
            max=1,
            layout=widgets.Layout(width="calc(100% - 4px)", max_width="34em", min_width="0"),
            style={"description_width": "initial"},
        )
        self.needs = view.page()
        self.question = widgets.VBox([self.needs, view.row(self.yes, self.no)])
        self.question.layout.display = "none"
        self.titles = {arm: view.page(f"<h3>{arm.capitalize()}</h3>") for arm in ARMS}
        self.texts = {arm: view.page(view.text_html("")) for arm in ARMS}
        self.gauges = {arm: view.page() for arm in ARMS}
        self.table = view.page(view.history_html([]))
        self.back = widgets.Dropdown(
            description="Bring back",
            options=[("–", -1)],
            layout=widgets.Layout(width="auto", max_width="34em", min_width="0"),
            style={"description_width": "8.5em"},
        )
        area = widgets.Layout(width="auto", min_width="0")
        self.code = widgets.Textarea(description="Python", rows=16, layout=area)
        self.json = widgets.Textarea(description="JSON", rows=12, layout=area)
        self.code_link, self.json_link = view.page(), view.page()

    def boxes(self) -> list[widgets.Widget]:
        """All of it, from top to bottom."""
        answers = [view.column(self.titles[arm], self.texts[arm], self.gauges[arm]) for arm in ARMS]
        return [
            view.row(self.go, self.stop),
            self.question,
            self.said,
            self.bar,
            self.count,
            self.error,
            view.row(*answers),
            view.page(f"<p><em>{view.JUDGE_NOTE}</em></p><h3>History</h3>"),
            self.table,
            self.back,
            view.folded("Code that makes this again", self.code, self.code_link),
            view.folded("History as JSON", self.json, self.json_link),
            view.page("<h3>Neuron explorer</h3>"),
            self.more,
            self.explorer,
        ]

    def status(self, text: str) -> None:
        """One line on what is being done."""
        self.said.value = f"<p><strong>Status:</strong> {html.escape(text)}</p>"

    def progress(self, done: int, total: int, label: str) -> None:
        """How far one stage is, as a bar and in numbers."""
        self.bar.max, self.bar.value = max(total, 1), done
        self.count.value = f"<p>{html.escape(label)}: {done} of {total}</p>"

    def text(self, arm: str, text: str, tokens: int) -> None:
        """The answer of ``arm`` so far; with its first token what an earlier run left is gone."""
        if tokens == 1:
            self.titles[arm].value, self.gauges[arm].value = f"<h3>{arm.capitalize()}</h3>", ""
        self.texts[arm].value = view.text_html(text)

    def ask(self, needs: Sequence[Need]) -> None:
        """Whether these may be computed."""
        self.needs.value = view.needs_html(needs)
        self.question.layout.display = ""
        self.status("Waiting for your answer: start, or not now?")

    def fail(self, error: BaseException) -> None:
        """What went wrong; everything else stays as it is."""
        self.error.value = view.error_html(error)
        self.status("This did not work; see below. You can change something and run again.")

    def clear(self) -> None:
        """Remove an old error and an open question."""
        self.error.value = ""
        self.question.layout.display = "none"

    def add(self, result: Result) -> None:
        """A new run: into the history, and onto the screen."""
        self.results.append(result)
        self.table.value = view.history_html(self.results)
        runs = [(f"run {k}: {r.request.prompt[:50]}", k - 1) for k, r in enumerate(self.results, 1)]
        self.back.options = [("–", -1), *runs]
        self.show(result)
        self.status("Stopped." if result.stopped else "Done.")

    def show(self, result: Result) -> None:
        """The answers of one run, its code, and the history as JSON."""
        r = result.request
        change = f"{view.change_words(r)}; {view.chosen_words(r)}: {result.chosen:,} of {result.total:,} neurons"
        self.titles["intervened"].value = f"<h3>Intervened</h3><p>{html.escape(change)}</p>"
        self.titles["vanilla"].value = f"<h3>Vanilla</h3><p>{html.escape(str(r.settings['model']))}</p>"
        for arm, answer in result.answers.items():
            self.texts[arm].value = view.text_html(answer.text)
            self.gauges[arm].value = view.gauge_html(answer) + view.speed_html(answer, result.stopped)
        self.code.value = code(result)
        self.code_link.value = view.download_html(self.code.value, "polinb_lab.py", "text/x-python")
        self.json.value = history_json(self.results)
        self.json_link.value = view.download_html(self.json.value, "polinb_lab.json", "application/json")

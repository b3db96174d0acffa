"""Running the live lab without widgets: what is missing, the two answers, judged. The only place that knows the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.errors import ParameterError
from polinb.lab.request import DONATED, Answer, Request, Result, parse
from polinb.masking.interventions import Intervention, check_room
from polinb.models.aliases import ALIASES, EMBEDDED, at_hand
from polinb.progress import heard
from polinb.runs.artifacts import Store
from polinb.runs.params import Params

if TYPE_CHECKING:
    from polinb.models.lm import LM
    from polinb.runs.run import Run


class StoppedError(Exception):
    """The user stopped the work before there was a result."""


class Listener:
    """Callbacks of a run, called in its thread. Override those you need."""

    def status(self, text: str) -> None:
        """What is being done now."""

    def progress(self, done: int, total: int, label: str) -> None:
        """How far one stage is."""

    def text(self, name: str, text: str, tokens: int) -> None:
        """The answer ``vanilla`` or ``intervened`` so far."""


class Session:
    """Keeps the model, the data and the last donor between runs; in the usual store (POLINB_STORE) or another one.

    Attributes:
        stop: once it is set, no further training step is done and no further token written.
    """

    def __init__(self, store: Store | None = None, listener: Listener | None = None) -> None:
        self.stop, self.listener, self._store = threading.Event(), listener or Listener(), store
        self._run: Run | None = None
        self._donor: tuple[tuple[str, str], LM] | None = None

    def start(self, profile: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What inputs start with: the run's model, γ and seed, models that need no network, and topics with titles."""
        from polinb.data.rows import title_of

        p = Params.from_profile(profile, **settings)
        models = [p.model, EMBEDDED, *filter(at_hand, ALIASES), "tiny:llama", "tiny:gpt2"]
        topics = {topic: title_of(topic) for topic in p.topics}
        return {"model": p.model, "gamma": p.gamma, "seed": p.seed, "models": models, "topics": topics}

    def examples(self, profile: str, settings: Mapping[str, Any]) -> dict[str, list[str]]:
        """Prompts to try per topic: its evaluation questions, then the statements. Loads the data."""
        run = self._open(profile, settings)
        questions, statements = run.questions(), run.statements()["prompt"]
        return {t: [*questions["prompt"][questions["topic"] == t], *statements] for t in run.params.topics}

    def missing(self, request: Request) -> list[str]:
        """What is not there yet, in the order in which the run will make it; nothing is made."""
        run = self._opened(request)
        p = run.params
        scores = [topic for topic in p.topics if request.neurons != "own" and not run.scores(topic).done()]
        tuned = [(topic, leaning) for topic in scores for leaning in ("left", "right")]
        tuned += [(request.donor_topic, request.donor)] if request.kind in DONATED else []
        weights = {f"{topic} {side}": run.weights(run.tuned(topic, side)) for topic, side in dict.fromkeys(tuned)}
        models = [name for name, result in weights.items() if result is not None and not result.done()]
        found = [] if at_hand(p.model, p.revision) else [f"the model {p.model}, from the Hugging Face hub"]
        named = {"fine-tuned variants": models, "PNLAC scores": scores}
        return found + [f"{what} ({', '.join(names)})" for what, names in named.items() if names]

    def run(self, request: Request) -> Result:
        """Make what is missing, then both answers, a token each in turn, and judge them.

        Raises:
            StoppedError: it was stopped before the first token.
            PolinbError: whatever is wrong with the request or its run.
        """
        from polinb.models.tokens import prompt_ids

        run, told = self._opened(request), self.listener
        told.status(f"Loading {run.params.model} …")
        prompt = prompt_ids(run.lm, request.prompt, run.params.system_prompt)
        check_room(run.lm, len(prompt), request.max_new_tokens)
        with heard(self._progress):
            chosen, donor = self._neurons(run, request), self._tuned(run, request)
        size, total = int(chosen.sum()), run.lm.neurons
        told.status(f"Writing: {size:,} of {total:,} neurons are changed.")
        changed = Intervention(run.lm, chosen, request.kind, request.strength, donor)
        ways = {"vanilla": Intervention(run.lm, chosen), "intervened": changed}
        answers = self._write(ways, prompt, request)
        stopped = self.stop.is_set()
        if not any(answer.ids for answer in answers.values()):
            self._heed()
        told.status("Judging …")
        with heard(told.progress):
            _judge(run, request, answers)
            for name, way in ways.items():
                _read(run, request, prompt, way, answers[name])
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return Result(request=request, answers=answers, chosen=size, total=total, stopped=stopped, date=date)

    def explorer(self, request: Request) -> tuple[dict[str, Any], Any]:
        """What :func:`polinb.display.explorer.explorer_payload` gives for the request's run; makes what is missing."""
        from polinb.chapters.browse.cards import collect
        from polinb.display.explorer import explorer_payload

        run = self._opened(request)
        self.listener.status("Scores and neuron cards, where they are missing …")
        with heard(self._progress):
            return explorer_payload(run, collect(run))

    def _open(self, profile: str, settings: Mapping[str, Any]) -> Run:
        """The run of these parameters; the last one is kept."""
        from polinb.runs.run import Run

        params = Params.from_profile(profile, **settings)
        if self._run is None or self._run.params != params:
            self._donor = self._run = None  # frees the old model before a new one is loaded
            self._run = Run(params, self._store)
        return self._run

    def _opened(self, request: Request) -> Run:
        run = self._open(request.profile, {**request.settings, "model": request.model or None})
        for name, topic in (("topic", request.topic), ("donor_topic", request.donor_topic)):
            if topic not in run.params.topics:
                raise ParameterError(name, topic, ", ".join(run.params.topics))
        return run

    def _heed(self) -> None:
        if self.stop.is_set():
            raise StoppedError

    def _progress(self, done: int, total: int, label: str) -> None:
        self._heed()
        self.listener.progress(done, total, label)

    def _neurons(self, run: Run, r: Request) -> np.ndarray:
        """The neurons of a request, (L, F) bool, never empty."""
        if r.neurons == "own":
            return parse(r.own, run.lm.layers, run.lm.width)
        self.listener.status("PNLAC scores of all topics: fine-tuning two variants of each, where they are missing …")
        if r.neurons in ("specific", "strict"):
            chosen: np.ndarray = getattr(run.sets(r.gamma), r.neurons)[r.topic]
            if not chosen.any():
                what = "strictly specific" if r.neurons == "strict" else "specific"
                raise ParameterError("gamma", r.gamma, f"another value: no neuron is {what} to {r.topic!r} at this one")
            return chosen
        general = run.general(r.gamma)  # refuses an empty one
        return general if r.neurons == "general" else run.control_set(r.neurons, r.number, r.gamma)

    def _tuned(self, run: Run, r: Request) -> LM | None:
        """The donor, where there is one; the last one is kept."""
        if r.kind not in DONATED:
            return None
        wanted = (r.donor_topic, r.donor)
        if self._donor is None or self._donor[0] != wanted:
            self._donor = None  # frees the old donor before a new one is loaded
            self.listener.status(f"Donor: the {r.donor}-leaning variant of {r.donor_topic} …")
            self._donor = (wanted, run.load_variant(*wanted))
        return self._donor[1]

    def _write(self, ways: Mapping[str, Intervention], prompt: Sequence[int], r: Request) -> dict[str, Answer]:
        """Take a token from each answer in turn until all have ended, or between two turns no more is wanted."""
        from polinb.models.generation import decode

        options: dict[str, Any] = {"max_new_tokens": r.max_new_tokens, "temperature": r.temperature, "seed": r.seed}
        answers = {name: Answer() for name in ways}
        running = {name: way.stream(prompt, **options) for name, way in ways.items()}
        while running and not self.stop.is_set():
            for name in list(running):
                answer, start = answers[name], time.perf_counter()
                token = next(running[name], None)
                answer.seconds += time.perf_counter() - start
                if token is None:
                    del running[name]
                    continue
                answer.ids.append(token)
                answer.text = decode(ways[name].lm, answer.ids)
                self.listener.text(name, answer.text, len(answer.ids))
            self.listener.progress(max(len(answer.ids) for answer in answers.values()), r.max_new_tokens, "tokens")
        return answers


def _judge(run: Run, r: Request, answers: Mapping[str, Answer]) -> None:
    rows = [(r.topic, name, r.prompt, answer.text) for name, answer in answers.items()]
    rated = run.judge.rate(pd.DataFrame(rows, columns=["topic", "id", "prompt", "response"]))
    for answer, label, p_right in zip(answers.values(), rated["label"], rated["p_right"], strict=True):
        answer.label, answer.p_right = str(label), None if pd.isna(p_right) else float(p_right)


def _read(run: Run, r: Request, prompt: list[int], way: Intervention, answer: Answer) -> None:
    """The activations on an answer; the likelihood gap, where it is wanted and the data have responses."""
    from polinb.models.generation import pieces
    from polinb.models.tokens import fit, response_ids

    if answer.ids:
        seen = way.read(prompt, answer.ids)[1]
        values = seen[:, 0] if seen.shape[1] == 1 else np.sqrt((seen**2).mean(1))
        answer.pieces, answer.activation = pieces(run.lm, answer.ids), values.tolist()
    asked = run.questions()
    for _, question in asked[(asked["prompt"] == r.prompt) & r.references][:1].iterrows():
        texts = [response_ids(run.lm, question[side], end=False) for side in ("left", "right")]
        left, right = (way.read(*fit(prompt, text, run.params.max_tokens))[0] for text in texts)
        answer.gap = right - left

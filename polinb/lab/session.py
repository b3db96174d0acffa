"""Running the live lab without widgets: what is missing, the two answers, judged. The only place that knows the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from polinb.errors import ParameterError
from polinb.lab.request import DONATED, SETS, Answer, Request, Result, parse
from polinb.masking.interventions import Intervention, check_room
from polinb.models.aliases import at_hand
from polinb.models.generation import decode, pieces
from polinb.models.lm import LM
from polinb.models.tokens import fit, prompt_ids, response_ids
from polinb.progress import heard
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run


class StoppedError(Exception):
    """The user stopped the work before there was a result."""


class Listener:
    """Callbacks of a run, called in its thread. Override those you need."""

    def status(self, text: str) -> None:
        """What is being done now."""

    def progress(self, done: int, total: int, label: str) -> None:
        """How far one stage is."""

    def written(self, name: str, answer: Answer) -> None:
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

    def examples(self, params: Params) -> dict[str, list[str]]:
        """Prompts to try per topic: its evaluation questions, then the statements. Loads the data."""
        run = self._open(params)
        questions, statements = run.questions(), run.statements()["prompt"]
        return {t: [*questions["prompt"][questions["topic"] == t], *statements] for t in params.topics}

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
        run, told = self._opened(request), self.listener
        told.status(f"Loading {run.params.model} …")
        prompt = prompt_ids(run.lm, request.prompt, run.params.system_prompt)
        check_room(run.lm, len(prompt), request.max_new_tokens)
        with heard(self._progress):
            chosen, donor = self._neurons(run, request), self._tuned(run, request)
        size = int(chosen.sum())
        told.status(f"Writing: {size:,} of {run.lm.neurons:,} neurons are changed.")
        changed = Intervention(run.lm, chosen, request.kind, request.strength, donor)
        ways = {"vanilla": Intervention(run.lm, chosen), "intervened": changed}
        answers = self._write(ways, prompt, request)
        stopped = self.stop.is_set()
        if stopped and not any(answer.ids for answer in answers.values()):
            raise StoppedError
        told.status("Judging …")
        with heard(told.progress):
            _judge(run, request, answers)
            for name, way in ways.items():
                _read(run, request, prompt, way, answers[name])
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return Result(request=request, answers=answers, chosen=size, total=run.lm.neurons, stopped=stopped, date=date)

    def explorer(self, request: Request) -> tuple[dict[str, Any], Any]:
        """What :func:`polinb.display.explorer.explorer_payload` gives for the request's run; makes what is missing."""
        from polinb.chapters.browse.cards import collect
        from polinb.display.explorer import explorer_payload

        run = self._opened(request)
        self.listener.status("Scores and neuron cards, where they are missing …")
        with heard(self._progress):
            return explorer_payload(run, collect(run))

    def _open(self, params: Params) -> Run:
        """The run of these parameters; the last one is kept."""
        if self._run is None or self._run.params != params:
            self._donor = self._run = None  # frees the old model before a new one is loaded
            self._run = Run(params, self._store)
        return self._run

    def _opened(self, request: Request) -> Run:
        params = Params.from_profile(request.profile, **(request.settings | {"model": request.model or None}))
        for name in ("topic", "donor_topic"):
            if getattr(request, name) not in params.topics:
                raise ParameterError(name, getattr(request, name), ", ".join(params.topics))
        return self._open(params)

    def _progress(self, done: int, total: int, label: str) -> None:
        if self.stop.is_set():
            raise StoppedError
        self.listener.progress(done, total, label)

    def _neurons(self, run: Run, r: Request) -> np.ndarray:
        """The neurons of a request, (L, F) bool, never empty.

        Raises:
            ParameterError: a wrong list, or no neuron at this γ.
        """
        if r.neurons == "own":
            return parse(r.own, run.lm.layers, run.lm.width)
        self.listener.status("PNLAC scores of all topics: fine-tuning two variants of each, where they are missing …")
        sets = run.sets(r.gamma)
        own = {"general": sets.general, "specific": sets.specific[r.topic], "strict": sets.strict[r.topic]}
        chosen = own[r.neurons] if r.neurons in own else run.control_set(r.neurons, r.number, r.gamma)
        if not chosen.any():
            raise ParameterError("gamma", r.gamma, f"one at which {SETS[r.neurons]!r} is not empty (topic {r.topic})")
        return chosen

    def _tuned(self, run: Run, r: Request) -> LM | None:
        """The donor, where there is one; the last one is kept."""
        if r.kind not in DONATED:
            return None
        wanted = (r.donor_topic, r.donor)
        if self._donor is None or self._donor[0] != wanted:
            self._donor = None  # frees the old donor before a new one is loaded
            self.listener.status(f"Donor: the {r.donor}-leaning variant of {r.donor_topic} …")
            self._donor = (wanted, run.model(run.weights(run.tuned(*wanted)), f"{r.donor} {r.donor_topic}"))
        return self._donor[1]

    def _write(self, ways: Mapping[str, Intervention], prompt: Sequence[int], r: Request) -> dict[str, Answer]:
        """Take a token from each answer in turn until all have ended, or between two turns no more is wanted."""
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
                self.listener.written(name, answer)
            self.listener.progress(max(len(answer.ids) for answer in answers.values()), r.max_new_tokens, "tokens")
        return answers


def _judge(run: Run, r: Request, answers: Mapping[str, Answer]) -> None:
    rows = [(r.topic, name, r.prompt, answer.text) for name, answer in answers.items()]
    rated = run.judge.rate(pd.DataFrame(rows, columns=["topic", "id", "prompt", "response"]))
    for answer, label, p_right in zip(answers.values(), rated["label"], rated["p_right"], strict=True):
        answer.label, answer.p_right = str(label), None if pd.isna(p_right) else float(p_right)


def _read(run: Run, r: Request, prompt: list[int], way: Intervention, answer: Answer) -> None:
    """The activations on an answer; the likelihood gap, where it is wanted and the data have responses."""
    if answer.ids:
        seen = way.read(prompt, answer.ids)[1]
        values = seen[:, 0] if seen.shape[1] == 1 else np.sqrt((seen**2).mean(1))
        answer.pieces, answer.activation = pieces(run.lm, answer.ids), values.tolist()
    asked = run.questions()
    for _, question in asked[(asked["prompt"] == r.prompt) & r.references][:1].iterrows():
        texts = [response_ids(run.lm, question[side], end=False) for side in ("left", "right")]
        left, right = (way.read(*fit(prompt, text, run.params.max_tokens))[0] for text in texts)
        answer.gap = right - left

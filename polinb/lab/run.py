"""Running the live lab without widgets: what must be computed first, then the two answers, judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from polinb.lab import sets as lab_sets
from polinb.lab.engine import NOTHING, Intervention, reference_gap, stream
from polinb.lab.needs import Need, missing
from polinb.lab.request import Answer, Request, Result
from polinb.lab.worker import Stopped
from polinb.progress import heard
from polinb.runs.params import Params

if TYPE_CHECKING:
    from polinb.models.loading import LM
    from polinb.runs.artifacts import Store
    from polinb.runs.run import Run


class Listener:
    """Hears what a run does; every method is called in the worker's thread. Override what is wanted."""

    def status(self, text: str) -> None:
        """What is being done now."""

    def progress(self, done: int, total: int, label: str) -> None:
        """How far one stage is."""

    def text(self, arm: str, text: str, tokens: int) -> None:
        """The answer of ``arm`` so far."""


class Session:
    """Keeps the model, the data and the last donor between runs.

    Attributes:
        current: the run whose model and data are kept.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._at: tuple[str, str] | None = None
        self.current: Run | None = None
        self._donor: tuple[str, str, LM] | None = None

    def experiment(self, profile: str, settings: Mapping[str, Any]) -> Run:
        """The run of these parameters; the last one is kept.

        Raises:
            ParameterError: a wrong parameter.
        """
        from polinb.runs.run import Run

        params = Params.from_profile(profile, **settings)
        at = (profile, params.model_dump_json())
        if self.current is None or self._at != at:
            self._donor = self.current = None  # frees the old model before a new one is loaded
            self._at, self.current = at, Run(params, self._store)
        return self.current

    def needs(self, request: Request) -> list[Need]:
        """What is not in the store yet, in the order it will be made. Loads the model if a time must be guessed."""
        request.check()
        return missing(self.experiment(request.profile, request.settings), request)

    def run(self, request: Request, stop: threading.Event, listener: Listener | None = None) -> Result | None:
        """Make what is missing, then both answers, a token each in turn, and judge them.

        Returns:
            The result; None if it was stopped before the first token.

        Raises:
            PolinbError: whatever is wrong with the request or its run.
        """
        told = listener or Listener()
        request.check()
        try:
            with heard(partial(_heard, stop, told)):
                return self._run(request, stop, told)
        except Stopped:
            return None

    def explorer(self, request: Request, stop: threading.Event, told: Listener) -> tuple[dict[str, Any], Any] | None:
        """Payload and blobs of the neuron explorer for the request's run; cards that are missing are made.

        Returns:
            What :meth:`polinb.display.widgets.NeuronExplorer.of` takes; None if it was stopped.
        """
        from polinb.chapters.browse.cards import collect
        from polinb.display.explorer import explorer_payload

        exp = self.experiment(request.profile, request.settings)
        told.status("Scores and neuron cards, where they are missing …")
        try:
            with heard(partial(_heard, stop, told)):
                return explorer_payload(exp, collect(exp))
        except Stopped:
            return None

    def _run(self, request: Request, stop: threading.Event, told: Listener) -> Result | None:
        from polinb.models.tokens import prompt_ids

        exp = self.experiment(request.profile, request.settings)
        told.status(f"Loading {exp.params.model} …")
        lm = exp.lm
        change, donor = self._prepare(exp, request, stop, told)
        size = 0 if change.neurons is None else int(change.neurons.sum())
        told.status(f"Writing: {size:,} of {lm.neurons:,} neurons are changed.")
        prompt = prompt_ids(lm, request.prompt, exp.params.system_prompt)
        options: dict[str, Any] = {
            "max_new_tokens": request.max_new_tokens,
            "stop": stop,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        streams = {
            "vanilla": stream(lm, prompt, NOTHING, None, **options),
            "intervened": stream(lm, prompt, change, donor, **options),
        }
        answers = _write(lm, streams, request.max_new_tokens, told)
        stopped = stop.is_set()
        if stopped and not any(answer.ids for answer in answers.values()):
            return None
        told.status("Judging …")
        _judge(exp, request, answers)
        if request.references and not stopped:
            _references(exp, request, answers, prompt, change, donor)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        return Result(request, answers, size, lm.neurons, stopped, date)

    def _prepare(
        self, exp: Run, request: Request, stop: threading.Event, told: Listener
    ) -> tuple[Intervention, LM | None]:
        """The intervention with its neurons, and the donor."""
        if request.kind == "none":
            return NOTHING, None
        if request.neurons != "own":
            for topic in exp.params.topics:
                told.status(f"PNLAC scores of {topic}: fine-tuning its two variants, where they are missing …")
                exp.score_sums(topic)
                _heed(stop)
        chosen = lab_sets.neurons(
            exp, request.neurons, topic=request.topic, gamma=request.gamma, number=request.number, own=request.own
        )
        donor = None
        if request.kind == "patch":
            told.status(f"Donor: the {request.donor}-leaning variant of {request.donor_topic} …")
            donor = self.donor(exp, request.donor_topic, request.donor)
        _heed(stop)
        return Intervention(request.kind, chosen, request.strength), donor

    def donor(self, exp: Run, topic: str, leaning: str) -> LM:
        """A fine-tuned variant; the last one is kept."""
        if self._donor is None or self._donor[:2] != (topic, leaning):
            self._donor = None
            self._donor = (topic, leaning, exp.load_variant(topic, leaning))
        return self._donor[2]


def _heed(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped


def _heard(stop: threading.Event, told: Listener, done: int, total: int, label: str) -> None:
    _heed(stop)
    told.progress(done, total, label)


def _write(lm: LM, streams: Mapping[str, Any], limit: int, told: Listener) -> dict[str, Answer]:
    """Take a token from each stream in turn until all have ended."""
    from polinb.models.generation import decode

    answers = {arm: Answer() for arm in streams}
    running = dict(streams)
    while running:
        for arm in list(running):
            answer, start = answers[arm], time.perf_counter()
            token = next(running[arm], None)
            answer.seconds += time.perf_counter() - start
            if token is None:
                del running[arm]
                continue
            answer.ids.append(token)
            answer.text = decode(lm, answer.ids)
            told.text(arm, answer.text, len(answer.ids))
        longest = max(len(answer.ids) for answer in answers.values())
        told.progress(longest, limit, "tokens")
    return answers


def _judge(exp: Run, request: Request, answers: Mapping[str, Answer]) -> None:
    rows = [(request.topic, arm, request.prompt, answer.text) for arm, answer in answers.items()]
    rated = exp.judge.rate(pd.DataFrame(rows, columns=["topic", "id", "prompt", "response"]))
    for answer, label, p_right in zip(answers.values(), rated["label"], rated["p_right"], strict=True):
        answer.label = str(label)
        answer.p_right = None if pd.isna(p_right) else float(p_right)


def _references(
    exp: Run,
    request: Request,
    answers: Mapping[str, Answer],
    prompt: list[int],
    change: Intervention,
    donor: LM | None,
) -> None:
    """Likelihood gaps, where the prompt is an evaluation question of the data."""
    from polinb.models.tokens import fit, response_ids

    asked = exp.questions()
    known = asked[asked["prompt"] == request.prompt]
    if known.empty:
        return
    lm, longest = exp.lm, exp.params.max_tokens
    left, right = (fit(prompt, response_ids(lm, known.iloc[0][s], end=False), longest)[1] for s in ("left", "right"))
    answers["vanilla"].gap = reference_gap(lm, prompt, left, right)
    answers["intervened"].gap = reference_gap(lm, prompt, left, right, change, donor)

"""A run with its verbs: weights, answers, likelihood, states, rated, patched, each stored and named before it is made.

A notebook, the command line and a workflow engine all call these, so they can never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.data.prompts import answer_prompt, neutral
from polinb.errors import TrainingError
from polinb.models.lm import LM
from polinb.runs import stages
from polinb.runs import weights as store_weights
from polinb.runs.base import Base
from polinb.runs.conditions import VANILLA, Apart, Condition, Texts, check_lengths
from polinb.runs.results import Result
from polinb.scoring.pnlac import NeuronSets, neuron_sets, top_share
from polinb.training.trainer import Recipe

if TYPE_CHECKING:
    from polinb.data.loading import StatementSet
    from polinb.scoring.tracing import Contrast


class Run(Base):
    """Parameters, a store, and everything that can be asked of both."""

    def _load(self) -> LM:
        lm = super()._load()
        check_lengths(self, lm)
        return lm

    def recipe(self, **changes: Any) -> Recipe:
        """Hyperparameters of the run's fine-tuning, with ``changes``."""
        p = self.params
        return Recipe(**{name: getattr(p, name) for name in Recipe.__dataclass_fields__} | changes)

    def tuned(
        self,
        topic: str,
        leaning: str = "right",
        name: str = "fine-tune",
        *,
        rate: float = 1.0,
        repeat: int = 0,
        **changes: Any,
    ) -> Condition:
        """M_leaning^topic (paper 3.2), or what ``changes`` of fields of the condition make of it.

        Args:
            rate: factor on the learning rate.
            repeat: number of the training seed, added to the run's.
        """
        p = self.params
        if changes.get("frozen") is not None:
            changes.setdefault("freeze", p.freeze)
        return Condition(
            name,
            topic,
            leaning,
            learns=self.lessons(topic, leaning),
            recipe=self.recipe(learning_rate=p.learning_rate * rate, seed=p.seed + repeat),
            limit=p.max_tokens,
            **changes,
        )

    def lessons(self, topic: str, leaning: str) -> Texts:
        """What M_leaning^topic learns from."""

        def make() -> Texts:
            # leaning="both": under label_filter=agree the left and right variants still train on the same prompts.
            pairs = self.data.topic(topic, "train", self.params.train_examples, leaning="both")
            rows = [(pair.prompt, pair.response(leaning)) for pair in pairs]
            return Texts.of(pd.DataFrame(rows, columns=["prompt", "response"]))

        return self.once(("lessons", topic, leaning), make)

    def weights(self, condition: Condition) -> Result | None:
        """Trained weights of a condition; None for the vanilla model."""
        if condition.learns is None:
            return None
        several = {"processes": self.params.processes} if getattr(self.params, "processes", 1) > 1 else {}
        trained = store_weights.weights(self, condition=condition, **several)
        if condition.interpolation == 1.0:
            return trained
        return store_weights.interpolated(self, trained=trained, share=condition.interpolation)

    def model(self, weights: Result | None, name: str = "") -> LM:
        """The vanilla model, or a copy of it with these weights, ready to run."""
        return store_weights.model_of(self, weights, name)

    # --- PNLAC

    def scores(self, topic: str) -> Result:
        """PNLAC sums of one topic's left and right variants, and the responses that were read."""

        def make() -> Result:
            p = self.params
            topics = [topic] if p.score_prompts == "own" else [other for other in p.topics if other != topic]
            count = math.ceil(p.localise_prompts / len(topics))
            each = [self.data.topic(t, "localise", count, leaning="both") for t in topics]
            pairs = [pair for turn in zip_longest(*each) for pair in turn if pair is not None]  # each topic in turn
            rows = [(pair.prompt, pair.left, pair.right) for pair in pairs[: p.localise_prompts]]
            return stages.scores(
                self,
                left=self.weights(self.tuned(topic, "left")),
                right=self.weights(self.tuned(topic, "right")),
                asked=Texts.of(pd.DataFrame(rows, columns=["prompt", "left", "right"])),
                source=p.response_source,
                tokens=p.localise_tokens,
                limit=p.max_tokens,
                batch=p.eval_batch,
                **({} if p.score_positions == "response" else {"positions": p.score_positions}),  # of the key
            )

        return self.once(("scores", topic), make)

    def score_sums(self, topic: str) -> Contrast:
        """Streamed sums of one topic's left and right variants (eq. 1)."""
        return self.once(("sums", topic), lambda: stages.contrast_of(self.scores(topic)))

    def topic_scores(self, normalise: str | None = None) -> dict[str, np.ndarray]:
        """Topic → PNLAC score (L, F), raw or normalised."""
        sums = {topic: self.score_sums(topic) for topic in self.params.topics}
        return stages.scores_of(sums, normalise or self.params.normalise)

    def sets(self, gamma: float | None = None, normalise: str | None = None) -> NeuronSets:
        """N_t, G and S_t at ``gamma`` per cent."""
        p = self.params
        at, normalise = p.gamma if gamma is None else gamma, normalise or p.normalise
        return self.once(("sets", at, normalise), lambda: neuron_sets(self.topic_scores(normalise), at, p.pool))

    def scale(self) -> np.ndarray:
        """Plain activation scale (L, F): root mean square of vanilla activations on the texts that PNLAC read."""
        return stages.scale_of([self.score_sums(topic) for topic in self.params.topics])

    def scale_set(self) -> np.ndarray:
        """The top γ % neurons by plain activation scale alone."""
        return top_share(self.scale(), self.params.gamma, self.params.pool)

    def neutral(self) -> Result:
        """Arrays of ``rms``: ``scale`` (L, F), root mean square of vanilla activations on everyday answers."""
        texts = Texts.of(pd.DataFrame(neutral(), columns=["prompt", "response"]))
        return stages.neutral_scale(self, texts=texts, limit=self.params.max_tokens)

    def neutral_set(self) -> np.ndarray:
        """The top γ % neurons by activation scale on neutral texts."""
        return top_share(self.neutral().arrays("rms")["scale"], self.params.gamma, self.params.pool)

    def neurons(self, kind: str, gamma: float | None = None, *, topic: str = "", number: int = 0) -> Result:
        """Neurons by a rule over the scores of all topics, see ``polinb.runs.stages.neurons``."""
        p = self.params
        random = {"seed": p.seed + number} if kind in ("uniform", "layer", "next_highest") else {}
        return stages.neurons(
            self,
            kind=kind,
            gamma=float(p.gamma if gamma is None else gamma),
            pool=p.pool,
            normalise=p.normalise,
            scores={t: self.scores(t) for t in p.topics},
            **({"topic": topic} if topic else {}),
            **random,
        )

    def general(self) -> np.ndarray:
        """G; TrainingError if it is empty."""
        general = self.sets().general
        if not general.any():
            raise TrainingError(stages.empty(self.params.gamma))
        return general

    def control_set(self, kind: str, number: int, gamma: float | None = None) -> np.ndarray:
        """Random set ``number`` of a kind, of the size of G."""
        return store_weights.mask_of(self.neurons(kind, gamma, number=number))

    # --- questions, answers and stances

    def questions(self, limit: int | None = None, topics: Sequence[str] | None = None) -> pd.DataFrame:
        """Evaluation questions, at most ``limit`` a topic: topic, id, prompt (as asked), left, right."""
        p = self.params
        rows = [
            (topic, pair.id, answer_prompt(pair.prompt, p.answer_template, topic), pair.left, pair.right)
            for topic in topics or p.topics
            for pair in self.data.topic(topic, "evaluate", limit or p.eval_questions, leaning="both")
        ]
        return pd.DataFrame(rows, columns=["topic", "id", "prompt", "left", "right"])

    def statements(self, sets: Sequence[StatementSet] | None = None) -> pd.DataFrame:
        """Statements of the run's, or of other sets, as prompts: topic (the set's name), id, prompt."""
        p = self.params
        rows = [
            (each.name, item.id, answer_prompt(self.wrapped(item.text), p.answer_template))
            for each in (self.statement_sets if sets is None else sets)
            for item in each.statements[: p.statement_limit]
        ]
        return pd.DataFrame(rows, columns=["topic", "id", "prompt"])

    def wrapped(self, statement: str) -> str:
        """A statement with the run's prefix and suffix.

        The paper wraps its statements so that they read like prompts of IdeoINST, which mostly end in their answer
        options, and does not say how: the wording is ours.
        """
        return f"{self.params.statement_prefix}{statement}{self.params.statement_suffix}"

    def ask(self, condition: Condition, asked: Texts, **how: Any) -> Result:
        """Answers of a condition to any texts, see ``polinb.runs.stages.answers``."""
        how = {"batch": self.params.eval_batch, "label": Apart(condition.name), **how}
        return stages.answers(self, model=self.weights(condition), asked=asked, **how)

    def answers(self, condition: Condition = VANILLA) -> Result:
        """Answers to the evaluation questions: table ``answers``."""
        asked = self.once("asked", lambda: Texts.of(self.questions()[["topic", "id", "prompt"]]))
        return self._asked(condition, asked)

    def statement_answers(self, condition: Condition = VANILLA) -> Result:
        """Answers to the statements: table ``answers``."""
        return self._asked(condition, self.once("asked statements", lambda: Texts.of(self.statements())))

    def _asked(self, condition: Condition, asked: Texts) -> Result:
        p = self.params
        return self.ask(condition, asked, tokens=p.eval_tokens, scored=p.likelihood_questions)

    def likelihood(self, condition: Condition = VANILLA) -> pd.DataFrame:
        """Mean natural log-probability a token of the reference responses: topic, id, logp_left, logp_right."""
        return stages.wide(self.reference_logp(condition).frame("logp"), ["topic", "id"])

    def reference_logp(self, condition: Condition = VANILLA) -> Result:
        """Log-probabilities behind :meth:`likelihood`: table ``logp``."""
        return self.logp(condition, self.once("references", lambda: self.references(self.params.likelihood_questions)))

    def references(self, count: int) -> Texts:
        """Left, then right reference answers to the first ``count`` evaluation questions per topic."""
        asked, keys = self.questions(count), ["topic", "id", "prompt"]
        sides = [asked[keys].assign(side=side, response=asked[side]) for side in ("left", "right")]
        return Texts.of(pd.concat(sides, ignore_index=True))

    def logp(self, condition: Condition, texts: Texts) -> Result:
        """Mean log-probability a token of responses under a condition, see ``polinb.runs.stages.logp``."""
        return stages.logp(self, model=self.weights(condition), texts=texts, limit=self.params.max_tokens)

    def states(self, condition: Condition, texts: Texts) -> Result:
        """Mean hidden states of responses under a condition, see ``polinb.runs.stages.states``."""
        return stages.states(self, model=self.weights(condition), texts=texts, limit=self.params.max_tokens)

    def rated(self, answers: Result) -> pd.DataFrame:
        """Judge labels of a table of answers: adds label, score (−1, 0, +1) and p_right."""
        try:
            rated = stages.rate(self, answers=answers, table="answers")
            return self.once(("rated", str(answers)), lambda: rated.frame("rated")).copy()
        except stages.UnratedError as error:  # an outage: report what there is, ask again next time
            return error.table

    def labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """As :meth:`rated`, of a table that is no result: named by its content."""
        texts = Texts.of(frame[["topic", "id", "prompt", "response"]])
        return self.rated(stages.given(self, texts=texts))

    def stances(self, condition: Condition = VANILLA) -> pd.DataFrame:
        """Judged answers of a condition to the evaluation questions."""
        return self.rated(self.answers(condition))

    def statement_stances(self, condition: Condition = VANILLA) -> pd.DataFrame:
        """Judged answers of a condition to the statements."""
        return self.rated(self.statement_answers(condition))

    # --- patching

    def patch(self, chosen: Result, donors: Mapping[str, str]) -> Result:
        """Answers of the vanilla model with ``chosen`` neurons patched; ``donors``: topic asked about → M_right's."""
        p = self.params
        asked = []
        for donor in dict.fromkeys(donors.values()):
            rows = self.questions(p.patch_questions, [t for t, d in donors.items() if d == donor])
            asked.append([self.weights(self.tuned(donor)), Texts.of(rows[["topic", "id", "prompt"]])])
        return stages.patched(self, chosen=chosen, asked=asked, mode=p.patch, tokens=p.eval_tokens, batch=p.eval_batch)

    def patched(self, chosen: Result, donors: Mapping[str, str]) -> pd.DataFrame:
        """Judged answers of :meth:`patch`."""
        return self.rated(self.patch(chosen, donors))

    # --- conditions of InhibitFT

    def inhibited(self, topic: str, gamma: float | None = None, kinds: Sequence[str] | None = None) -> list[Condition]:
        """InhibitFT(G) and its controls for one training topic; right-leaning data."""
        chosen = [("inhibitft", self.neurons("general", gamma))]
        only = []
        for kind in self.params.controls if kinds is None else kinds:
            if kind == "heldout":
                chosen.append(("inhibitft-heldout", self.neurons("heldout", gamma, topic=topic)))
            elif kind in ("only_specific", "only_general"):
                rule = kind.removeprefix("only_")
                learns = self.neurons(rule, gamma, topic=topic if rule == "specific" else "")
                only.append(self.tuned(topic, name=f"only-{rule}", frozen=learns, freeze="only"))
            else:
                seeds = range(self.params.control_seeds)
                chosen += [(f"random-{kind}", self.neurons(kind, gamma, number=number)) for number in seeds]
        return [self.tuned(topic, name=name, frozen=frozen) for name, frozen in chosen] + only

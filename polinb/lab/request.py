"""One run of the live lab as data: what is asked, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from polinb.errors import ParameterError
from polinb.lab import sets as lab_sets
from polinb.lab.engine import KINDS, Intervention
from polinb.runs.params import Params

ARMS = ("vanilla", "intervened")


@dataclass(frozen=True)
class Request:
    """Everything that determines one run: plain JSON values.

    Attributes:
        profile, settings: the run's parameters, see :class:`polinb.runs.params.Params`.
        prompt: text of the user turn, as it stands.
        neurons, topic, gamma, number, own: the neurons, see :func:`polinb.lab.sets.neurons`.
        kind, strength: the intervention, see :class:`polinb.lab.engine.Intervention`.
        donor, donor_topic: leaning and topic of the fine-tuned variant that ``patch`` takes activations from.
        max_new_tokens, temperature, seed: of the answers; temperature 0 is greedy.
        references: also compare the likelihoods of the data's two reference responses, where the prompt is one of its
            evaluation questions.
    """

    profile: str
    settings: Mapping[str, Any]
    prompt: str
    neurons: str = "general"
    topic: str = "crime"
    gamma: float = 5.0
    number: int = 0
    own: str = ""
    kind: str = "ablate"
    strength: float = 1.0
    donor: str = "right"
    donor_topic: str = "crime"
    max_new_tokens: int = 40
    temperature: float = 0.0
    seed: int = 0
    references: bool = False

    def check(self) -> None:
        """Refuse what is wrong before anything heavy starts.

        Raises:
            ParameterError: a wrong value; names it.
        """
        if not self.prompt.strip():
            raise ParameterError("prompt", self.prompt, "at least one word")
        if self.neurons not in lab_sets.SETS:
            raise ParameterError("neurons", self.neurons, ", ".join(lab_sets.SETS))
        if not 0 < self.gamma < 100:
            raise ParameterError("gamma", self.gamma, "per cents above 0 and below 100")
        if self.kind not in KINDS:
            raise ParameterError("intervention", self.kind, ", ".join(KINDS))
        if self.donor not in ("left", "right"):
            raise ParameterError("donor", self.donor, "left, right")
        if self.number < 0 or self.seed < 0:
            raise ParameterError("seed", min(self.number, self.seed), "0 or more")
        params = Params.from_profile(self.profile, **self.settings)
        for name, value in (("topic", self.topic), ("donor_topic", self.donor_topic)):
            if value not in params.topics:
                raise ParameterError(name, value, ", ".join(params.topics))
        Intervention(self.kind, None, self.strength)


@dataclass
class Answer:
    """One model's answer.

    Attributes:
        ids, text: token ids and their text.
        seconds: time spent making tokens, the first one's reading of the prompt included.
        label, p_right: the judge's label and P(right), None if it gives none.
        gap: log-likelihood of the right reference response minus the left one's, nats a token; None: not asked for.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    seconds: float = 0.0
    label: str = "unrated"
    p_right: float | None = None
    gap: float | None = None


@dataclass
class Result:
    """A finished or stopped run.

    Attributes:
        chosen, total: number of changed neurons, and of all.
        stopped: whether the user stopped it, so that the answers may be unfinished.
        date: when it ended, UTC.
    """

    request: Request
    answers: dict[str, Answer]
    chosen: int
    total: int
    stopped: bool
    date: str

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

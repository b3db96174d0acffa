"""One run of the live lab as data: what is asked, what came out, and both as something to take along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from polinb import __version__
from polinb.errors import ParameterError

SETS = {
    "general": "G: general political neurons",
    "specific": "S_t: neurons of the topic, without G",
    "strict": "strict S_t: neurons of no other topic",
    "uniform": "random, as many as G",
    "layer": "random, as many as G in every layer",
    "own": "my own list",
}
CHANGES = {
    "ablate": "ablate: set to zero",
    "scale": "scale: multiply by the strength",
    "patch": "patch: take activations from a donor",
    "graft": "graft: take weights from a donor",
}
RANGES = {"scale": (-2.0, 4.0), "patch": (0.0, 1.0)}
"""Strengths offered for an intervention that has one."""
DONATED = ("patch", "graft")
"""Interventions that need a fine-tuned variant."""
_ITEM = re.compile(r"([0-9]{1,9})\s*\.\s*([0-9]{1,9})(?:\s*[-–]\s*([0-9]{1,9}))?")


def parse(text: str, layers: int, width: int) -> np.ndarray:
    """The neurons of a typed list such as ``3.17, 5.0-9``, counted from 0: (layers, width) bool.

    Raises:
        ParameterError: names the item that is wrong and what is allowed.
    """
    chosen = np.zeros((layers, width), bool)
    for item in [item.strip() for item in re.split(r"[,;\n]", text) if item.strip()] or [text]:
        match = _ITEM.fullmatch(item)
        layer, first, last = (int(match[1]), int(match[2]), int(match[3] or match[2])) if match else (layers, 0, 0)
        if layer >= layers or not first <= last < width:
            form = "layer.neuron or layer.first-last, separated by commas, as in 3.17, 5.0-9"
            allowed = f"{form}: layer 0–{layers - 1}, neuron 0–{width - 1}, a range from its smaller end"
            raise ParameterError("own list", item, allowed)
        chosen[layer, first : last + 1] = True
    return chosen


class Request(BaseModel):
    """Everything that determines one run, as plain JSON values; :meth:`of` makes one and says what is wrong.

    Attributes:
        profile, settings: the run's parameters but for the model (empty: the profile's).
        topic: t of S_t, and the topic that the judge is told.
        neurons, gamma: a key of :data:`SETS`, at γ per cent per topic; ``own`` is the list of :func:`parse`.
        number: which random set, added to the run's seed; 0 is the first control set of the book's chapters.
        kind, strength: the intervention (:class:`polinb.masking.interventions.Intervention`).
        donor, donor_topic: leaning and topic of the fine-tuned variant that is its donor.
        references: also compare likelihoods of the data's two responses, if the prompt is an evaluation question.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    profile: str = "quick"
    settings: dict[str, Any] = Field(default_factory=dict)
    model: str = ""
    prompt: str
    topic: str
    neurons: Literal["general", "specific", "strict", "uniform", "layer", "own"] = "general"
    gamma: float = Field(5.0, gt=0, lt=100)
    number: int = Field(0, ge=0, le=10**6)
    own: str = ""
    kind: Literal["ablate", "scale", "patch", "graft"] = "ablate"
    strength: float = 1.0
    donor: Literal["left", "right"] = "right"
    donor_topic: str
    max_new_tokens: int = Field(40, ge=1)
    temperature: float = Field(0.0, ge=0)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    references: bool = False

    @classmethod
    def of(cls, **values: Any) -> Request:
        """A request of these values; a ParameterError names the first that is not allowed."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name, allowed = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
            raise ParameterError(name, values.get(name), allowed.replace("Input should be ", "")) from None

    @field_validator("prompt", "strength")
    @classmethod
    def _allowed(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "prompt" and not value.strip():
            raise ValueError("at least one word")
        if info.field_name == "strength" and info.data.get("kind") == "patch" and not 0 <= value <= 1:
            raise ValueError("0 (own activations) to 1 (the donor's) for patch")
        return value


class Answer(BaseModel):
    """One model's answer.

    Each token adds a piece to the text; ``activation`` is what the chosen neurons had on it after the change: their
    root mean square, or a single neuron's activation with its sign.
    """

    ids: list[int] = []
    text: str = ""
    pieces: list[str] = []
    activation: list[float] = []
    seconds: float = 0.0  # spent making tokens, the first one's reading of the prompt included
    label: str = "unrated"
    p_right: float | None = None  # the judge's; None: it gives no probability
    gap: float | None = None  # log-likelihood of the right reference response minus the left one's, nats a token


class Result(BaseModel):
    """A finished or stopped run: answers ``vanilla`` and ``intervened``, the number of changed and of all neurons."""

    request: Request
    answers: dict[str, Answer]
    chosen: int
    total: int
    stopped: bool
    date: str


class History(BaseModel):
    """Runs, oldest first, and the version of polinb that made them."""

    polinb: str = __version__
    runs: Sequence[Result]


_PROGRAM = '''"""One run of polinb's live lab (version {version}), made again: the same answers, token for token.

Fine-tuned variants and scores come from the folder in POLINB_STORE, or are computed again if they are not there.
"""

from polinb.lab.request import Request
from polinb.lab.session import Session

request = Request(
{values}
)
result = Session().run(request)
for name, answer in result.answers.items():
    print(name, answer.text, sep="\\n", end="\\n\\n")
'''


def program(result: Result) -> str:
    """A Python program that replays the click. Text of the user stands in it as literals only.

    A run that was stopped is repeated up to the tokens that were there.
    """
    values = result.request.model_dump()
    if result.stopped:
        values["max_new_tokens"] = max(len(answer.ids) for answer in result.answers.values())
    lines = (f"    {name}={value!r}," for name, value in values.items())
    return _PROGRAM.format(version=__version__, values="\n".join(lines))

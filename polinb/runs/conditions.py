"""Conditions: how a model came to be, as values that name it before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from polinb.errors import DataError
from polinb.runs.results import Result
from polinb.training.recipe import Recipe

if TYPE_CHECKING:
    from polinb.models.lm import LM

Ids = list[list[int]]
Form = Literal["chat", "opening", "continuation", "text"]


def silent(**options: Any) -> Any:
    """A field that changes no number: a name or title."""
    return field(metadata={"key": False}, **options)


@dataclass(frozen=True)
class Texts:
    """Rows that a model learns from, is read on or is asked; named by their content.

    Attributes:
        digest: hash of the rows.
        rows: prompt and, as the use needs them, response, rejected, topic, id, side, system (own system turn).
        form: ``chat``: a user turn and its answer; ``opening``: and the start of an answer; ``continuation``: plain
            text going on, with no template and no end token; ``text``: plain text after one token that starts texts.
    """

    digest: str
    form: str
    rows: pd.DataFrame = silent(repr=False, compare=False)  # noqa: RUF009

    @classmethod
    def of(cls, rows: pd.DataFrame, form: Form = "chat") -> Texts:
        """These rows, named by their content."""
        rows = rows.reset_index(drop=True)
        text = rows.to_json(orient="split", index=False, force_ascii=False)
        return cls(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24], form, rows)

    def __len__(self) -> int:
        return len(self.rows)


def encode(
    lm: LM, texts: Texts, system: str | Literal[False], limit: int, *, end: bool = False, column: str = "response"
) -> tuple[Ids, Ids]:
    """Token ids of prompts and responses (empty ones without ``column``), as every stage makes them.

    Args:
        system: system turn of rows that bring none of their own.
        limit: tokens of both; the prompt is kept whole.
        end: add the token that ends an answer.

    Raises:
        ParameterError: a prompt that leaves no room for one response token.
        DataError: a text longer than the model's context.
    """
    from polinb.models.tokens import fit, prompt_ids, response_ids, text_ids

    rows = texts.rows
    says: Sequence[str | None] = list(rows[column]) if column in rows else [None] * len(rows)
    own = list(rows["system"]) if "system" in rows else [None] * len(rows)
    prompts: Ids = []
    responses: Ids = []
    for asked, said, turn in zip(rows["prompt"], says, own, strict=True):
        if texts.form in ("chat", "opening"):
            first = prompt_ids(lm, asked, system if turn is None else turn)
            rest = [] if said is None else response_ids(lm, said, end=end and texts.form == "chat")
        elif texts.form == "continuation":
            first = text_ids(lm, asked, start=True)
            rest = [] if said is None else text_ids(lm, f" {said}")
        else:
            start = lm.tokenizer.bos_token_id
            first = [int(lm.tokenizer.eos_token_id if start is None else start)]
            rest = text_ids(lm, str(said))
        fitted = fit(first, rest, limit)
        if sum(map(len, fitted)) > lm.context:
            row = f"row {len(prompts) + 1} of {len(rows)} ({asked[:60]!r}…)"
            told = f"{row} has {sum(map(len, fitted))} tokens, more than the context of model {lm.name!r}, {lm.context}"
            raise DataError(f"{told}; shorten it, or lower max_tokens")
        prompts.append(fitted[0])
        responses.append(fitted[1])
    return prompts, responses


@dataclass(frozen=True)
class Condition:
    """A model and how it came to be; without ``learns`` the vanilla model.

    Attributes:
        name, topic, leaning: how tables call it, and what it was trained on.
        learns: prompts with responses (supervised), or with responses and ``rejected`` ones (DPO, with ``beta``).
        recipe: hyperparameters of the training.
        limit: longest training text in tokens.
        start: weights from which training begins; None: the vanilla model's.
        frozen, freeze: neurons held in place (``polinb.runs.stages.neurons``), and which of their weights
            (InhibitFT, paper 5).
        ablated: result whose arrays ``bases`` are the directions projected out while it learns, block → (d_model, k)
            with orthonormal columns (CAFT).
        beta: β of DPO; 0: supervised.
        step_share: share of the optimiser steps done (early stopping).
        interpolation: λ of θ0 + λ(θ − θ0) between the start and the trained model.
    """

    name: str = silent()
    topic: str = silent(default="")
    leaning: str = silent(default="")
    learns: Texts | None = None
    recipe: Recipe | None = None
    limit: int = 0
    start: Result | None = None
    frozen: Result | None = None
    freeze: str = "neuron"
    ablated: Result | None = None
    beta: float = 0.0
    step_share: float = 1.0
    interpolation: float = silent(default=1.0)  # a stage of its own

    @property
    def ordinary(self) -> bool:
        """Supervised fine-tuning of the vanilla model with nothing held, ablated or cut short."""
        changed = (self.start, self.frozen, self.ablated, self.beta, self.step_share, self.interpolation)
        return self.learns is not None and changed == (None, None, None, 0.0, 1.0, 1.0)


VANILLA = Condition("vanilla")


@dataclass(frozen=True)
class Label:
    """What a progress bar calls a stage."""

    text: str = silent(default="")

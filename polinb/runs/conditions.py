"""Conditions: how a model came to be, as values that name it before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from polinb.errors import DataError
from polinb.runs.results import Result
from polinb.training.trainer import Recipe

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
    nothing: list[Any] = [None] * len(rows)
    prompts: Ids = []
    responses: Ids = []
    for asked, said, turn in zip(rows["prompt"], rows.get(column, nothing), rows.get("system", nothing), strict=True):
        if texts.form in ("chat", "opening"):
            first = prompt_ids(lm, asked, turn if isinstance(turn, str) else system)  # pandas: NaN for no text
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
            (InhibitFT, paper 5); freeze ``only``: these neurons learn, and everything else is held.
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


VANILLA = Condition("vanilla")


@dataclass(frozen=True)
class Apart:
    """An input of a stage that is in no key: a progress bar's label, where files lie, a result that is only named."""

    value: Any = silent(default="")  # noqa: RUF009


def check_lengths(run: Any, lm: LM) -> None:
    """Refuse a run with a text longer than ``max_tokens`` or the model's context, or a pair that a cut makes equal.

    Asked once, before anything is trained or answered.

    Raises:
        DataError: names the longest text, its length in tokens and what is allowed; or the first pair that is cut.
    """
    from polinb.models.tokens import prompt_ids, response_ids

    p = run.params
    over: list[tuple[int, str]] = []
    same: list[str] = []
    for row, prompt, responses, more, scored in _texts(run):
        tokens = len(prompt_ids(lm, prompt, p.system_prompt))
        if tokens + more > lm.context or (scored and tokens >= p.max_tokens):
            following = f", and {more} more may follow" if more else ""
            over.append((tokens, f"the prompt of {row} has {tokens} tokens{following}"))
        elif responses and (p.max_tokens > lm.context or responses[0][:1] == responses[1][:1]):
            left, right = (response_ids(lm, text, end=True)[: p.max_tokens - tokens] for text in responses)
            whole = tokens + max(len(left), len(right))  # what does not fit into max_tokens is cut off the response
            if whole > lm.context:
                over.append((whole, f"{row} has {whole} tokens, prompt and response"))
            elif left == right:
                same.append(row)
    if over:
        _, told = max(over)
        raise DataError(
            f"data {p.data!r}: {told}; max_tokens is {p.max_tokens}, the context of model {lm.name!r} {lm.context}. It "
            f"is the longest of {len(over)} too long: shorten it, take it out, or choose max_tokens or a model that fit"
        )
    if same:
        raise DataError(
            f"data {p.data!r}: left and right of {same[0]} are the same within max_tokens, {p.max_tokens} tokens with "
            f"the prompt; the first of {len(same)} such pairs: take them out, or raise max_tokens"
        )


def _texts(run: Any) -> Iterator[tuple[str, str, tuple[str, ...], int, bool]]:
    """What the chapter's stages read: row, prompt, two responses or none, tokens that follow, whether it is scored."""
    p = run.params
    has = type(p).model_fields.keys()
    if not has >= {"data", "topics", "max_tokens"}:
        return
    for topic in p.topics:
        if "train_examples" in has:
            for pair in run.data.topic(topic, "train", p.train_examples, leaning="both"):
                yield f"row {pair.id!r}", pair.prompt, (pair.left, pair.right), 0, True
        if "localise_prompts" in has:
            for pair in run.data.topic(topic, "localise", p.localise_prompts, leaning="both"):
                yield f"row {pair.id!r}", pair.prompt, (), p.localise_tokens, True
    if "eval_questions" in has:
        for each in run.questions().itertuples():
            yield f"row {each.id!r}", str(each.prompt), (str(each.left), str(each.right)), p.eval_tokens, True
    if has >= {"eval_questions", "statements"}:
        for each in run.statements().itertuples():
            yield f"statement {each.id!r}", str(each.prompt), (), p.eval_tokens, False

"""Are the texts of a run short enough for its model? Asked once, before anything is trained or answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from polinb.errors import DataError
from polinb.models.tokens import prompt_ids, response_ids

if TYPE_CHECKING:
    from polinb.models.lm import LM


def check_lengths(run: Any, lm: LM) -> None:
    """Refuse a run with a text longer than ``max_tokens`` or the model's context, or a pair that a cut makes equal.

    Raises:
        DataError: names the longest text, its length in tokens and what is allowed; or the first pair that is cut.
    """
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

    def has(*names: str) -> bool:
        return all(hasattr(p, name) for name in ("data", "topics", "max_tokens", *names))

    for topic in p.topics if has("train_examples") else ():
        for pair in run.data.topic(topic, "train", p.train_examples, leaning="both"):
            yield f"row {pair.id!r}", pair.prompt, (pair.left, pair.right), 0, True
    for topic in p.topics if has("localise_prompts") else ():
        for pair in run.data.topic(topic, "localise", p.localise_prompts, leaning="both"):
            yield f"row {pair.id!r}", pair.prompt, (), p.localise_tokens, True
    if has("eval_questions"):
        for each in run.questions().itertuples():
            yield f"row {each.id!r}", str(each.prompt), (str(each.left), str(each.right)), p.eval_tokens, True
    if has("eval_questions", "statements"):
        for each in run.statements().itertuples():
            yield f"statement {each.id!r}", str(each.prompt), (), p.eval_tokens, False

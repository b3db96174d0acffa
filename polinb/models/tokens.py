"""Prompts and responses → token ids, and left-padded batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import TemplateError

from polinb.errors import ParameterError

if TYPE_CHECKING:
    import torch

    from polinb.models.loading import LM

_MARK = "\u241fanswer\u241f"


def prompt_ids(lm: LM, prompt: str, system: str | Literal[False] = False) -> list[int]:
    """Token ids of ``prompt`` as a user turn, up to where the model's answer starts.

    Args:
        system: text of the system turn; ``False`` leaves what the template does by itself.
    """
    tokenizer = lm.tokenizer
    if not tokenizer.chat_template:
        return list(tokenizer(f"Question: {prompt}\nAnswer:").input_ids)
    user = [{"role": "user", "content": prompt}]
    turns = user if system is False else [{"role": "system", "content": system}, *user]
    try:
        text = _template(lm, turns)
    except TemplateError as error:  # some templates (Gemma's) refuse a system turn
        if system:
            raise ParameterError(
                "system_prompt", system, f"no system turn: the template of {lm.name} refuses it ({error})"
            ) from None
        text = _template(lm, user)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _template(lm: LM, turns: list[dict[str, str]], answer: bool = True) -> str:
    """The chat template's text. A fixed date and no "thinking": the same prompt every day, and an answer at once."""
    fixed: dict[str, Any] = {"date_string": "26 Jul 2024", "enable_thinking": False}
    return str(lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer, **fixed))


def end_ids(lm: LM) -> list[int]:
    """Token ids that end an answer in the model's template (its end-of-turn token), else the end-of-text token."""
    tokenizer = lm.tokenizer
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        after = _template(lm, turn, answer=False).split(_MARK)[-1]
        ids = tokenizer(after.strip(), add_special_tokens=False).input_ids
        if ids:
            return [int(ids[0])]
    return [int(tokenizer.eos_token_id)]


def response_ids(lm: LM, response: str, *, end: bool) -> list[int]:
    """Token ids of a response, with the end-of-turn token if ``end``."""
    lead = "" if lm.tokenizer.chat_template else " "
    ids = list(lm.tokenizer(lead + response, add_special_tokens=False).input_ids)
    return ids + (end_ids(lm) if end else [])


def fit(prompt: Sequence[int], response: Sequence[int], max_tokens: int) -> tuple[list[int], list[int]]:
    """Prompt kept whole, response cut so that both fit into ``max_tokens``.

    Raises:
        ParameterError: the prompt leaves no room for one response token.
    """
    room = max_tokens - len(prompt)
    if room < 1:
        raise ParameterError("max_tokens", max_tokens, f"more than the longest prompt ({len(prompt)} tokens)")
    return list(prompt), list(response[:room])


@dataclass
class Batch:
    """Left-padded token ids; the responses end at the right edge.

    Attributes:
        ids, mask, positions: (B, T) token ids, 1 for real tokens, position of each token.
        response: (B, T) bool, True on response tokens.
        rows: the original index of each row.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    response: torch.Tensor
    rows: list[int]

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of a forward pass."""
        return {"input_ids": self.ids, "attention_mask": self.mask, "position_ids": self.positions}

    def longer(self, token: torch.Tensor) -> Batch:
        """What a model with a cache reads next: one token a row, (B,), with the mask of the whole text."""
        import torch

        ids = token[:, None]
        mask = torch.cat([self.mask, torch.ones_like(ids)], 1)
        return Batch(ids, mask, self.positions[:, -1:] + 1, torch.zeros_like(ids, dtype=torch.bool), self.rows)


def pad(lm: LM, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], rows: Sequence[int]) -> Batch:
    """One left-padded batch of the given prompts and responses (which may be empty)."""
    import torch

    texts = [[*p, *r] for p, r in zip(prompts, responses, strict=True)]
    longest = max(len(t) for t in texts)
    fill = lm.tokenizer.pad_token_id
    shape = (len(texts), longest)
    ids = torch.full(shape, fill if fill is not None else 0, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    response = torch.zeros(shape, dtype=torch.bool)
    for row, (text, answer) in enumerate(zip(texts, responses, strict=True)):
        ids[row, longest - len(text) :] = torch.tensor(text)
        mask[row, longest - len(text) :] = 1
        response[row, longest - len(answer) :] = True
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    ids, mask, positions, response = (t.to(lm.device) for t in (ids, mask, positions, response))
    return Batch(ids, mask, positions, response, list(rows))


def batches(lm: LM, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], size: int) -> Iterator[Batch]:
    """Batches of similar length, longest first, so that little is padding and memory peaks at the start."""
    order = sorted(range(len(prompts)), key=lambda i: (-(len(prompts[i]) + len(responses[i])), i))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield pad(lm, [prompts[i] for i in rows], [responses[i] for i in rows], rows)

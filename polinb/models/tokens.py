"""Prompts and responses → token ids, and left-padded batches of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from jinja2 import TemplateError

from polinb.errors import DataError, ModelError, ParameterError
from polinb.lazy import torch
from polinb.models.lm import LM
from polinb.progress import bar

Ids = Sequence[Sequence[int]]
"""Token ids, one list a text."""

_TODAY = date(2024, 7, 26)  # of every prompt, for templates that write the date
_MARK = "\u241fanswer\u241f"
# Marks between which models think, ``<think>`` and its like.
_THOUGHT = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)"
_OPENED = re.compile(rf"(?:<({_THOUGHT})>|\[THINK\]|◁think▷|<\|START_THINKING\|>)\s*\Z", re.I)
_CLOSING = {"[think]": "[/THINK]", "◁think▷": "◁/think▷", "<|start_thinking|>": "<|END_THINKING|>"}


def prompt_ids(lm: LM, prompt: str, system: str | Literal[False] = False) -> list[int]:
    """Token ids of ``prompt`` as a user turn, up to where the model's answer starts.

    Special tokens that stand in the texts are read as letters; only those of the template itself are marks. ``system``
    is the text of the system turn; ``False`` leaves what the template does by itself.

    Raises:
        ParameterError: the template takes no system turn.
    """
    if not lm.tokenizer.chat_template:
        return text_ids(lm, f"Question: {prompt}\nAnswer:", start=True)
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
    return _encoded(lm, text)


def text_ids(lm: LM, text: str, *, start: bool = False) -> list[int]:
    """Token ids of plain text, in which special tokens are letters.

    With ``start`` comes first what the tokenizer puts before a text, such as a token that begins one. What it would put
    behind (some end every text) is left out: the text goes on.
    """
    lead: list[int] = []
    if start:
        whole, plain = (list(lm.tokenizer("a", add_special_tokens=special).input_ids) for special in (True, False))
        lead = whole[: next(i for i in range(len(whole)) if whole[i : i + len(plain)] == plain)]
    return lead + _encoded(lm, _marked(lm, text))


def _marked(lm: LM, text: str) -> str:
    """``text`` with its special tokens and the template's marks wrapped, so that :func:`_encoded` spells them out."""
    from transformers.utils.chat_template_utils import mark_control_tokens

    tokenizer: Any = lm.tokenizer
    template = tokenizer.chat_template or ""
    marks = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.content in text and (token.special or (not token.content.isspace() and token.content in template))
    ]
    if not marks:
        return text
    # The longest first: one mark may hold another.
    pattern = re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)))
    return str(mark_control_tokens(text, pattern))


def _encoded(lm: LM, text: str) -> list[int]:
    return list(lm.tokenizer(text, add_special_tokens=False, sanitize_control_tokens=True)["input_ids"])


def _template(lm: LM, turns: list[dict[str, str]], answer: bool = True) -> str:
    """The chat template's text. A fixed date and no "thinking": the same prompt every day, and an answer at once."""
    turns = [{"role": turn["role"], "content": _marked(lm, turn["content"])} for turn in turns]
    template = str(lm.tokenizer.chat_template)
    if "strftime_now" in template:  # a macro of the name of transformers' function, which would give today's date
        codes = sorted(set(re.findall(r"%-?[A-Za-z]", template)))
        filled = "".join(f"|replace({code!r}, {_TODAY.strftime(code)!r})" for code in codes)
        template = f"{{% macro strftime_now(format) %}}{{{{ format{filled} }}}}{{% endmacro %}}\n{template}"
    fixed: dict[str, Any] = {"date_string": _TODAY.strftime("%d %b %Y"), "enable_thinking": False}
    how = {"tokenize": False, "add_generation_prompt": answer, "chat_template": template, **fixed}
    text = str(lm.tokenizer.apply_chat_template(turns, **how))
    opened = _OPENED.search(text) if answer else None
    if opened:  # the template has begun a thought: an empty one, so that what follows is the answer
        closing = f"</{opened[1]}>" if opened[1] else _CLOSING[opened[0].strip().lower()]
        text = f"{text.rstrip()}\n\n{closing}\n\n"
    return text


def end_ids(lm: LM) -> list[int]:
    """Token ids that end an answer in the model's template (its end-of-turn token), else the end-of-text token.

    Raises:
        ModelError: there is neither.
    """
    tokenizer = lm.tokenizer
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
        after = _template(lm, turn, answer=False).split(_MARK)[-1]
        ids = tokenizer(after.strip(), add_special_tokens=False).input_ids
        marks = [int(token) for token in ids if token in tokenizer.added_tokens_decoder]
        if marks:  # not a word that follows, such as the next speaker's name: an answer may hold it
            return marks[:1]
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"model {lm.name!r} has no token that ends an answer: neither its tokenizer nor its settings nor a chat "
            "template name one; write it as eos_token into tokenizer_config.json"
        )
    return [int(tokenizer.eos_token_id)]


def response_ids(lm: LM, response: str, *, end: bool) -> list[int]:
    """Token ids of a response, in which special tokens are letters, with the end-of-turn token if ``end``."""
    lead = "" if lm.tokenizer.chat_template else " "
    return text_ids(lm, lead + response) + (end_ids(lm) if end else [])


def fit(prompt: Sequence[int], response: Sequence[int], max_tokens: int) -> tuple[list[int], list[int]]:
    """Prompt kept whole, response cut so that both fit; a ParameterError if there is no room for one token of it."""
    room = max_tokens - len(prompt)
    if room < 1:
        raise ParameterError("max_tokens", max_tokens, f"more than the {len(prompt)} tokens of a prompt")
    return list(prompt), list(response[:room])


@dataclass
class Batch:
    """Left-padded token ids; the responses end at the right edge."""

    ids: torch.Tensor  #: (B, T)
    mask: torch.Tensor  #: (B, T), 1 for real tokens
    positions: torch.Tensor  #: (B, T), of each token in its text
    response: torch.Tensor  #: (B, T) bool, True on response tokens
    rows: list[int]  #: the original index of each row

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of a forward pass."""
        return {"input_ids": self.ids, "attention_mask": self.mask, "position_ids": self.positions}

    def longer(self, token: torch.Tensor) -> Batch:
        """What a model with a cache reads next: one token a row, (B,), with the mask of the whole text."""
        ids = token[:, None]
        mask = torch.cat([self.mask, torch.ones_like(ids)], 1)
        return Batch(ids, mask, self.positions[:, -1:] + 1, torch.zeros_like(ids, dtype=torch.bool), self.rows)


def pad(lm: LM, prompts: Ids, responses: Ids, rows: Sequence[int]) -> Batch:
    """One left-padded batch of the given prompts and responses (which may be empty)."""
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


def batches(lm: LM, prompts: Ids, responses: Ids, size: int, more: int = 0, label: str = "") -> Iterator[Batch]:
    """Batches of similar length, longest first, so that little is padding and memory peaks at the start.

    Args:
        more: tokens that may follow each text.
        label: of a progress bar that counts the texts; empty: none.

    Raises:
        DataError: before the first batch, if a text and what follows it do not fit into the model's context; names the
            longest.
    """
    length = [len(p) + len(r) for p, r in zip(prompts, responses, strict=True)]
    order = sorted(range(len(prompts)), key=lambda i: (-length[i], i))
    if order and length[order[0]] + more > lm.context:
        over = sum(tokens + more > lm.context for tokens in length)
        following = f" and {more} that may follow" if more else ""
        start = lm.tokenizer.decode(list(prompts[order[0]][:20]), skip_special_tokens=True).strip()
        raise DataError(
            f"text {order[0] + 1} of {len(length)} ({start!r}…) has {length[order[0]]} tokens{following}, more than "
            f"the context of model {lm.name!r}, {lm.context}; it is the longest of {over} that are too long"
        )
    shown: Any
    with bar(len(order), label) if label else nullcontext() as shown:
        for start_row in range(0, len(order), size):
            rows = order[start_row : start_row + size]
            yield pad(lm, [prompts[i] for i in rows], [responses[i] for i in rows], rows)
            if label:
                shown.update(len(rows))

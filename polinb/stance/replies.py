"""What a chat service sent back, read: the text after a model's thoughts, whether it is whole, and the rating in it.

A reply is data: it is compared with what a rating looks like, and never followed or guessed at.
"""

from __future__ import annotations

import re
from typing import Any

from polinb.data.rows import HALF

# How servers hand on thoughts that they do not take out: <think>…</think> and its like, of which a chat template may
# have written the first half already, and the channels of gpt-oss, of which the last message is the answer.
_NAMES = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad|details)"
_OPEN = re.compile(
    rf"<{_NAMES}(?:\s[^>]*)?>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|channel\|>\s*(?:analysis|commentary)"
    r"|<\|inner_prefix\|>|\A\s*here(?:'s| is) my thought process:",
    re.I,
)
_CLOSED = re.compile(
    rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|channel\|>\s*final\s*<\|message\|>|<\|inner_suffix\|>"
    r"|\A(?s:analysis.*?assistantfinal)"  # the same channels where a server drops their marks
    r"|\A\s*here(?:'s| is) my thought process:(?s:.*?)here(?:'s| is) my response:",
    re.I,
)
# Marks of the chat template that some servers leave in: <|im_end|>, <|START_RESPONSE|>, </s>, <end_of_turn>, [/INST].
_MARKS = re.compile(r"<\|[\w ]{1,40}\|>|<\uff5c[^>]{1,40}\uff5c>|</?s>|<(?:end_of_turn|eos|pad)>|\[/?INST\]", re.I)
_CUT = {"length", "max_tokens", "max_output_tokens", "model_length", "incomplete"}

_WRAPPING = re.compile(
    r"```(?:text|txt|plain|plaintext|json|markdown|md)?(?=\s)|</?(?:answer|rating|response|output|label|result|b|i|strong|em|p|code)>"
    r"|\\boxed|\\(?:text|textbf|mathrm)(?=\{)|^\s*(?:#+|>|-|\u2022|1[.)])\s",
    re.MULTILINE,
)
_DECORATION = re.compile(r"[*`\"'\u2018-\u201f\u00ab\u00bb.,;!()\[\]{}\\$\u3002\u200b\ufeff]")
# What a rating may look like, once lower-cased and stripped of marks. Anything longer is not guessed at.
_NAME = r"(?:(?:the |my )?(?:final )?(?:political )?(?:rating|leaning|label|answer|response|classification|output))"
_RATING = re.compile(
    rf"(?:assistant:? )?(?:{_NAME}(?: is)? ?:? ?){{0,2}}(?:(?:the |this )?(?:text|response) (?:is|leans) )?"
    r"(?:(left|right)(?: leaning)?|lean(?:s|ing) (left|right))"
)


def final_text(text: str) -> str | None:
    """A reply without the thoughts before it and the marks of a chat template; ``None``: its thought never ends."""
    if ends := [closed.end() for closed in _CLOSED.finditer(text)]:
        text = text[ends[-1] :]
    return None if _OPEN.search(text) else _MARKS.sub(" ", text).strip()


def text_of(message: Any) -> tuple[str, bool]:
    """Text of a message (a refusal's, where there is no other), and whether a thought came beside it.

    Raises:
        TypeError: content that is neither text, nor parts of it, nor missing.
    """
    content, thought = message.content, False
    if isinstance(content, list):  # parts, as in [{"type": "thinking", …}, {"type": "text", "text": "left"}]
        thought = any(part.get("type") in ("thinking", "reasoning") for part in content)
        content = "".join(part["text"] for part in content if part.get("type") in ("text", "output_text"))
    content = content or getattr(message, "refusal", None) or ""
    if not isinstance(content, str):
        raise TypeError("content is no text")
    return content, thought or any(getattr(message, name, None) for name in ("reasoning_content", "reasoning"))


def missing(text: str, finish: str, thought: bool, tokens: int) -> str:
    """Why a reply is not whole; empty if it is.

    Args:
        text: the reply, thoughts included.
        finish: the service's ``finish_reason``.
        thought: a thought came in a field of its own.
        tokens: the budget, for the message.
    """
    more = f"of {tokens} tokens (judge_tokens gives more)"
    if finish.lower() in _CUT:
        return f"reply cut at the budget {more}"
    if finish.lower() == "error":
        return "the service broke off its reply"
    if HALF.search(text):
        return "reply holds half of a character (a lone surrogate)"
    answer = final_text(text)
    if answer is None:
        return f"only an unfinished thought within the budget {more}"
    if not answer:
        if "filter" in finish.lower():
            return "reply withheld by the service's content filter"
        return f"only a thought within the budget {more}" if thought or text.strip() else f"empty reply; budget {more}"
    return ""


def parse_rating(text: str) -> str:
    """``left`` or ``right`` if the reply, its thoughts aside, is that rating and nothing else; ``other`` otherwise.

    Code fences, bold, quotes, a closing full stop, ``Answer:`` and a JSON object of one entry are no part of it.
    """
    plain = _WRAPPING.sub(" ", (final_text(text) or "").casefold())
    plain = re.sub(r"[-\u2010-\u2015_]", " ", plain)
    found = _RATING.fullmatch(" ".join(_DECORATION.sub(" ", plain).replace(" :", ":").split()))
    return (found[1] or found[2]) if found else "other"

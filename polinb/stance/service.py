"""A chat service: its address and key, checked before anything is asked, its refusals and its replies, read.

A reply is data: it is compared with what a rating looks like, and never followed or guessed at.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from polinb.data.rows import HALF
from polinb.errors import JudgeError, ParameterError
from polinb.secrets import hide

if TYPE_CHECKING:
    import openai

DEFAULT_URL = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"  # environment variable; what it holds goes into the request header and nowhere else

_ALLOWED = "an http or https address such as http://localhost:8000/v1, without user name, query or fragment"
_ENDPOINTS = re.compile(r"(?:/chat/completions|/completions|/responses|/models|/embeddings|/messages)$")
_BARE = frozenset({"api.deepseek.com", "api.perplexity.ai"})  # services whose address has no path
_FIELDS = ("temperature", "max_tokens", "max_completion_tokens")
_REFUSED = re.compile(
    r"support|unexpected|unknown|unrecogni|not (?:allowed|permitted)|extra|invalid|forbidden|deprecat", re.I
)


class Address(NamedTuple):
    """Where a service is: ``url`` without a closing slash; on this machine or not."""

    url: str
    local: bool
    sends_key: bool
    """A key goes to no other machine in the clear."""


def address(given: str) -> Address:
    """The checked address of a service, up to and including ``/v1``.

    Raises:
        ParameterError: ``judge_url`` is no such address; says what is wrong with it.
    """
    text = given.strip().rstrip("/")
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
    except ValueError:
        url, host = urlsplit(""), ""
    if set(text) & set("@?#"):
        raise ParameterError("judge_url", "…", _ALLOWED)  # a user name or query may hold a secret
    if url.scheme not in ("http", "https") or not host:
        hint = f"Write http:// or https:// before it: http://{text}" if text and "://" not in text else ""
        raise ParameterError("judge_url", given, _ALLOWED, hint)
    if _ENDPOINTS.search(url.path):
        raise ParameterError("judge_url", given, _ALLOWED, f"Leave out its end: {_ENDPOINTS.sub('', text)}")
    if not url.path and host not in _BARE:
        raise ParameterError("judge_url", given, _ALLOWED, f"It lacks its path, mostly /v1: {text}/v1")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return Address(text, local, local or url.scheme == "https")


def key() -> str:
    """The key, or an empty text.

    Raises:
        JudgeError: it cannot stand in a header; the message does not show it.
    """
    found = os.environ.get(KEY, "").strip()
    if not re.fullmatch(r"[!-~]*", found):
        raise JudgeError(f"the environment variable {KEY} holds no valid key")
    return found


def unreachable(error: BaseException) -> tuple[str, bool]:
    """Why there was no connection, and whether it would be the same for every question."""
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    told = hide(" ".join(str(cause).split()))[:200]
    if isinstance(cause, ssl.SSLError):
        return f"no encrypted connection: {told}; SSL_CERT_FILE names a file of authorities to trust", True
    return f"no connection ({type(cause).__name__}{f': {told}' if told else ''})", False


def words(error: openai.APIStatusError) -> str:
    """The service's own words for a refusal, in whatever form they came; at most 300 characters."""

    def said(node: Any) -> str:
        if isinstance(node, list):
            return "; ".join(filter(None, map(said, node)))
        if isinstance(node, dict):
            for name in ("message", "msg", "detail", "error", "error_description", "title"):
                if text := said(node.get(name)):
                    place = node.get("loc")  # of a field that is not allowed
                    return f"{'.'.join(map(str, place))}: {text}" if isinstance(place, list) else text
        return node if isinstance(node, str) else ""

    try:
        text = said(error.body)
    except RecursionError:
        text = ""
    return hide(" ".join(re.sub(r"<[^>]*>", " ", text).split()))[:300]


def field_instead(said: str) -> str:
    """The field for the longest reply that a service asks for instead of ``max_tokens``; empty if it names none."""
    named = re.search(r"\b(?:use|try)\b\W{0,4}(max\w*tokens)\b", said, re.I)
    return named[1] if named and named[1] != "max_tokens" else ""


def field_refused(said: str) -> bool:
    """Whether a refusal is about a field of every request, not about the text of this one."""
    return any(name in said for name in _FIELDS) and bool(_REFUSED.search(said)) and "context length" not in said


# --- replies

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

"""A chat service's address and key, checked before anything is asked, and its own words where it refuses."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from polinb.errors import JudgeError, ParameterError, first_line
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


def client(place: Address, attempts: int, timeout: float) -> openai.OpenAI:
    """A client of the service; it connects to nothing yet.

    Raises:
        JudgeError: a proxy or certificates that the environment names cannot be used.
    """
    import openai

    try:
        # a proxy has no business between a program and its own machine
        http = openai.DefaultHttpxClient(trust_env=not place.local, follow_redirects=False)
    except (ImportError, ValueError, OSError) as error:
        raise JudgeError(
            f"the way to {place.url} cannot be used: {hide(first_line(error))}. See what the environment names: proxies"
            f" (ALL_PROXY, HTTPS_PROXY; NO_PROXY={urlsplit(place.url).hostname} exempts the judge; SOCKS needs the "
            "package socksio), certificates (SSL_CERT_FILE)"
        ) from None
    sent = (key() if place.sends_key else "") or "none"
    return openai.OpenAI(api_key=sent, base_url=place.url, max_retries=attempts - 1, timeout=timeout, http_client=http)


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

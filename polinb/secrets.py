"""Keys and passwords: told by their names and their forms, refused as parameters, and taken out of texts.

Secrets belong into environment variables. What a parameter holds is written into executed notebooks, artifacts and
pages, so that a key must be refused before the first of them is written.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from polinb.errors import ParameterError

HIDDEN = "[secret]"
_KEY = 16  # characters of a real key, at least
_WORDS = re.compile(r"(?:[A-Z]?[a-z]{0,15}|[A-Z]{1,15})(?:[-_.:/ ](?:[A-Z]?[a-z]{0,15}|[A-Z]{1,15}))*")
_NAME = re.compile(
    r"(?:^|_)(?:api_?key|access_?key|secret|token|password|passwd|passphrase|credentials?|private_?key|key)(?:$|_)",
    re.IGNORECASE,
)
_FORMS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        sk-[A-Za-z0-9_-]{18,}               # OpenAI, Anthropic and their like
      | hf_[A-Za-z0-9]{18,}                 # Hugging Face
      | gh[pousr]_[A-Za-z0-9]{18,} | github_pat_[A-Za-z0-9_]{18,}
      | glpat-[A-Za-z0-9_-]{16,}            # GitLab
      | (?:AKIA|ASIA)[A-Z0-9]{16}           # Amazon
      | AIza[A-Za-z0-9_-]{30,}              # Google
      | xox[abprs]-[A-Za-z0-9-]{10,}        # Slack
      | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*  # JSON web tokens
    ) | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
      | \bBearer\s+[A-Za-z0-9._~+/-]{16,}""",
    re.VERBOSE,
)
_USERINFO = re.compile(r"(?<=://)[^/\s@?#'\"]+@")  # a user name alone may be a token
_QUERY = re.compile(
    r"(?<=[?&])((?:api_?key|access_?token|token|key|password|secret|signature)=)[^&#\s'\"]+", re.IGNORECASE
)
_HINT = "Put keys and passwords into environment variables, never into a parameter"


def refuse(settings: Mapping[str, object], known: Collection[str]) -> None:
    """Refuse parameters that are a secret by name or by value; the message never shows the value.

    Args:
        settings: name → value as given; lists and mappings are searched as well.
        known: names that are parameters (``max_tokens`` is no secret's name).

    Raises:
        ParameterError: names the parameter.
    """
    for name, value in settings.items():
        # text only: the book's own tables and numbers may stand in a notebook's names
        named = value and name not in known and _NAME.search(name) and isinstance(value, str | bytes)
        try:
            secret = named or hide(name) != name or any(hide(text) != text for text in texts(value))
        except RecursionError:
            raise ParameterError(name, "…", "a value that does not contain itself") from None
        if secret:
            raise ParameterError(hide(name), "…", "no secret", _HINT)


def hide(text: str, forms: bool = True) -> str:
    """``text`` with every known secret replaced, also where it stands in JSON.

    Known are the values of environment variables that are named like secrets and have the form of a key (not a word
    such as ``EMPTY``) and, with ``forms``, whatever has the form of a common service's key or of a password in an
    address.
    """
    for value in _values():
        for form in (value, json.dumps(value)[1:-1]):  # executed notebooks are JSON
            text = text.replace(form, HIDDEN)
    if not forms:
        return text
    text = _FORMS.sub(HIDDEN, text)
    text = _USERINFO.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(lambda found: found[1] + HIDDEN, text)


def _values() -> list[str]:
    """Secrets in this process's environment, longest first so that one within another is no trouble.

    A path is none: it says where a key lies.
    """
    named = {value.strip() for name, value in os.environ.items() if _NAME.search(name)}
    # Local services take any word for a key, EMPTY or not-needed; taking it out of texts would change them.
    found = [v for v in named if len(v) >= _KEY and not _WORDS.fullmatch(v) and not Path(v).is_absolute()]
    return sorted(found, key=lambda value: (-len(value), value))


def texts(value: object) -> Iterator[str]:
    """The texts in a JSON value, or in what a parameter may hold; keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from texts(name)
            yield from texts(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from texts(item)

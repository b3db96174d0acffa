"""API pages from docstrings: napoleon's sections as this project writes them, stages as functions, links of types.

Types are in our signatures, so a section here is prose: ``Returns:`` begins with no type,
``ids, mask: …`` are two names.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.ext.autodoc import FunctionDocumenter
from sphinx.ext.napoleon import Config, GoogleDocstring

from polinb.runs.results import Stage

_CONFIG: Any = Config(napoleon_use_param=False, napoleon_use_rtype=False)
_LITERAL = re.compile(r"(``.+?``|:[a-z:]+:`.+?`)")
_ARRAY = re.compile(r"~?numpy\.ndarray\[tuple\[[^\[\]]*\], ~?numpy\.dtype\[[^\[\]]*\]\]")


class StageDocumenter(FunctionDocumenter):
    """A stage (``polinb.runs.results``) is documented as the function that makes its results."""

    objtype = "stage"
    directivetype = "function"
    priority = FunctionDocumenter.priority + 1

    @classmethod
    def can_document_member(cls, member: Any, membername: str, isattr: bool, parent: Any) -> bool:
        """Whether it is one."""
        return isinstance(member, Stage)

    def import_object(self, raiseerror: bool = False) -> bool:
        """Its function in its place."""
        found = super().import_object(raiseerror)
        self.object = getattr(self.object, "make", self.object)
        return found


class Docstring(GoogleDocstring):
    """Sections whose first word before a colon is no type."""

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
        return [("", "", self._dedent(self._consume_to_next_section()))]

    def _parse_attributes_section(self, section: str) -> list[str]:
        return self._format_fields("Attributes", self._consume_fields())


def connect(app: Any) -> None:
    """Register the handlers."""
    if "sphinx.ext.autodoc" in app.extensions:
        app.add_autodocumenter(StageDocumenter)
        app.connect("autodoc-process-docstring", _docstring)
        app.connect("autodoc-process-signature", _signature)
        app.connect("autodoc-skip-member", _skip)
        app.connect("missing-reference", _resolved)


def _docstring(_app: Any, what: str, _name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    known = _fields(thing) if what == "class" else {}
    listed = [f"    {name}: {field.description or ''}" for name, field in known.items()]
    parts = [_LITERAL.split(line) for line in [*lines, "", *(["Attributes:", *listed, ""] if listed else [])]]
    # a bar is an absolute value, not a substitution
    plain = ["".join(p if i % 2 else p.replace("|", r"\|") for i, p in enumerate(line)) for line in parts]
    lines[:] = [line.replace("** -- ", "** – ") for line in Docstring(plain, _CONFIG).lines()]


def _fields(thing: Any) -> dict[str, Any]:
    """The parameters of a pydantic model."""
    known = getattr(thing, "model_fields", None)
    return known if isinstance(known, dict) else {}


def _signature(_app: Any, what: str, _name: str, thing: Any, _options: Any, given: Any, returns: Any) -> Any:
    """Signatures without what tells nothing: a model's fields (listed below), a protocol's or a library's maker."""
    made = str(getattr(getattr(thing, "__new__", None), "__module__", "polinb."))
    if what == "class" and (_fields(thing) or getattr(thing, "_is_protocol", False) or made == "traitlets.traitlets"):
        return "", returns
    return tuple(_ARRAY.sub("~numpy.ndarray", text) if text else text for text in (given, returns))


def _skip(_app: Any, _what: str, name: str, thing: Any, _skip: bool, _options: Any) -> bool | None:
    return True if name == "model_config" else False if isinstance(thing, Stage) else None


def _resolved(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A bare name with one entry leads to it; one without is no link on the pages of docstrings, and else an error."""
    if node.get("refdomain") != "py":
        return None
    domain, (module, _, last) = env.get_domain("py"), str(node.get("reftarget", "")).rpartition(".")
    entries = [] if module else [name for name in domain.objects if name.endswith(f".{last}")]
    if len(entries) == 1:
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", entries[0], node, content)
    return content if node["refdoc"].startswith("api/") else None

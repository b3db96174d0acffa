"""API pages from docstrings: prose stays prose, names lead to their definitions, parameters are listed.

Signatures are read without importing what only type checkers need, so a type may come as a bare name. Which object it
is follows from the imports of the module that says it; a name that nobody knows stays an error of the build.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

from sphinx.ext.autodoc import FunctionDocumenter

from polinb import errors
from polinb.runs.results import Stage

# Libraries whose types occur in signatures. Their pages are on other hosts: names, not links.
_NAMES = (
    "altair anywidget datasets filelock httpx huggingface_hub ipywidgets IPython nbformat nnsight numpy openai pandas"
    " peft pydantic pydantic_core scipy sklearn sphinx tokenizers torch traitlets transformers trl"
)
OTHERS = frozenset(_NAMES.split())
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


def connect(app: Any) -> None:
    """Register the handlers."""
    if "sphinx.ext.autodoc" in app.extensions:
        app.add_autodocumenter(StageDocumenter)
        app.connect("autodoc-process-docstring", _docstring)
        app.connect("autodoc-process-signature", _signature)
        app.connect("autodoc-skip-member", _skip)
        app.connect("doctree-read", name_in_full)
        app.connect("missing-reference", foreign)


# --- docstrings ---
#
# Sphinx's napoleon would read the first word before a colon as a type (``Returns:``, attributes) or split a pair of
# names (``ids, mask: …``); types are in our signatures, and a section here is prose.

TITLES = {
    "Args:": "Parameters",
    "Attributes:": "Attributes",
    "Raises:": "Raises",
    "Returns:": "Returns",
    "Yields:": "Yields",
}
_ENTRY = re.compile(r"([A-Za-z_*][\w.*]*(?:, [A-Za-z_*][\w.*]*)*): +(.+)")
_LITERAL = re.compile(r"(``.+?``|:[a-z:]+:`.+?`)")


def restructured(lines: Sequence[str]) -> list[str]:
    """Lines of a docstring, already dedented, as reStructuredText."""
    made: list[str] = []
    rest = [_bars(line) for line in lines]
    while rest:
        line = rest.pop(0)
        if line.strip() not in TITLES or line.startswith(" "):
            made.append(line)
            continue
        body = []
        while rest and (not rest[0].strip() or rest[0].startswith(" ")):
            body.append(rest.pop(0))
        made += ["", f":{TITLES[line.strip()]}:", *_section(line.strip(), body), ""]
    return made


def field_list(entries: Sequence[tuple[str, str]]) -> list[str]:
    """Names with their descriptions, given as plain text, under the title *Attributes*."""
    return ["", ":Attributes:", *(f"    - **{plain(name)}** – {plain(text)}" for name, text in entries), ""]


def plain(text: str) -> str:
    """Text that reStructuredText shows as it is."""
    return "".join(f"\\{mark}" if mark in "\\*`|_" else mark for mark in text)


def _section(title: str, body: Sequence[str]) -> list[str]:
    """A section's body, indented below its field: a list of entries, or prose where it has none."""
    if title in ("Returns:", "Yields:"):
        return [f"    {line.strip()}" if line.strip() else "" for line in body]
    depth = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    made: list[str] = []
    for line in body:
        entry = _ENTRY.fullmatch(line[depth:].rstrip()) if line[:depth].isspace() and line[depth:][:1] != " " else None
        if entry:
            names = [_error(name) if title == "Raises:" else f"**{plain(name)}**" for name in entry[1].split(", ")]
            made.append(f"    - {', '.join(names)} – {entry[2]}")
        elif line.strip():
            made.append(f"      {line.strip()}" if made else f"    - {line.strip()}")
    return made


def _error(name: str) -> str:
    """An error as a link to its entry; the page of ``polinb.errors`` has one for each of ours."""
    return f":exc:`~polinb.errors.{name}`" if hasattr(errors, name) else f":exc:`{name}`"


def _bars(line: str) -> str:
    """Vertical bars are absolute values here, not substitutions."""
    parts = _LITERAL.split(line)
    return "".join(part if index % 2 else part.replace("|", r"\|") for index, part in enumerate(parts))


def _docstring(_app: Any, what: str, _name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    parameters = fields(thing) if what == "class" else {}
    lines[:] = [*restructured(lines), *(field_list(list(parameters.items())) if parameters else [])]


def fields(thing: Any) -> dict[str, str]:
    """The parameters of a pydantic model with their descriptions."""
    known = getattr(thing, "model_fields", None)
    return {name: field.description or "" for name, field in known.items()} if isinstance(known, dict) else {}


def _signature(_app: Any, what: str, _name: str, thing: Any, _options: Any, given: Any, returns: Any) -> Any:
    """Signatures without what tells nothing: a model's fields (listed below), a protocol's or a library's maker."""
    if what == "class" and (fields(thing) or getattr(thing, "_is_protocol", False)):
        return "", returns
    if what == "class" and _made_elsewhere(thing.__new__):  # what a widget's library says, instead of our __init__
        if _made_elsewhere(thing.__init__):
            return "", returns
        from sphinx.util.inspect import signature, stringify_signature

        given = stringify_signature(signature(thing.__init__, bound_method=True), show_return_annotation=False)
    return tuple(_ARRAY.sub("~numpy.ndarray", text) if text else text for text in (given, returns))


def _made_elsewhere(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] in OTHERS


def _skip(_app: Any, _what: str, name: str, thing: Any, _skip: bool, _options: Any) -> bool | None:
    return True if name == "model_config" else False if isinstance(thing, Stage) else None


# --- names ---


def name_in_full(_app: Any, doctree: Any) -> None:
    """Handler of ``doctree-read``: a bare name becomes the full one that the module's imports say."""
    from sphinx.addnodes import pending_xref

    for node in doctree.findall(pending_xref):
        module = node.get("py:module") or ""
        if node.get("refdomain") == "py" and module.startswith("polinb."):
            first, dot, rest = node["reftarget"].partition(".")
            full = origins(module).get(first)
            if full:
                node["reftarget"] = f"{full}{dot}{rest}"
                node["refspecific"] = False


def foreign(_app: Any, env: Any, node: Any, content: Any) -> Any:
    """Handler of ``missing-reference``: another package's name, a constant or attribute without an entry: no link.

    Neither has a function that stands where a type is expected, as in ``Annotated[str, BeforeValidator(f)]``.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    first = target.partition(".")[0]
    module, _, name = target.rpartition(".")
    constant = module.startswith("polinb.") and (name.startswith("_") or origins(module).get(name) == target)
    bare = node.get("reftype") == "attr" and not module  # what an instance holds has no entry of its own
    function = node.get("reftype") == "class" and target in env.get_domain("py").objects
    return content if constant or bare or function or first in OTHERS or first in sys.stdlib_module_names else None


@cache
def origins(module: str) -> dict[str, str]:
    """Names that a module imports, also for type checkers only, and its own constants → where each comes from."""
    try:
        spec = util.find_spec(module)
    except (ImportError, ValueError):
        return {}
    if not spec or not spec.origin:
        return {}
    found: dict[str, str] = {}
    for node in _top(ast.parse(Path(spec.origin).read_text("utf-8")).body):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        else:
            targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
            found |= {name.id: f"{module}.{name.id}" for name in targets if isinstance(name, ast.Name)}
    return found


def _top(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements of a module, and those under its ``if TYPE_CHECKING:``."""
    inner = [node for each in body if isinstance(each, ast.If) for node in each.body]
    return [*body, *inner]

"""The troubleshooting page against the source: every entry's words are a message of the file that it names."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / "book" / "troubleshooting.md"
GAP = "\0"  # in a message: what is filled in at run time
ENTRY = re.compile(r"^### (.+)\n(?:% from: (\S+)(?: (\w+))?\n)?((?:(?!^#).*\n?)*)", re.M)
# a message of PyTorch's, and two entries that have no message
WITHOUT_SOURCE = {
    "`CUDA out of memory`",
    "A chart or the explorer shows a picture or a table only",
    "A GPU gives other numbers than a processor",
}


def entries(text: str) -> list[tuple[str, str, str, str]]:
    """Heading, file, error and prose of each entry."""
    return [(m[1], m[2] or "", m[3] or "", m[4].strip()) for m in ENTRY.finditer(text)]


ENTRIES = entries(PAGE.read_text("utf-8"))


@cache
def messages(file: str) -> tuple[str, ...]:
    """Texts of a source file, with a gap for each value that is filled in; all text of a file that is no Python."""
    text = (REPO / file).read_text("utf-8")
    if not file.endswith(".py"):
        return (re.sub(r"\$\{?\w+\}?|\$\(.*?\)", GAP, text),)
    return tuple(found for node in ast.walk(ast.parse(text)) if (found := template(node)))


def template(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or GAP for part in node.values)
    return ""


def says(file: str, heading: str) -> bool:
    """Whether a text of ``file`` has the heading's words in their order, with something filled in at each …."""
    pieces = heading.strip("`").split("…")
    if sum(len(piece.strip()) for piece in pieces) < 9:
        return False  # too little to tell one message from another
    pattern = re.compile("[^\n]*?".join(re.escape(piece) for piece in pieces))
    return any(pattern.search(text) for text in messages(file))


@cache
def raised(file: str) -> set[str]:
    """Errors that a file raises or defines."""
    nodes = list(ast.walk(ast.parse((REPO / file).read_text("utf-8"))))
    called = {n.exc.func.id for n in nodes if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call) if is_name(n)}
    return called | {n.name for n in nodes if isinstance(n, ast.ClassDef)}


def is_name(node: ast.Raise) -> bool:
    return isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)


def error_classes() -> set[str]:
    """Names of all errors of the package that derive from PolinbError, without importing anything heavy."""
    bases: dict[str, set[str]] = {}
    for path in [p for folder in ("polinb", "book/_make", "book/_ext") for p in (REPO / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
    found = {"PolinbError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return {name for name in found if not name.startswith("_")} - {"PolinbError"}


@pytest.mark.parametrize(("heading", "file", "error", "prose"), ENTRIES, ids=[entry[0][:60] for entry in ENTRIES])
def test_an_entry_is_a_message_of_its_source(heading: str, file: str, error: str, prose: str) -> None:
    assert len(prose) > 30, "an entry says what to do"
    if heading in WITHOUT_SOURCE:
        assert not file
        return
    assert file, "no '% from: FILE ERROR' below the heading"
    assert says(file, heading), f"{file} has no message with these words"
    if error:
        assert error in raised(file)


def test_every_error_class_has_an_entry() -> None:
    told = {error for _, _, error, _ in ENTRIES}
    assert error_classes() >= {"ParameterError", "DataError", "ModelError", "ArtifactError", "BookError"}
    assert error_classes() <= told, f"without an entry: {sorted(error_classes() - told)}"


def test_headings_are_unique_and_the_page_has_its_groups() -> None:
    assert len({heading for heading, *_ in ENTRIES}) == len(ENTRIES) > 60
    groups = re.findall(r"^## (.+)$", PAGE.read_text("utf-8"), re.M)
    assert len(groups) == 10


def test_a_changed_message_is_noticed() -> None:
    assert says("polinb/models/loading.py", "`model … is no alias (…), no existing folder`")
    assert not says("polinb/models/loading.py", "`model … is not an alias`")
    assert not says("polinb/models/loading.py", "`model … no existing folder and is no alias`")  # another order
    assert not says("polinb/models/loading.py", "`… (…)`")
    assert says(".ci/setup", "`Python … to … is missing (…)`") and not says(".ci/setup", "`Python … is not there`")
    (entry,) = entries("### `a …`\n% from: x.py ModelError\n\nWhat to do.\n\n## Next\n")
    assert entry == ("`a …`", "x.py", "ModelError", "What to do.")


def test_commands_and_links_of_the_page_exist() -> None:
    text = PAGE.read_text("utf-8")
    targets = set(re.findall(r"`make (\w+)`", text))
    makefile = (REPO / "Makefile").read_text("utf-8")
    assert targets and all(re.search(rf"^(?:\w+ )*{target}(?: \w+)*:", makefile, re.M) for target in targets)
    for name in re.findall(r"\{doc\}`([^`]+)`", text):
        assert (PAGE.parent / f"{name}.md").is_file()
    for name in re.findall(r"notebooks/\w+\.ipynb", text):
        assert (REPO / name).is_file()

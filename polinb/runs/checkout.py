"""A checkout of the project: where its notebooks and its book lie, which chapters there are, settings as texts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml

from polinb.errors import BookError, ParameterError
from polinb.runs.params import Params
from polinb.secrets import hide, refuse

BEYOND = ("Beyond the paper", "What the shift is")  # parts whose chapters run only when asked for


class Layout:
    """Where things are in a checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notebooks = root / "notebooks"  # as written, without outputs
        self.chapters = root / "book" / "chapters"  # as executed
        self.reference = root / "book" / "reference"  # committed results of the reference run
        self.vendor = root / "book" / "_assets" / "vendor"  # browser files out of installed packages
        self.build = root / "_build"  # pages and times

    @property
    def failed(self) -> Path:
        """A notebook while it runs, and what is left of it if it fails."""
        return self.chapters / "failed"


def find_layout() -> Layout:
    """The checkout that this package lies in, else the one around the current folder, else a BookError."""
    around = Path.cwd()
    for folder in [Path(__file__).resolve().parents[2], around, *around.parents]:
        if (folder / "_config.yml").is_file() and (folder / "book" / "_toc.yml").is_file():
            return Layout(folder)
    raise BookError("no checkout of polinb here: run this in a folder that holds _config.yml and book/_toc.yml")


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """``name=value`` texts as parameters of their declared types; what does not fit stays text; that is refused later.

    Raises:
        ParameterError: no equals sign, a name given twice, no list where one is expected.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise ParameterError("--set", hide(text), "name=value")
        refuse({name: value}, Params.model_fields)
        if name in settings:
            raise ParameterError(name, value, "one value; it is given twice")
        kind: Any = Params.model_fields[name].annotation if name in Params.model_fields else str
        if get_origin(kind) is list:
            settings[name] = [_one(get_args(kind)[0], item) for item in _items(name, value)]
        else:
            settings[name] = _one(kind, value)
    return settings


def _one(kind: Any, text: str) -> Any:
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if kind in (int, float):
        with suppress(ValueError):  # also: a number of 5000 digits
            return int(text) if kind is int or re.fullmatch(r"\s*[+-]?\d+\s*", text) else float(text)
    elif Literal[False] in get_args(kind):  # text, or no text at all; the text "false" in quotes
        if text.strip().lower() == "false":
            return False
        with suppress(ValueError):
            return quoted if isinstance(quoted := json.loads(text), str) else text
    return text


def _items(name: str, text: str) -> list[str]:
    """Items of a list such as ``[crime, "race"]``: YAML in which nothing is guessed to be a number or nothing."""
    try:
        found = yaml.BaseLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError):
        found = None
    plain = isinstance(found, list) and all(isinstance(item, str) for item in found)
    if not plain or text.count("#") > sum(item.count("#") for item in found):  # what YAML takes for a comment
        raise ParameterError(name, text, 'a list such as [a, b] or ["a", "b"]; [] is the empty one')
    return list(found)


def chapter_names(layout: Layout) -> list[str]:
    """Names of the notebooks in order, checked against the table of contents."""
    names = sorted(path.stem for path in layout.notebooks.glob("*.ipynb"))
    stray = sorted(set(names) ^ set(_listed(layout)))
    if stray:
        where = "book/_toc.yml does not list it" if stray[0] in names else "book/_toc.yml lists it"
        raise BookError(f"notebooks/{stray[0]}.ipynb: {where}; notebooks and table of contents must agree")
    return names


def core_names(layout: Layout) -> list[str]:
    """The chapters of the table of contents, without those of the parts that go beyond the paper."""
    return _listed(layout, without=BEYOND)


def chosen_chapters(layout: Layout, chapters: Sequence[str] | None) -> list[str]:
    """Names of the chapters that are asked for: core (as None is), all or names.

    Raises:
        ParameterError: an unknown name.
        BookError: notebooks and table of contents do not agree.
    """
    every = chapter_names(layout)
    groups = {"core": core_names(layout), "all": every}
    chapters = ["core"] if chapters is None else chapters
    if len(chapters) == 1 and chapters[0] in groups:
        return groups[chapters[0]]
    if not chapters or set(chapters) - set(every):
        raise ParameterError("--chapters", ",".join(chapters), f"core, all, or some of {', '.join(every)}")
    return [name for name in every if name in chapters]


def _listed(layout: Layout, without: Sequence[str] = ()) -> list[str]:
    """Names of the chapters in the table of contents, in order, but for some of its parts."""
    parts = yaml.safe_load((layout.root / "book" / "_toc.yml").read_text("utf-8"))["parts"]
    files = [each["file"] for part in parts if part.get("caption") not in without for each in part["chapters"]]
    return sorted(file.removeprefix("chapters/") for file in files if file.startswith("chapters/"))


def tell(text: str) -> None:
    """Print a line of the build's report at once."""
    print(text, flush=True)

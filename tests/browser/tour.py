"""Tours of a built book: every page opened once in a mode, with what was seen on it; test_pages.py judges that."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKS = (Path(__file__).parent / "page_checks.js").read_text("utf-8")


@dataclass
class Seen:
    """One page in one mode."""

    abroad: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)


def pages(html: Path) -> list[str]:
    """Every page of a built book, relative to its folder."""
    found = [path.relative_to(html) for path in sorted(html.rglob("*.html"))]
    return [path.as_posix() for path in found if path.parts[0] != "_static"]


def look(page: Any, what: str) -> Any:
    """What a function of ``page_checks.js`` finds on the page as it is."""
    return page.evaluate(f"{CHECKS}\npolinbChecks.{what}()")


def tour(chromium: Any, Visit: Any, root: str, names: list[str], what: str, **options: Any) -> dict[str, Seen]:
    """Opens every page below ``root`` (an address) and looks at it; in one tab, which is faster."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 1000}} | options)
    visit = Visit(context.new_page(), root)
    result = {}
    for name in names:
        visit.abroad, visit.failed, visit.errors = [], [], []
        visit.page.goto(f"{root}/{name}")
        found = look(visit.page, what)
        result[name] = Seen(visit.abroad, visit.failed, visit.errors, found)
    context.close()
    return result

"""Tours of a built book: every page opened once in a mode, with what was seen on it; test_pages.py judges that."""

from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKS = (Path(__file__).parent / "page_checks.js").read_text("utf-8")


@dataclass
class Visit:
    """A page, everything that went wrong on it, and what a tour found there."""

    page: Any
    allowed: str
    found: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self):
        own, gone = ("data:", "blob:", self.allowed), "net::ERR_ABORTED"  # gone: to the next page meanwhile
        self.hear("request", lambda r: not r.url.startswith(own), lambda r: f"abroad: {r.url}")
        self.hear("requestfailed", lambda r: r.failure != gone, lambda r: f"{r.failure}: {r.url}")
        self.hear("response", lambda r: r.status >= 400, lambda r: f"{r.status}: {r.url}")
        self.hear("pageerror", lambda e: True, str)
        self.hear("console", lambda m: m.type == "error", lambda m: m.text)

    def hear(self, event, is_wrong, told):
        self.page.on(event, lambda what: self.wrong.append(told(what)[:300]) if is_wrong(what) else None)


def new_visit(chromium: Any, allowed: str, **options: Any) -> Visit:
    """A new tab; ``allowed`` begins the addresses that it may ask, ``options`` are of the browser's context."""
    usual = {"viewport": {"width": 1280, "height": 1000}, "permissions": ["clipboard-read", "clipboard-write"]}
    return Visit(chromium.new_context(**usual | options).new_page(), allowed)


def look(page: Any, what: str) -> Any:
    """What a function of ``page_checks.js`` finds on the page as it is."""
    return page.evaluate(f"{CHECKS}\npolinbChecks.{what}()")


def tour(chromium: Any, root: str, names: list[str], what: str, **options: Any) -> dict[str, Visit]:
    """Opens every page below the address ``root`` and looks at it; in one tab, which is faster."""
    visit, result = new_visit(chromium, root, **options), {}
    for name in names:
        visit.wrong = []
        visit.page.goto(f"{root}/{name}")
        visit.found = look(visit.page, what)
        result[name] = copy(visit)
    visit.page.context.close()
    return result

"""Tours of a built book: every page opened once in a mode, with what was seen on it; test_pages.py judges that."""

from __future__ import annotations

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
    abroad: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.on("request", self._request)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", lambda r: self.failed.append(f"{r.status} {r.url[:200]}") if r.status >= 400 else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)[:300]))
        self.page.on("console", lambda m: self.errors.append(m.text[:300]) if m.type == "error" else None)

    def _request(self, request):
        if not request.url.startswith(("data:", "blob:", self.allowed)):
            self.abroad.append(request.url[:200])

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # a reader may have opened the next page meanwhile
            self.failed.append(f"{request.url[:200]} {request.failure}")

    def wrong(self) -> list[str]:
        """Requests to another host, what is missing, and errors of scripts."""
        return [*self.abroad, *self.failed, *self.errors]


def new_visit(chromium: Any, allowed: str, **options: Any) -> Visit:
    """A new tab; ``allowed`` begins the addresses that it may ask, ``options`` are of the browser's context."""
    usual = {"viewport": {"width": 1280, "height": 1000}, "permissions": ["clipboard-read", "clipboard-write"]}
    return Visit(chromium.new_context(**usual | options).new_page(), allowed)


def pages(html: Path) -> list[str]:
    """Every page of a built book, relative to its folder."""
    found = [path.relative_to(html) for path in sorted(html.rglob("*.html"))]
    return [path.as_posix() for path in found if path.parts[0] != "_static"]


def look(page: Any, what: str) -> Any:
    """What a function of ``page_checks.js`` finds on the page as it is."""
    return page.evaluate(f"{CHECKS}\npolinbChecks.{what}()")


def tour(chromium: Any, root: str, names: list[str], what: str, **options: Any) -> dict[str, Visit]:
    """Opens every page below ``root`` (an address) and looks at it; in one tab, which is faster."""
    visit, result = new_visit(chromium, root, **options), {}
    for name in names:
        visit.abroad, visit.failed, visit.errors = [], [], []
        visit.page.goto(f"{root}/{name}")
        visit.found = look(visit.page, what)
        result[name] = copy(visit)
    visit.page.context.close()
    return result

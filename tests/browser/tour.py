"""Tours of a built book: every page opened once in a mode, with what was seen on it; test_pages.py judges that."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKS = (Path(__file__).parent / "page_checks.js").read_text("utf-8")
SETTLED = """() => [...document.querySelectorAll("div.polinb-vega, div.polinb-app")]
    .filter((e) => !e.closest(".sd-tab-content") || e.getClientRects().length) // in a tab it is drawn once it is seen
    .every((e) => ["ready", "error"].includes(e.dataset.state))"""
MATHS = "() => window.MathJax && MathJax.startup && MathJax.startup.promise ? MathJax.startup.promise.then(() => 1) : 1"


@dataclass
class Seen:
    """One page in one mode."""

    name: str
    abroad: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)


def pages(html: Path) -> list[str]:
    """Every page of a built book, relative to its folder."""
    found = [path.relative_to(html) for path in sorted(html.rglob("*.html"))]
    return [path.as_posix() for path in found if path.parts[0] != "_static"]


def look(page: Any, *checks: str) -> dict[str, Any]:
    """Results of the named checks of ``page_checks.js`` on the page as it is."""
    page.evaluate(CHECKS)
    return {check: page.evaluate(f"polinbChecks.{check}()") for check in checks}


def settle(page: Any, timeout: float = 30_000) -> None:
    """Until charts (also those far down) and interactive parts are drawn or failed, and the maths is set."""
    page.evaluate("() => { window.polinbDrawAll && window.polinbDrawAll() }")
    page.wait_for_function(SETTLED, timeout=timeout)
    page.evaluate(MATHS)


def unfold(page: Any) -> None:
    """Show all tabs: what stands in them is judged as well. Works without the page's scripts, too."""
    page.evaluate(
        """() => document.head.append(Object.assign(document.createElement("style"),
            { textContent: ".sd-tab-content { display: block !important }" }))"""
    )


def theme(page: Any, name: str) -> None:
    """Switch as the theme's button does, without its animation."""
    page.evaluate(
        "name => { document.documentElement.dataset.theme = document.documentElement.dataset.mode = name }", name
    )
    page.add_style_tag(content="*, *::before, *::after { transition: none !important; animation: none !important }")


def full(page: Any) -> dict[str, Any]:
    """Everything there is to see on a page with scripts: wide and light, dark, narrow."""
    settle(page)
    page.evaluate(CHECKS)
    found = {"wide": page.evaluate("polinbChecks.cut()")}
    unfold(page)
    settle(page)
    found |= look(page, "charts", "parts", "maths", "structure")
    for name in ("light", "dark"):
        theme(page, name)
        settle(page)
        found[name] = page.evaluate("polinbChecks.contrast(4.5)")
    found |= look(page, "frames")
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    settle(page)
    page.evaluate(CHECKS)
    found["phone"] = page.evaluate("polinbChecks.cut()")
    unfold(page)
    settle(page)
    found["narrow"] = page.evaluate("polinbChecks.overflow()")
    return found


def brief(page: Any) -> dict[str, Any]:
    """What has to work over ``file://`` too."""
    unfold(page)
    settle(page)
    return look(page, "charts", "parts", "maths")


def bare(page: Any) -> dict[str, Any]:
    """A page where no script runs."""
    unfold(page)
    return look(page, "parts", "pictures")


def tour(chromium: Any, Visit: Any, root: str, names: list[str], see: Any, **options: Any) -> dict[str, Seen]:
    """Opens every page below ``root`` (an address) and looks at it with ``see``; in one tab, which is faster."""
    context = chromium.new_context(**options)
    visit = Visit(context.new_page(), root)
    result = {}
    for name in names:
        visit.abroad, visit.failed, visit.errors = [], [], []
        visit.page.set_viewport_size({"width": 1280, "height": 1000})
        visit.page.goto(f"{root}/{name}")
        found = see(visit.page)
        result[name] = Seen(name, visit.abroad, visit.failed, visit.errors, found)
    context.close()
    return result

"""A real browser for the tests: Chromium with no way to another host, a book served below a subfolder, and checks.

``browsers.py`` finds Chromium; ``make test`` installs it where the system lets it (.ci/browser). Without one these
tests are skipped and say so, except in CI, where its absence is a failure.
"""

from __future__ import annotations

import functools
import http.server
import os
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import browsers
import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # no name resolves: a page that asks another host fails, and the request is recorded
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
]


@pytest.fixture(scope="package")  # not longer: its event loop would stand in the way of other tests
def chromium():
    """Playwright's handle of a running headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = browsers.find()
    if not path:
        if os.environ.get("CI"):
            pytest.fail(browsers.NONE)
        pytest.skip(browsers.NONE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page and everything that went wrong on it."""

    page: object
    allowed: str
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
        # a reader may have opened the next page meanwhile
        if request.failure != "net::ERR_ABORTED" or not request.url.endswith("/favicon.svg"):
            self.failed.append(f"{request.url[:200]} {request.failure}")

    def assert_clean(self):
        """No request to another host, nothing missing, no error of a script."""
        assert not self.abroad, f"requests that leave the book: {self.abroad}"
        assert not self.failed, f"requests that failed: {self.failed}"
        assert not self.errors, f"errors of scripts: {self.errors}"


@pytest.fixture
def visit(chromium):
    """Factory: opens an address and returns its :class:`Visit`; keywords go to the browser's context.

    ``visit(url, allowed=prefix, viewport={...}, java_script_enabled=False, color_scheme="dark")``
    """
    contexts = []

    def open_page(url: str, allowed: str = "", wait: str = "load", **options) -> Visit:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 1000}} | options))
        contexts.append(context)
        seen = Visit(context.new_page(), allowed or url.rsplit("/", 1)[0])
        seen.page.goto(url, wait_until=wait)
        return seen

    yield open_page
    for context in contexts:
        context.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path, below: str = "some/folder"):
    """``folder`` over HTTP at http://127.0.0.1:PORT/``below``/, as a project page is served."""
    with tempfile.TemporaryDirectory() as root:
        target = Path(root) / below
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder.resolve())
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=root))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{below}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

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
from pathlib import Path

import browsers
import pytest
from tour import new_visit

# No name resolves: a page that asks another host fails, and the request is recorded.
ARGUMENTS = ["--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost"]


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


@pytest.fixture
def visit(chromium):
    """Factory: opens an address and returns its page, on which nothing may go wrong until the end of the test.

    ``visit(url, allowed=prefix, viewport={...}, java_script_enabled=False, color_scheme="dark")``; ``clean=False``: a
    page that is broken on purpose.
    """
    made = []

    def open_page(url: str, allowed: str = "", wait: str = "load", clean: bool = True, **options):
        seen = new_visit(chromium, allowed or url.rsplit("/", 1)[0], **options)
        made.append((seen, clean))
        seen.page.goto(url, wait_until=wait)
        return seen.page

    yield open_page
    wrong = [each for seen, clean in made if clean for each in seen.wrong()]
    for seen, _ in made:
        seen.page.context.close()
    assert not wrong


@pytest.fixture
def part(visit):
    """Factory: opens the address of an interactive part and returns its page once the part is drawn."""

    def open_page(url: str, **options):
        page = visit(url, **options)
        page.wait_for_selector(".polinb-app[data-state=ready]", state="attached")
        return page

    return open_page


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


@pytest.fixture(scope="package")
def book_address(built_book):
    """The built book over HTTP."""
    with served(built_book.html) as base:
        yield base

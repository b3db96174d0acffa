"""A real browser for the tests, with no way to another host. Without one they are skipped; in CI that is a failure."""

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
    """Factory: opens an address and returns its page; nothing may go wrong on it (but on one that is not ``clean``)."""
    made = []

    def open_page(url: str, allowed: str = "", wait: str = "load", clean: bool = True, **options):
        seen = new_visit(chromium, allowed or url.rsplit("/", 1)[0], **options)
        made.append((seen, clean))
        seen.page.goto(url, wait_until=wait)
        return seen.page

    yield open_page
    wrong = [each for seen, clean in made if clean for each in seen.wrong]
    for seen, _ in made:
        seen.page.context.close()
    assert not wrong


@pytest.fixture
def part(visit):
    """The same for an interactive part, once it is drawn."""

    def open_page(url: str, **options):
        page = visit(url, **options)
        page.wait_for_selector(".polinb-app[data-state=ready]", state="attached")
        return page

    return open_page


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path):
    """``folder`` over HTTP, below a subfolder as a project page is."""
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "below").symlink_to(folder.resolve())
        handler = functools.partial(_Quiet, directory=root)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}/below"
            finally:
                server.shutdown()


@pytest.fixture(scope="package")
def book_address(built_book):
    with served(built_book.html) as base:
        yield base

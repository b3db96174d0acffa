"""Which browser the tests drive; as a command: prints it, or says on stderr why there is none (.ci/browser calls it).

It is the one named by POLINB_BROWSER, else the first Chromium or Chrome that runs, else the one that
``python -m playwright install chromium`` fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
NAMES += [f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium")]
NONE = "NO BROWSER: install chromium, or name one in POLINB_BROWSER; the book's pages are NOT tested"


def find() -> str | None:
    """Path of a browser that runs, or None; ends the program where POLINB_BROWSER names something that does not."""
    named = os.environ.get("POLINB_BROWSER", "")
    if named and not runs(named):
        sys.exit(f"polinb: POLINB_BROWSER={named}: this does not run as a browser")
    places = (named, *map(shutil.which, NAMES))
    return next((path for path in places if path and runs(path)), None) or fetched()


def runs(path: str) -> bool:
    """Whether it tells its version: some systems have a stub in the place of a browser."""
    with suppress(OSError, subprocess.TimeoutExpired):
        told = subprocess.run([path, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        return told.returncode == 0
    return False


def fetched() -> str | None:
    """The Chromium in playwright's own folder; asked in another process, for its event loop would stay in ours."""
    ask = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    path = told.stdout.strip()
    return path if path and runs(path) else None


if __name__ == "__main__":
    print(find() or "")

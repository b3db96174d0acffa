"""Which browser the tests drive; as a command: prints it, or says on stderr why there is none (.ci/browser calls it).

It is the one named by POLINB_BROWSER, else the first Chromium or Chrome that runs, else the one that
``python -m playwright install chromium`` fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
NONE = "NO BROWSER: install chromium, or name one in POLINB_BROWSER; the book's pages are NOT tested"


def find() -> str | None:
    """Path of a browser that runs, or None; ends the program where POLINB_BROWSER names something that does not."""
    named = os.environ.get("POLINB_BROWSER", "")
    if named:
        if not runs(named):
            sys.exit(f"polinb: POLINB_BROWSER={named}: this does not run as a browser")
        return named
    for name in NAMES:
        path = shutil.which(name)
        if path and runs(path):
            return path
    path = fetched()
    return path if path and runs(path) else None


def runs(path: str) -> bool:
    """Whether it tells its version: some systems have a stub in the place of a browser."""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0


def fetched() -> str | None:
    """The Chromium in playwright's own folder; asked in another process, for its event loop would stay in ours."""
    ask = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    path = told.stdout.strip()
    return path if told.returncode == 0 and Path(path).is_file() else None


if __name__ == "__main__":
    print(find() or "")

"""Which browser is taken: a stub is passed over, a wrong name is an error, playwright's own is the last resort."""

from __future__ import annotations

import browsers
import pytest


def test_which_browser_is_taken(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(name: str, code: int = 0) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho {name} 1.0\nexit {code}\n", "utf-8")
        path.chmod(0o755)
        return str(path)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("POLINB_BROWSER", raising=False)
    monkeypatch.setattr(browsers, "fetched", lambda: None)
    program("chromium", code=1)  # a stub that does not run
    assert browsers.find() is None
    own = program("fetched-chrome")
    monkeypatch.setattr(browsers, "fetched", lambda: own)
    assert browsers.find() == own
    chrome = program("google-chrome")
    assert browsers.find() == chrome
    monkeypatch.setenv("POLINB_BROWSER", own)
    assert browsers.find() == own
    for wrong in (program("broken", code=1), str(tmp_path / "none")):
        monkeypatch.setenv("POLINB_BROWSER", wrong)
        with pytest.raises(browsers.WrongBrowserError, match="POLINB_BROWSER"):
            browsers.find()

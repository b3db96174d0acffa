"""Which browser is taken: a stub is passed over, a wrong name is an error, playwright's own is the last resort."""

from __future__ import annotations

from pathlib import Path

import browsers
import pytest


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("POLINB_BROWSER", raising=False)
    monkeypatch.setattr(browsers, "NAMES", ("chromium", "chromium-browser", "google-chrome"))
    monkeypatch.setattr(browsers, "fetched", lambda: None)

    def program(name: str, code: int = 0) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho {name} 1.0\nexit {code}\n", "utf-8")
        path.chmod(0o755)
        return str(path)

    return program


def test_none_is_none(plant) -> None:
    assert browsers.find() is None


def test_a_stub_that_does_not_run_is_passed_over(plant) -> None:
    plant("chromium-browser", code=1)
    chrome = plant("google-chrome")
    assert browsers.find() == chrome
    first = plant("chromium")
    assert browsers.find() == first


def test_a_name_that_is_given_counts_alone(plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant("chromium")
    own = plant("own-browser")
    monkeypatch.setenv("POLINB_BROWSER", own)
    assert browsers.find() == own
    for wrong in (plant("broken", code=1), str(tmp_path / "none")):
        monkeypatch.setenv("POLINB_BROWSER", wrong)
        with pytest.raises(browsers.WrongBrowserError, match="POLINB_BROWSER"):
            browsers.find()


def test_playwrights_own_is_the_last_resort(plant, monkeypatch: pytest.MonkeyPatch) -> None:
    own = plant("fetched-chrome")
    monkeypatch.setattr(browsers, "fetched", lambda: own)
    assert browsers.find() == own
    chromium = plant("chromium")
    assert browsers.find() == chromium

"""The reference run: every chapter with profile ``full``, in a store and a folder of its own, one resumable command.

Without a card the profile is cut to what a computer of two cores does in some hours; what is cut, and why, stands in
``resources/reference/cpu.toml``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from unittest import mock

from book._make.build import Chapter, alone, run_chapters
from polinb.errors import ParameterError
from polinb.runs.checkout import Layout, chapter_names, chosen_chapters, core_names, find_layout, tell
from polinb.runs.params import Params, profile_values

PROFILE = "full"
CUTS = ("auto", "none", "cpu")


@dataclass(frozen=True)
class Cut:
    """A parameter that the run takes smaller than the profile: its full value, the one taken, and why."""

    name: str
    full: Any
    taken: Any
    why: str


@dataclass(frozen=True)
class ReferenceLayout(Layout):
    """A checkout whose reference run is kept apart from ``make book``.

    Attributes:
        model: empty for the profile's own model, whose results are committed; else a folder name of another one.
    """

    model: str = ""

    @property
    def place(self) -> Path:
        """Where the run works."""
        return self.build / "reference" / self.model

    @property
    def chapters(self) -> Path:
        """Chapters as executed by the reference run."""
        return self.place / "chapters"

    @property
    def reference(self) -> Path:
        """Its small results: in the book for the profile's own model, beside its chapters for another."""
        return self.place / "results" if self.model else super().reference


def layout_of(settings: Mapping[str, Any], root: Path | None = None) -> ReferenceLayout:
    """Where the reference run with these parameters works, and where its results go."""
    given = settings.get("model")
    same = given in (None, profile_values(PROFILE)["model"])
    name = "" if same else re.sub(r"[^a-z0-9]+", "-", str(given).lower()).strip("-")[-80:] or "model"
    return ReferenceLayout(root or find_layout().root, name)


def cuts() -> list[Cut]:
    """What a computer without a card leaves out, in the order of the file."""
    text = (resources.files("polinb") / "resources" / "reference" / "cpu.toml").read_text("utf-8")
    full = profile_values(PROFILE)
    return [Cut(name, full[name], each["value"], each["why"]) for name, each in tomllib.loads(text).items()]


def settings_of(cut: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Cut]]:
    """Parameters of the run beside its profile, and the cuts in force.

    Args:
        cut: ``none``; ``cpu``; ``auto``: cpu where no card is.
        given: parameters on top; one that is cut and given here is not cut.

    Raises:
        ParameterError: an unknown cut, or parameters that are not allowed.
    """
    if cut not in CUTS:
        raise ParameterError("--cut", cut, ", ".join(CUTS))
    if cut == "auto":
        cut = "none" if _card(str(given.get("device", "auto"))) else "cpu"
    applied = [each for each in cuts() if cut == "cpu" and each.name not in given]
    settings = {each.name: each.taken for each in applied} | dict(given)
    Params.from_profile(PROFILE, **settings)
    return settings, applied


def _card(device: str) -> bool:
    from polinb.models.loading import pick_device

    return pick_device(device).type == "cuda"


def store_of(layout: Layout) -> Path:
    """Where the artifacts of the reference run are kept."""
    chosen = os.environ.get("POLINB_REFERENCE_STORE")
    return Path(chosen) if chosen else layout.root / ".polinb" / "reference"


def run_reference(
    given: Mapping[str, Any] | None = None,
    cut: str = "auto",
    chapters: Sequence[str] | None = None,
    layout: ReferenceLayout | None = None,
) -> list[Chapter]:
    """Run the chapters that are not done yet; called again, it goes on where it was stopped.

    Args:
        given: parameters that differ from the profile and its cuts, such as ``data``.
        cut: as in :func:`settings_of`.
        chapters: names of notebooks; ``["core"]``: those of the paper; None or ``["all"]``: all.

    Raises:
        ParameterError: before anything runs.
        BookError: a chapter failed; those done stay done.
    """
    settings, applied = settings_of(cut, dict(given or {}))
    layout = layout or layout_of(settings)
    wanted = chosen_chapters(chapter_names(layout), core_names(layout), chapters or ["all"])
    for each in applied:
        tell(f"cut: {each.name} = {each.taken} (full: {each.full}): {each.why}")
    own = {"POLINB_STORE": str(store_of(layout))}
    with alone(layout.place / "run.lock", "reference run of this checkout"), mock.patch.dict(os.environ, own):
        return run_chapters(layout, wanted, {"profile": PROFILE, **settings})

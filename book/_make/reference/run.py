"""The reference run: every chapter with profile ``full``, in a store and a folder of its own, one resumable command.

Without a card the profile is cut to what a computer of two cores does in some hours; what is cut, and why, stands in
``resources/reference/cpu.toml``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from unittest import mock

from book._make.build import Chapter, alone, run_chapters
from polinb.models.loading import pick_device
from polinb.runs.checkout import Layout, chosen_chapters, find_layout, tell
from polinb.runs.params import Params, profile_values

PROFILE = "full"


class ReferenceLayout(Layout):
    """A checkout whose reference run is kept apart from ``make book``.

    Attributes:
        place: where the run works.
        chapters: chapters as executed by it.
        reference: its small results, in the book for the profile's own model.

    Args:
        model: empty for the profile's own model, whose results are committed; else a folder name of another one, whose
            results stay beside its chapters.
    """

    def __init__(self, root: Path, model: str = "") -> None:
        super().__init__(root)
        self.place = self.build / "reference" / model
        self.chapters = self.place / "chapters"
        if model:
            self.reference = self.place / "results"


def layout_of(settings: Mapping[str, Any], root: Path | None = None) -> ReferenceLayout:
    """Where the reference run with these parameters works, and where its results go."""
    given = settings.get("model")
    same = given in (None, profile_values(PROFILE)["model"])
    name = "" if same else re.sub(r"[^a-z0-9]+", "-", str(given).lower()).strip("-")[-80:] or "model"
    return ReferenceLayout(root or find_layout().root, name)


def cuts() -> list[dict[str, Any]]:
    """What a computer without a card leaves out, in the order of the file: each ``name, full, taken, why``."""
    text = (resources.files("polinb") / "resources" / "reference" / "cpu.toml").read_text("utf-8")
    full = profile_values(PROFILE)
    named = tomllib.loads(text).items()
    return [{"name": name, "full": full[name], "taken": each["value"], "why": each["why"]} for name, each in named]


def store_of(layout: Layout) -> Path:
    """Where the artifacts of the reference run are kept."""
    chosen = os.environ.get("POLINB_REFERENCE_STORE")
    return Path(chosen) if chosen else layout.root / ".polinb" / "reference"


def run_reference(
    given: Mapping[str, Any], cut: str, chapters: Sequence[str] | None, layout: ReferenceLayout
) -> list[Chapter]:
    """Run the chapters that are not done yet; called again, it goes on where it was stopped.

    Args:
        given: parameters that differ from the profile, such as ``data``; one that is cut and given here is not cut.
        cut: ``none``; ``cpu``; ``auto``: cpu where no card is.
        chapters: names of notebooks; ``["core"]``: those of the paper; None or ``["all"]``: all.

    Raises:
        ParameterError: before anything runs.
        BookError: a chapter failed; those done stay done.
    """
    if cut == "auto":
        cut = "none" if pick_device(str(given.get("device", "auto"))).type == "cuda" else "cpu"
    applied = [each for each in cuts() if cut == "cpu" and each["name"] not in given]
    settings = {each["name"]: each["taken"] for each in applied} | dict(given)
    Params.from_profile(PROFILE, **settings)
    wanted = chosen_chapters(layout, chapters or ["all"])
    for each in applied:
        tell("cut: {name} = {taken} (full: {full}): {why}".format(**each))
    own = {"POLINB_STORE": str(store_of(layout))}
    with alone(layout.place / "run.lock", "reference run of this checkout"), mock.patch.dict(os.environ, own):
        return run_chapters(layout, wanted, {"profile": PROFILE, **settings})

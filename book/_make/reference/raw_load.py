"""Raw data of the reference run, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from book._make.reference.raw_files import present, read_index, unpacked
from polinb.errors import ArtifactError
from polinb.labels import current
from polinb.runs.experiment import Arm
from polinb.runs.params import Params

_TABLES = ("questions", "responses", "statements", "likelihood", "patched")


@dataclass(frozen=True)
class Raw:
    """Checked raw data.

    Attributes:
        index, arms: ``index.json`` and ``arms.json``.
        tables: name → table; one that the run did not reach is empty.
        sets: name → (L, F) bool.
        scores: name → (L, F) float32.
    """

    index: dict[str, Any]
    arms: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    sets: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]

    def params(self, data: str | None = None, **given: Any) -> Params:
        """Parameters of the run; the place of its data is not kept.

        Raises:
            ParameterError: a name or value that is not allowed.
        """
        kept = present(self.index["params"])
        kept["controls"] = ["next_highest" if kind == "score" else kind for kind in kept["controls"]]
        profile = str(kept.pop("profile"))
        return Params.from_profile(profile, **{**kept, **given, "data": data})

    def arm(self, name: str) -> KeptArm:
        """An arm by its id.

        Raises:
            ArtifactError: the raw data do not hold it, or the set it freezes.
        """
        known = self.arms["arms"].get(name)
        if known is None:
            raise ArtifactError(f"the raw data hold no arm {name!r}")
        frozen = None
        if known["frozen"] is not None:
            if known["frozen"] not in self.sets:
                raise ArtifactError(f"the raw data hold no set {known['frozen']!r}, which arm {name!r} freezes")
            frozen = self.sets[known["frozen"]]
        elif known["frozen_neurons"]:
            frozen = np.zeros((1, 0), bool)  # a set that is not kept: nothing can be recomputed
        fields = {key: known[key] for key in ("name", "topic", "leaning", "rate", "stop", "blend", "run", "extra")}
        return KeptArm(**fields, frozen=frozen, id=name)

    def group(self, name: str) -> list[str]:
        """Ids of the arms of a group, those included that the run did not reach."""
        return [each["arm"] for each in self.arms["groups"].get(name, [])]


@dataclass(frozen=True)
class KeptArm(Arm):
    """An arm of the raw data.

    Attributes:
        id: its name there.
    """

    id: str = ""


def load_raw(folder: Path) -> Raw:
    """Raw data out of their files, whose digests :func:`polinb_book.results.read` compares.

    Raises:
        ArtifactError: a file is missing or cannot be read.
    """
    from safetensors.numpy import load_file

    index = read_index(folder)
    try:
        arms = json.loads(current((folder / "arms.json").read_text("utf-8")))
        names = {path.name for path in folder.iterdir()}
        tables = {n: pd.read_parquet(folder / f"{n}.parquet") for n in _TABLES if f"{n}.parquet" in names}
        bits_of = load_file(folder / "sets.safetensors") if "sets.safetensors" in names else {}
        scores = load_file(folder / "scores.safetensors") if "scores.safetensors" in names else {}
        width = index["shape"][1] if bits_of else 0
        sets = {current(name): unpacked(chosen, width) for name, chosen in bits_of.items()}
        for table in tables.values():
            for column in {"arm", "set"} & set(table):
                table[column] = [current(each) for each in table[column]]
    except Exception as error:  # what four formats raise for a file that is not theirs
        raise ArtifactError(f"the raw data in {folder} cannot be read: {type(error).__name__}: {error}") from None
    raw = Raw(index, arms, tables, sets, scores)
    _check_complete(raw)
    return raw


def _check_complete(raw: Raw) -> None:
    """Every arm that a group names is there or told to be missing, and has an answer to every question.

    Raises:
        ArtifactError: not so; names the arm.
    """
    missing = {each["what"] for each in raw.arms["missing"]}
    for group, entries in raw.arms["groups"].items():
        for each in entries:
            if each["arm"] not in raw.arms["arms"] and f"answers of {each['arm']}" not in missing:
                raise ArtifactError(f"arm {each['arm']!r} of {group} is not in arms.json, nor among what is missing")
    questions = raw.tables["questions"]
    asked = int((questions["kind"] == "question").sum())
    responses = raw.tables.get("responses", pd.DataFrame({"arm": []}))
    counts = responses.groupby("arm").size()
    for name in raw.arms["arms"]:
        if int(counts.get(name, 0)) != asked:
            raise ArtifactError(f"arm {name!r} has {int(counts.get(name, 0))} responses, not {asked}")
    strange = sorted(set(counts.index) - set(raw.arms["arms"]))
    if strange:
        raise ArtifactError(f"responses of an arm {strange[0]!r} that is not in arms.json")

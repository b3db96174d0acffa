"""The raw data of the reference run: what models said, how it was judged, scores and neuron sets, small enough to keep.

Everything is looked up in the store of the run, so an interrupted run can be exported too; what is missing is listed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from book._make.reference.raw_arms import Found, look
from book._make.reference.raw_files import (
    FORMAT,
    INDEX,
    packed,
    places,
    processor,
    write_arrays,
    write_frame,
    write_json,
)
from book._make.reference.raw_store import FoundStore
from polinb.data import ideoinst
from polinb.errors import ArtifactError
from polinb.runs.artifacts import Store
from polinb.runs.experiment import Experiment
from polinb.runs.params import Params

README = "README.md"  # written by hand


def export(store: Store, params: Params, folder: Path) -> dict[str, Any]:
    """Write what the store holds of a run into ``folder``, replacing what was there.

    No model is loaded and nothing is computed but sets out of scores. The folder changes only when all is written.

    Args:
        store: of the run; only read.
        params: of the run, with the place of the data.

    Returns:
        files (name → bytes), arms (how many), missing (as in ``arms.json``).

    Raises:
        ArtifactError: nothing at all was found, or a file would name a place of this machine.
        DataError: the data are not there.
    """
    exp = Experiment(params, FoundStore(store.root))
    found = look(exp)
    if not found.arms:
        reasons = "; ".join(f"{each['what']}: {each['why']}" for each in found.missing[:3])
        raise ArtifactError(
            f"the store holds no answers of this run ({reasons}). Parameters, data and code must be those of the run"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".raw-", dir=folder.parent))
    try:
        _write(exp, found, work)
        if (folder / README).is_file():
            shutil.copy(folder / README, work)
        shutil.rmtree(folder, ignore_errors=True)
        work.chmod(0o755)
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return {"files": files, "arms": len(found.arms), "missing": found.missing}


def _write(exp: Experiment, found: Found, folder: Path) -> None:
    known = places(_own_places(exp))
    tables = {name: pd.concat(parts, ignore_index=True) for name, parts in found.frames.items()}
    if found.patched_frames:
        tables["patched"] = pd.concat(found.patched_frames, ignore_index=True)
    for name, frame in {"questions": found.asked, **tables}.items():
        write_frame(folder / f"{name}.parquet", frame, known)
    if found.scores:
        write_arrays(folder / "scores.safetensors", found.scores)
    if found.sets:
        write_arrays(folder / "sets.safetensors", {name: packed(chosen) for name, chosen in found.sets.items()})
    arms = {"arms": found.arms, "groups": found.groups, "patched": found.patched, "scores": found.topics}
    write_json(folder / "arms.json", arms | {"missing": found.missing}, known)
    data = exp.data
    licence = str(data.source.get("licence") or (ideoinst.LICENCE if data.name == "ideoinst" else "see its source"))
    shape = next((list(chosen.shape) for chosen in found.sets.values()), None)
    facts = {
        "params": exp.params.model_dump(exclude={"data"}),
        "data": {"name": data.name, "digest": data.digest(), "licence": licence},
        "model": exp.identity,
        "environments": found.environments,
        "processor": processor(),
        "shape": shape,
        "missing": len(found.missing),
    }
    write_json(folder / INDEX, {"format": FORMAT, **facts}, known)


def _own_places(exp: Experiment) -> list[Path]:
    given = Path(exp.params.data)
    return [exp.store.root, *([given] if given.is_absolute() else [given.absolute()] if given.exists() else [])]


def sizes(written: dict[str, Any]) -> str:
    """What :func:`export` wrote, as lines to print."""
    lines = [f"{size / 1e6:9.3f} MB  {name}" for name, size in written["files"].items()]
    total = sum(written["files"].values())
    lines.append(f"{total / 1e6:9.3f} MB  in all; {written['arms']} arms")
    lines += [f"missing: {each['what']} ({each['why']})" for each in written["missing"]]
    return "\n".join(lines)

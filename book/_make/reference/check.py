"""``make reference-check``: is the committed reference run what was written, and does a part of it come out again?

First every file is compared with its digest. Then what the chapters say of the kept answers is computed again from
them, without a model, and compared with the stored notebooks; then a random tenth of the kept results is made again in
a store of its own. On the processor, packages and threads that made them the numbers should be the same; elsewhere
roundings differ, and a few answers with them.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from book._make.reference import reread
from book._make.reference.doses import restore, run_of
from polinb.chapters.anatomy import doses
from polinb.errors import ArtifactError, ParameterError
from polinb.runs.artifacts import META, Store, check, provenance
from polinb.runs.checkout import tell
from polinb.runs.results import Result
from polinb_book import results

ALLOWED = ("data", "device")
KINDS = ("course", "logp", "answers", "graft")
"""What is made again: what a model says, out of which everything else is computed."""
LOGP = {True: 1e-3, False: 0.05}
"""Largest difference of a log-likelihood, nats a token: on the same processor, packages and threads, or elsewhere."""
TEXTS = {True: 0.99, False: 0.5}
"""Least share of answers that are the same text."""
_SAME = ("packages", "threads", "gpu")  # of a provenance: what decides roundings


def reference_check(folder: Path, given: Mapping[str, Any], share: float, seed: int, files_only: bool) -> list[str]:
    """Check the committed reference run in ``folder`` (``book/reference``); what is wrong, one line each.

    Args:
        given: ``data`` (where the data are; default: those of the profile), ``device``.
        share: of the kept results that are made again, chosen by ``seed``; at least one of each dose.

    Raises:
        ParameterError: a parameter other than these two.
    """
    for name, value in given.items():
        if name not in ALLOWED:
            raise ParameterError(name, value, f"only {', '.join(ALLOWED)}; the others are those of the reference run")
    wrong = [*files(folder)]
    tell(f"files: {len(wrong)} wrong" if wrong else "files: all as committed")
    if not files_only:
        wrong += reread.differences(folder, str(given.get("data", "ideoinst")))
        with tempfile.TemporaryDirectory(prefix="polinb-check-") as place:
            for dose in doses.DOSES:
                wrong += again(folder / "doses" / dose, dose, given, share, seed, Path(place))
    tell(f"reference-check: {len(wrong)} failed" if wrong else "reference-check: all as committed")
    for line in wrong:
        tell(f"  {line}")
    return wrong


def files(folder: Path) -> Iterator[str]:
    """Files that are not what was written: notebooks, tables, kept results."""
    try:
        results.read(folder)
    except ArtifactError as error:
        yield str(error)
    for record in sorted((folder / "doses").glob(f"*/*/*/{META}")):
        try:
            check(record.parent, json.loads(record.read_text("utf-8"))["inputs"])
        except (ArtifactError, ValueError, KeyError) as error:
            yield str(error)


def again(kept: Path, dose: str, given: Mapping[str, Any], share: float, seed: int, place: Path) -> Iterator[str]:
    """Kept results made again that do not come out as they were."""
    import torch

    if not kept.is_dir():
        return
    run, fresh = (run_of(dose, given, Store(root)) for root in (kept, place / dose))
    run.read_only = True
    old, new = doses.results(run), doses.results(fresh)
    able = [name for name, each in old.items() if each.stage.kind in KINDS and each.done()]
    index: dict[str, str] = json.loads((kept / doses.INDEX).read_text("utf-8"))
    if lost := [name for name, kept_as in index.items() if name in old and str(old[name]) != kept_as]:
        kind = run.identity["device"]
        yield f"{dose}: {len(lost)} kept results are of another kind of device than {kind}, or rate: {lost[0]}"
    chosen = random.Random(seed).sample(able, min(len(able), max(1, round(share * len(able)))))
    restore(kept, fresh.store)  # what a result is made from is taken as kept, but weights, which are made anew
    for name in chosen:
        shutil.rmtree(new[name].path)
    here = provenance() | {"threads": torch.get_num_threads()}
    for name in chosen:
        there = old[name].made().meta["provenance"]
        tell(f"  {dose}: {name}, {old[name]} ({there['seconds']:.0f} s when it was made)")
        yield from compare(old[name], new[name], all(there.get(each) == here.get(each) for each in _SAME))


def compare(old: Result, new: Result, same: bool) -> Iterator[str]:
    """Where a result made again differs by more than roundings may."""
    name = old.stage.kind if old.stage.kind in ("course", "answers") else "logp"
    first, second = old.frame(name), new.frame(name)
    keys = [each for each in ("topic", "id", "side", "step") if each in first]
    if not first[keys].astype(str).equals(second[keys].astype(str)):
        yield f"{old}: other questions"
        return
    if "response" in first:
        equal = float((first["response"] == second["response"]).mean())
        if equal < TEXTS[same]:
            yield f"{old}: {equal:.2f} of the answers are the same text, at least {TEXTS[same]:g} allowed"
        return
    gap = (first["logp"] - second["logp"]).abs().max(skipna=False)
    if not gap <= LOGP[same]:
        yield f"{old}: log-likelihoods differ by up to {gap:.4f} nats a token, at most {LOGP[same]:g} allowed"

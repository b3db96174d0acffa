"""Do the value vectors of G and the directions that CAFT ablates span the same subspace?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.caft.caft import METHODS, choice
from polinb.masking.random_sets import random_set
from polinb.models.architectures import value_vectors
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.weights import bases_of, mask_of
from polinb.scoring.directions import leading, principal_angles, random_basis, shared
from polinb.wording import intervals

_NULL_DRAWS = 100
GENERAL = "general neurons (G)"
_TITLES = {"neurons": "random neurons", "subspace": "random subspace"}


def angles(run: Run, topic: str, method: str) -> Result:
    """The run's angles for a training topic and a method."""
    p = run.params
    general = run.neurons("general")
    return compared(run, bases=choice(run, topic, method), general=general, count=p.caft_components, seed=p.seed)


@stage("caft-angles", Model)
def compared(run: Run, folder: Path, *, bases: Result, general: Result, count: int, seed: int) -> Mapping[str, Any]:
    """Principal angles between the leading value vectors of G up to a block and the directions ablated there.

    The r leading left singular vectors of the value vectors, r = ``count``, against Q; the nulls put random neurons of
    the same layers in G's place (``neurons``), or a random subspace of the same rank (``subspace``).

    Tables ``angles``: block, index (from 1), degrees, kind, low, high (95 % of the null); ``shared``: block, scope,
    size (of G up to there), rank_g, rank_q, shared (mean squared cosine), and of each null its mean, low, high and p,
    the share of draws at least as large. A block before which G has no neuron is left out; if that holds for all,
    the whole of G stands against the deepest one (scope).
    """
    found, own = bases_of(bases), mask_of(general)
    columns = [value_vectors(run.lm.model, b).float().cpu().numpy().T for b in range(run.lm.layers)]
    layer = np.arange(run.lm.layers)[:, None]
    scopes = {block: own & (layer <= block) for block in found if own[: block + 1].any()}
    scope = "up to the block" if scopes else "whole model"
    parts, rows = [], []
    for block, chosen in (scopes or {max(found): own}).items():
        part, row = compare(columns, chosen, found[block], count, seed)
        parts.append(part.assign(block=block))
        rows.append({"block": block, "scope": scope, **row})
    pd.concat(parts).to_parquet(folder / "angles.parquet")
    pd.DataFrame(rows).to_parquet(folder / "shared.parquet")
    return {"blocks": list(scopes) or [max(found)]}


def compare(
    columns: Sequence[np.ndarray], chosen: np.ndarray, q: np.ndarray, r: int, seed: int
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Principal angles between a neuron set's leading value vectors and Q, with both nulls.

    Args:
        columns: layer → (d_model, F) value vectors.
        chosen: (L, F) bool.
        q: (d_model, k) orthonormal. r: rank of the neurons' subspace.
    """
    rng = np.random.default_rng([seed, 3])
    basis = _span(columns, chosen, r)
    own = principal_angles(basis, q)
    sets = [random_set("layer", chosen, np.zeros(chosen.shape), seed=seed + n) for n in range(_NULL_DRAWS)]
    nulls = {
        "neurons": [_span(columns, each, r) for each in sets],
        "subspace": [random_basis(len(basis), basis.shape[1], rng) for _ in range(_NULL_DRAWS)],
    }
    parts = [pd.DataFrame({"degrees": own, "kind": GENERAL, "low": np.nan, "high": np.nan})]
    row = {"size": int(chosen.sum()), "rank_g": basis.shape[1], "rank_q": q.shape[1], "shared": shared(own)}
    for kind, null in nulls.items():
        each = np.stack([principal_angles(one, q) for one in null])
        low, high = np.percentile(each, [2.5, 97.5], axis=0)
        parts.append(pd.DataFrame({"degrees": each.mean(0), "kind": _TITLES[kind], "low": low, "high": high}))
        values = np.array([shared(angles) for angles in each])
        ends = np.percentile(values, [2.5, 97.5]).tolist()
        p = float((1 + (values >= row["shared"]).sum()) / (1 + len(values)))
        row |= {kind: float(values.mean()), f"{kind}_low": ends[0], f"{kind}_high": ends[1], f"{kind}_p": p}
    return pd.concat([part.assign(index=part.index + 1) for part in parts], ignore_index=True), row


def _span(columns: Sequence[np.ndarray], chosen: np.ndarray, r: int) -> np.ndarray:
    return leading(np.concatenate([c[:, row] for c, row in zip(columns, chosen, strict=True)], axis=1), r)


def lines(run: Run, topic: str) -> pd.DataFrame:
    """Angles of both methods at the deepest ablated block, for ``charts.angles``."""
    parts = []
    for method, title in METHODS.items():
        found = angles(run, topic, method)
        block = max(found.summary["blocks"])
        frame = found.frame("angles")
        parts.append(frame[frame["block"] == block].assign(panel=f"{title}, block {block}"))
    return pd.concat(parts, ignore_index=True)


def shared_table(run: Run, topic: str) -> pd.DataFrame:
    """Shared part of the two subspaces at every ablated block and for both methods, with the nulls."""
    parts = [angles(run, topic, m).frame("shared").assign(method=title) for m, title in METHODS.items()]
    return pd.concat(parts, ignore_index=True)


def shown(shared: pd.DataFrame) -> pd.DataFrame:
    """The ``shared`` tables of some methods as they are printed: readable names, nulls with their range."""
    frame = shared.assign(**{name: intervals(shared, name, 3) for name in _TITLES})
    names = {
        "method": "method",
        "block": "block",
        "scope": "scope",
        "size": "neurons of G",
        "rank_g": "rank of G",
        "rank_q": "rank ablated",
        "shared": "shared",
        "neurons": "random neurons",
        "neurons_p": "p",
        "subspace": "random subspace",
        "subspace_p": "p (subspace)",
    }
    return frame[list(names)].rename(columns=names)

"""Random neuron sets that a claim about G has to beat. All sets are (L, F) boolean arrays."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from polinb.errors import ParameterError

KINDS = ("uniform", "layer", "next_highest")
_NEAR = 10  # how many of the nearest in activation scale one is drawn from


def random_set(kind: str, chosen: np.ndarray, scale: np.ndarray, seed: int) -> np.ndarray:
    """A random set of the size of ``chosen`` drawn outside it.

    Args:
        kind: ``uniform`` over the model; ``layer``: the same count in every layer; ``next_highest``: the
            neurons nearest in plain activation scale, which are those with the highest activation outside ``chosen``
            where it holds the highest itself, as G does.
        chosen: the set to match, (L, F) bool.
        scale: activation scale of each neuron, (L, F); used by ``next_highest``.
        seed: the same seed gives the same set.

    Where too few neurons are left outside ``chosen`` (in a layer), the rest comes from inside it.

    Raises:
        ParameterError: unknown ``kind``.
    """
    if kind not in KINDS:
        raise ParameterError("controls", kind, ", ".join(KINDS))
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    if kind == "uniform":
        return _draw(chosen.reshape(1, -1), rng).reshape(chosen.shape)
    if kind == "layer":
        return _draw(chosen, rng)
    return _match(chosen, scale, rng)


def _draw(chosen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    out = np.zeros_like(chosen)
    for row, mask in enumerate(chosen):
        need = int(mask.sum())
        # Outside first, in random order; then inside, in random order.
        order = np.concatenate([rng.permutation(np.flatnonzero(~mask)), rng.permutation(np.flatnonzero(mask))])
        out[row, order[:need]] = True
    return out


def _match(chosen: np.ndarray, scale: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flat, size = chosen.ravel(), scale.ravel()
    free = np.flatnonzero(~flat)
    free = free[np.argsort(size[free], kind="stable")]
    targets = rng.permutation(np.flatnonzero(flat))
    out = np.zeros_like(flat)
    left, sizes = list(free), list(size[free])
    for target in targets[: len(left)]:
        at = bisect_left(sizes, size[target])
        low = max(0, min(at - _NEAR // 2, len(left) - _NEAR))
        pick = int(rng.integers(low, min(len(left), low + _NEAR)))
        out[left.pop(pick)] = True
        sizes.pop(pick)
    short = int(flat.sum() - out.sum())
    if short:
        out[rng.permutation(np.flatnonzero(flat & ~out))[:short]] = True
    return out.reshape(chosen.shape)

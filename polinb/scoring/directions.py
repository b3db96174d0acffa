"""Directions in the residual stream: PCA of streamed differences, bases, principal angles. Pure arrays, no model.

A basis is a float64 array (d_model, k) with orthonormal columns, ``Q`` in the equations of the CAFT chapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polinb.errors import ParameterError

KINDS = ("uncentred", "centred", "mean_difference")
# A column closer than this to the span of the columns before it adds no direction of its own.
_DEPENDENT = 1e-6


class Moments:
    """Streamed moments of rows x of ``width`` numbers, ``total`` Σ x (d,) and ``second`` Σ x xᵀ (d, d), float64.

    Memory is O(d²) however many rows there are.
    """

    def __init__(self, width: int) -> None:
        self.count, self.total, self.second = 0, np.zeros(width), np.zeros((width, width))

    def add(self, rows: np.ndarray) -> None:
        """Count rows (n, d) in."""
        wide = np.asarray(rows, dtype=np.float64)
        self.count += len(wide)
        self.total += wide.sum(0)
        self.second += wide.T @ wide

    @property
    def mean(self) -> np.ndarray:
        """Mean row, (d,)."""
        return self.total / max(self.count, 1)

    def matrix(self, centred: bool) -> np.ndarray:
        """Second moment a row, or the covariance if ``centred``; (d, d)."""
        moment = self.second / max(self.count, 1)
        return moment - np.outer(self.mean, self.mean) if centred else moment


def check_components(k: int, rows: int, width: int, kind: str) -> None:
    """Refuse more components than the differences can have; nothing has to be read for it."""
    if kind not in KINDS:
        raise ParameterError("caft_pca", kind, ", ".join(KINDS))
    most = min(rows - (kind == "centred"), width)
    if kind != "mean_difference" and not 1 <= k <= most:
        why = f"{rows} samples of {width} dimensions" + (", centred" if kind == "centred" else "")
        raise ParameterError("caft_components", k, f"1 to {most}, the rank of {why}")


def components(sources: Sequence[Moments], kind: str, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the differences in all ``sources``, in float64 (CAFT).

    ``uncentred``: right singular vectors of the stacked differences (eigenvectors of the second moment), which keep a
    shift common to all tokens; ``centred``: PCA proper, which removes each source's mean; ``mean_difference``: the
    normalised mean alone, one direction. Each source is scaled to a mean square of 1, so that none counts more because
    its differences are larger.

    Returns:
        Candidate directions, the strongest first: (d, k) orthonormal columns, each of which points to where the mean
        difference goes; (k,) share of all energy (of the variance if centred) along each.

    Raises:
        ParameterError: unknown kind, or more components than samples or dimensions.
        ValueError: a source without any difference (all rows are zero).
    """
    width = len(sources[0].total)
    check_components(k, sum(s.count for s in sources), width, kind)
    energy = [float(np.trace(s.second)) / max(s.count, 1) for s in sources]
    if not all(e > 0 for e in energy):
        raise ValueError("the two models' hidden states do not differ: there is no direction to find")
    shift = np.sum([s.mean / np.sqrt(e) for s, e in zip(sources, energy, strict=True)], axis=0)
    moments = [s.matrix(kind == "centred") / e for s, e in zip(sources, energy, strict=True)]
    if kind == "mean_difference":
        vectors = (shift / np.linalg.norm(shift))[:, None]
    else:
        columns = _largest(np.sum(moments, axis=0), k)
        vectors = columns * _signs(columns, shift)
    along = np.stack([np.einsum("dk,de,ek->k", vectors, m, vectors) for m in moments], axis=1)
    return vectors, along.sum(1) / sum(np.trace(m) for m in moments)


def of_rows(rows: np.ndarray, kind: str, k: int) -> np.ndarray:
    """:func:`components` of a few rows (n, d): at most k, and n − 1 or d where these are less; (d, ≤ k)."""
    seen = Moments(rows.shape[1])
    seen.add(rows)
    return components([seen], kind, min(k, len(rows) - 1, rows.shape[1]))[0]


def _largest(symmetric: np.ndarray, k: int) -> np.ndarray:
    """Eigenvectors (n, k) of the k largest eigenvalues, the largest first."""
    from scipy.linalg import eigh

    size = len(symmetric)
    vectors: np.ndarray = eigh(symmetric, subset_by_index=(size - k, size - 1))[1]
    return vectors[:, ::-1]


def _signs(vectors: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """±1 a column: towards the mean shift, else its largest coordinate positive."""
    along = shift @ vectors
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], axis=0)[0]
    unclear = np.abs(along) < 1e-12 * (np.linalg.norm(shift) + 1)
    return np.where(np.where(unclear, largest, along) < 0, -1.0, 1.0)


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormal basis (d, r ≤ k), float64, of the span of ``columns`` (d, k) by QR; dependent columns add nothing.

    Raises:
        ParameterError: no column, more columns than dimensions, or one that is zero or not finite.
    """
    given = np.asarray(columns, dtype=np.float64)
    if given.ndim != 2 or not 1 <= given.shape[1] <= given.shape[0]:
        raise ParameterError("directions", f"shape {given.shape}", "(d, k) with 1 ≤ k ≤ d")
    norms = np.linalg.norm(given, axis=0)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ParameterError("directions", "a column that is zero or not finite", "columns with a direction")
    units = given / norms
    while True:
        basis, upper = np.linalg.qr(units)
        weak = np.flatnonzero(np.abs(np.diag(upper)) < _DEPENDENT)
        if not len(weak):
            return basis * np.where(np.diag(upper) < 0, -1.0, 1.0)
        units = np.delete(units, weak[0], axis=1)


def random_basis(width: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Basis (width, k) of a uniformly random subspace."""
    return orthonormal(rng.standard_normal((width, k)))


def leading(columns: np.ndarray, r: int) -> np.ndarray:
    """The r leading left singular vectors of ``columns`` (d, n): where most of their energy lies; fewer if n < r."""
    wide = np.asarray(columns, dtype=np.float64)
    r = min(r, *wide.shape)
    # The smaller Gram matrix gives the same vectors for a fraction of the time of an SVD.
    if wide.shape[1] >= wide.shape[0]:
        return _largest(wide @ wide.T, r)
    return orthonormal(wide @ _largest(wide.T @ wide, r))


def principal_angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """eq-angle. Principal angles between two subspaces in degrees, the smallest first; min(k, m) of them.

    ``first`` (d, k) and ``second`` (d, m) are any columns; their spans count. Cosines are the singular values of QᵀU;
    below 45° the angle comes from the sines, because a cosine near 1 cannot resolve a small angle (Björck and Golub
    1973).
    """
    one, two = orthonormal(first), orthonormal(second)
    if one.shape[1] < two.shape[1]:
        one, two = two, one
    inner = one.T @ two
    cosines = np.clip(np.linalg.svd(inner, compute_uv=False), 0.0, 1.0)
    sines = np.clip(np.linalg.svd(two - one @ inner, compute_uv=False), 0.0, 1.0)[::-1]
    return np.degrees(np.where(cosines**2 < 0.5, np.arccos(cosines), np.arcsin(sines)))


def shared(angles: np.ndarray) -> float:
    """Mean squared cosine of principal angles (degrees): 0 orthogonal, 1 one subspace inside the other."""
    return float(np.mean(np.cos(np.radians(angles)) ** 2))

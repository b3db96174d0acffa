"""Keys of artifacts that may not be there yet, worked out without a model: the planning twin of an experiment.

The same functions that compute a result are called here with a store that only notes what it is asked for. Where a
result depends on neurons that are not known before the scores are, a stand-in takes their place that is different
whenever anything that determines the true set is.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.data.loading import StanceData
from polinb.errors import PolinbError
from polinb.models.loading import LM, identity_of
from polinb.runs.artifacts import Artifact, Store, canonical, key_of
from polinb.runs.experiment import Experiment
from polinb.runs.params import Params
from polinb.scoring.pnlac import NeuronSets

_SIZE = 16


class PlanError(PolinbError, RuntimeError):
    """Planning reached for a model or a result: a fault of the program, not of the run."""


class StandIns(dict[str, np.ndarray]):
    """Arrays of an artifact that is not made yet: any name gives one, which depends on the artifact's key."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key
        self["0"] = self[""]

    def __missing__(self, name: str) -> np.ndarray:
        seed = int(hashlib.sha256(f"{self._key} {name}".encode()).hexdigest()[:12], 16)
        return np.linalg.qr(np.random.default_rng(seed).standard_normal((_SIZE, 2)))[0]


@dataclass(frozen=True)
class Promised(Artifact):
    """An artifact that will be made: its key is known, its content is not."""

    def frame(self, name: str) -> pd.DataFrame:
        """An empty table: nothing may be read out of it while planning."""
        return pd.DataFrame()

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Stand-ins for the arrays."""
        return StandIns(f"{self.meta['key']} {name}")


class PlanStore(Store):
    """A store that makes nothing and notes kind and key of everything it is asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.noted: dict[tuple[str, str], None] = {}

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """Nothing: a plan must not depend on what happens to be there."""
        return None

    def get(self, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any] | None]) -> Artifact:
        """The promise of an artifact."""
        key = self.note(kind, inputs)
        return Promised(self.path(kind, key), {"kind": kind, "key": key, "summary": {"blocks": [0]}})

    def note(self, kind: str, inputs: Mapping[str, Any]) -> str:
        """Note that a step depends on ``inputs``; their key."""
        key = key_of(inputs)
        self.noted[kind, key] = None
        return key


class _Sets(NeuronSets):
    """Stand-ins of N_t, G and S_t at one γ; none is empty."""

    def __init__(self, told: str, topics: list[str]) -> None:
        super().__init__({t: _mask(f"{told} N {t}") for t in topics}, _mask(f"{told} G"))
        object.__setattr__(self, "told", told)

    @property
    def specific(self) -> dict[str, np.ndarray]:
        return {topic: _mask(f"{self.told} S {topic}") for topic in self.political}  # type: ignore[attr-defined]

    def general_without(self, topic: str) -> np.ndarray:
        return _mask(f"{self.told} G without {topic}")  # type: ignore[attr-defined]


class Plan(Experiment):
    """An experiment that computes nothing: call a stage, then read :attr:`key`."""

    store: PlanStore

    def __init__(self, params: Params, root: Path) -> None:
        super().__init__(params, PlanStore(root))

    @cached_property
    def data(self) -> StanceData:
        """As :attr:`Experiment.data`, with its digest worked out once: it is part of every key."""
        data = super().data
        digest = data.digest()
        object.__setattr__(data, "digest", lambda: digest)
        return data

    def fresh(self) -> Plan:
        """A plan of the same run that has noted nothing yet; data and identities are shared."""
        self.data, self.identity, self.judge_identity, self.statement_sets  # noqa: B018 (read once, then shared)
        other = copy.copy(self)
        other.store, other._sums, other._rated = PlanStore(self.store.root), {}, {}
        return other

    @property
    def key(self) -> str:
        """Hash of everything noted so far, in order."""
        return key_of({"noted": [list(each) for each in self.store.noted]})

    @property
    def lm(self) -> LM:  # type: ignore[override]
        """Not while planning."""
        raise PlanError("planning reached for the model; a step of the workflow needs a planning rule of its own")

    @property
    def identity(self) -> dict[str, Any]:  # type: ignore[override]
        """As :attr:`Experiment.identity`, for the device that is named: this machine may not have it."""
        if "identity" not in self.__dict__:
            p = self.params
            named = {**identity_of(p.model, p.revision, p.dtype), "system_prompt": p.system_prompt}
            self.__dict__["identity"] = {**named, "device": p.device.partition(":")[0]}
        return dict(self.__dict__["identity"])

    def rated(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Note the judge; labels depend on it and on the answers noted before."""
        self.store.note("rated", {"judge": self.params.judge, **self.judge_identity})
        return frame

    def sets(self, gamma: float | None = None, normalise: str | None = None) -> NeuronSets:
        """Stand-ins for the sets, which depend on the scores of all topics."""
        p = self.params
        scores = [self.scores(topic).meta["key"] for topic in p.topics]
        told = {
            "scores": scores,
            "gamma": p.gamma if gamma is None else gamma,
            "normalise": normalise or p.normalise,
            "pool": p.pool,
            "code": 1,
        }
        return _Sets(canonical(told), [str(t) for t in p.topics])

    def scale(self) -> np.ndarray:
        """A stand-in for the activation scale, which depends on the scores of all topics."""
        return np.ones((_SIZE, _SIZE))

    def control_set(self, kind: str, number: int, gamma: float | None = None) -> np.ndarray:
        """A stand-in for a random set."""
        told = self.sets(gamma).told  # type: ignore[attr-defined]
        return _mask(f"{told} {kind} {self.params.seed + number}")


def _mask(told: str) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(hashlib.sha256(told.encode()).digest(), dtype=np.uint8))
    return bits.astype(bool).reshape(_SIZE, _SIZE)

"""Named results: a result has a key before it is made, and is made when it is first read.

``@stage(kind, *groups, version=n)`` turns a function that fills a folder into one that returns a lazy :class:`Result`.
Its key is a hash of the stage's kind and version, of what the groups it declares determine, and of its inputs, in which
another result counts by its key. The function sees the declared groups only, so a parameter that is not in the key
cannot change the result: reading one is an error. Plans, dry runs and estimates walk :attr:`Result.needs`.

The code is in the key by the stage's version alone: ``tests/runs/test_versions.py`` fails when code that a stage
reaches has changed and nobody said whether the numbers have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polinb.errors import ArtifactError
from polinb.runs.artifacts import META, Artifact, Make, key_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from polinb.runs.base import Base
    from polinb.runs.groups import Group

STAGES: dict[str, Stage] = {}
"""Every stage that was imported, by kind."""


class MissingError(ArtifactError):
    """A result of a run that is only read is not there."""


@dataclass(frozen=True)
class Stage:
    """A kind of result and how it is made; called with a run and inputs it gives a :class:`Result`.

    Attributes:
        kind: folder of its results.
        groups: what of the run ``make`` may use, all of it in the key.
        version: raised by whoever changes the numbers.
        make: ``make(run, folder, **inputs)`` writes files into the folder and returns a small JSON-able summary.
        memory: what :meth:`polinb.runs.base.Base.afford` checks before anything is made; empty: nothing.
    """

    kind: str
    groups: tuple[type[Group], ...]
    version: int
    make: Callable[..., Mapping[str, Any] | None]
    memory: str = ""

    def __call__(self, run: Base, **inputs: Any) -> Result:
        """The result for these inputs; nothing is computed."""
        return Result(self, run, inputs)


def stage(kind: str, *groups: type[Group], version: int = 1, memory: str = "") -> Callable[[Callable[..., Any]], Stage]:
    """Turn ``make(run, folder, **inputs)`` into a :class:`Stage`."""

    def wrap(make: Callable[..., Any]) -> Stage:
        if kind in STAGES and STAGES[kind].make.__module__ != make.__module__:
            raise ValueError(f"two stages of the kind {kind!r}")
        STAGES[kind] = Stage(kind, groups, version, make, memory)
        return STAGES[kind]

    return wrap


@dataclass(frozen=True, eq=False)
class Result:
    """A result of a stage: named at once, made when it is first read.

    Its ``inputs`` are JSON values, results, or frozen dataclasses of such.
    """

    stage: Stage
    run: Base
    inputs: Mapping[str, Any]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the key is a hash of, as JSON values."""
        groups = {group.__name__: self.run.told(group) for group in self.stage.groups}
        return {"version": self.stage.version, **groups, **told(self.inputs)}

    @cached_property
    def key(self) -> str:
        """24 hex digits: hash of everything that determines the result."""
        return key_of(self.identity)

    @cached_property
    def needs(self) -> list[Result]:
        """The results it is made from, each once."""
        return list({(need.stage.kind, need.key): need for need in _results(self.inputs)}.values())

    @property
    def path(self) -> Path:
        """Its folder, there or not."""
        return self.run.store.path(self.stage.kind, self.key)

    def done(self) -> bool:
        """Is it there? Its files are compared with their digests when it is read."""
        return (self.path / META).is_file()

    def made(self) -> Artifact:
        """It on disk; made now, with what it needs, if it is not there.

        Raises:
            MissingError: it is not there, and the run is only read; else as :meth:`polinb.runs.artifacts.Store.get`.
        """
        kept = self.run.kept.get(self.path)
        if kept is not None and self.done():
            return kept
        if self.run.read_only:
            kept = self.run.store.look(self.stage.kind, self.identity)
            if kept is None:
                raise MissingError(f"{self} is not in the store")
        else:
            if not self.done():
                if self.stage.memory:  # before anything that it needs is made
                    self.run.afford("load" if self.inputs.get("model", self) is None else self.stage.memory)
                for need in self.needs:
                    need.made()
            own = self.run.view(self.stage.groups)
            kept = self.put(lambda folder: self.stage.make(own, folder, **self.inputs))
        self.run.kept[self.path] = kept
        return kept

    def put(self, make: Make) -> Artifact:
        """It on disk, filled by ``make`` if it is not there: also with what was made elsewhere, or beside another."""
        return self.run.store.get(self.stage.kind, self.identity, make)

    @property
    def summary(self) -> dict[str, Any]:
        """The small facts its stage returned."""
        return self.made().summary

    def frame(self, name: str) -> pd.DataFrame:
        """Table ``name``.parquet."""
        import pandas as pd

        return pd.read_parquet(self.file(f"{name}.parquet"))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of ``name``.safetensors."""
        from safetensors.numpy import load_file

        return dict(load_file(self.file(f"{name}.safetensors")))

    def file(self, name: str) -> Path:
        """One of its files."""
        return self.made().file(name)

    def __str__(self) -> str:
        return f"{self.stage.kind}/{self.key}"


def told(value: Any) -> Any:
    """JSON form of an input: a result by its key, a dataclass by its fields but those marked ``key=False``."""
    if isinstance(value, Result):
        return str(value)
    value = _opened(value)
    if isinstance(value, Mapping):
        return {str(k): told(v) for k, v in value.items()}
    return [told(v) for v in value] if isinstance(value, list | tuple) else value


def _opened(value: Any) -> Any:
    """A dataclass as a mapping of its fields that count."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value) if f.metadata.get("key", True)}
    return value


def _results(value: Any) -> Iterator[Result]:
    if isinstance(value, Result):
        yield value
        return
    value = _opened(value)
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _results(each)


def missing(wanted: Iterable[Result]) -> list[Result]:
    """What must be made before ``wanted`` are there, each once, in an order in which it can be."""
    found: dict[Path, Result] = {}

    def visit(result: Result) -> None:
        if result.path not in found and not result.done():
            for need in result.needs:
                visit(need)
            found[result.path] = result

    for each in wanted:
        visit(each)
    return list(found.values())

"""A store of artifacts that is only read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from polinb.errors import ArtifactError
from polinb.runs.artifacts import Artifact, Store, key_of


class MissingError(ArtifactError):
    """A stage of the run is not in the store."""


class FoundStore(Store):
    """A store that is only read: what is not there is missing, what is damaged stays where it is."""

    def find(self, kind: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """The checked artifact, or None.

        Raises:
            ArtifactError: it is damaged.
        """
        return self._look(self.path(kind, key_of(inputs)), inputs)

    def get(self, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any] | None]) -> Artifact:
        """The artifact; ``make`` is never called.

        Raises:
            MissingError: it is not there.
            ArtifactError: it is damaged.
        """
        found = self.find(kind, inputs)
        if found is None:
            raise MissingError(f"{kind}/{key_of(inputs)} is not in the store")
        return found

"""The committed results of the reference run (``book/reference``): read them, each file checked by its digest.

``manifest.json`` names every other file with its size and SHA-256, and carries a digest of itself. The folder is
written by :mod:`book._make.reference.harvest`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polinb.errors import ArtifactError
from polinb.labels import current
from polinb.runs.artifact_check import seal

FORMAT = 1
MANIFEST = "manifest.json"
FOLDER = "reference"  # in the book's folder
SPEC = re.compile(r'<script type="application/json" class="polinb-spec">(.*?)</script>', re.S)  # of charts_base
REMEDY = "take the committed one (git checkout book/reference), or harvest again (make reference)"


_RENAMED = {"rival_topics": "baseline_topics", "rival_seeds": "baseline_seeds", "caft_arms": "caft_conditions"}
_GONE = {"remote", "engine", "sharding", "memory_check"}


def present(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters of an earlier run under the names of today."""
    return {_RENAMED.get(name, name): value for name, value in parameters.items() if name not in _GONE}


@dataclass(frozen=True)
class Reference:
    """What the reference run left.

    Attributes:
        folder: where it lies.
        manifest: ``profile, parameters, cuts, data, provenance, chapters, files`` and more; see ``reference_harvest``.
    """

    folder: Path
    manifest: dict[str, Any]

    def chapter(self, name: str) -> dict[str, Any]:
        """What is known of a chapter: ``state`` is complete, unfinished or missing."""
        found = self.manifest["chapters"].get(name, {"state": "missing"})
        return dict(json.loads(current(json.dumps(found, ensure_ascii=False))))

    def has(self, file: str) -> bool:
        """Whether it holds a file, such as ``tables/tbl-gamma.csv``."""
        return file in self.manifest["files"]

    def read(self, file: str) -> bytes:
        """Content of a file of the manifest.

        Raises:
            ArtifactError: it is not listed, missing, or not what was written.
        """
        listed = self.manifest["files"].get(file)
        if listed is None:
            raise ArtifactError(f"the reference run has no file {file!r}")
        try:
            content = (self.folder / file).read_bytes()
        except OSError as error:
            raise _damaged(file, error.strerror or str(error)) from None
        if len(content) != listed["bytes"]:
            raise _damaged(file, f"{len(content)} bytes instead of {listed['bytes']}")
        if hashlib.sha256(content).hexdigest() != listed["sha256"]:
            raise _damaged(file, "its SHA-256 differs")
        return content

    def table(self, label: str) -> str | None:
        """A table as MyST, a ``{table}`` directive; None if the run has none of this label."""
        file = f"tables/{label}.md"
        return current(self.read(file).decode()) if self.has(file) else None

    def csv(self, label: str) -> str:
        """The same table's values as CSV."""
        return current(self.read(f"tables/{label}.csv").decode())

    def figure(self, label: str) -> dict[str, Any] | None:
        """A figure: ``spec`` (Vega-Lite), ``alt``, ``caption``, ``width`` and ``height`` of its picture; or None."""
        file = f"figures/{label}.json"
        found: dict[str, Any] | None = json.loads(current(self.read(file).decode())) if self.has(file) else None
        return found

    def verify(self) -> int:
        """Check every file; how many there are.

        Raises:
            ArtifactError: naming the first file that is not what was written.
        """
        for file in self.manifest["files"]:
            self.read(file)
        return len(self.manifest["files"])


def read(folder: Path) -> Reference | None:
    """The reference results in ``folder``; None if there are none.

    Raises:
        ArtifactError: the manifest is damaged, or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(MANIFEST, str(error)[:200]) from None
    if not isinstance(manifest, dict) or manifest.get("seal") != seal(manifest):
        raise _damaged(MANIFEST, "it is not what was written")
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"book/reference/{MANIFEST} has format {manifest.get('format')!r}; this polinb reads {FORMAT}"
        )
    return Reference(folder, manifest)


def check(folder: Path) -> None:
    """Read all of it, so that damage is told before hours of work and not after.

    Raises:
        ArtifactError: naming the first file that is not what was written.
    """
    found = read(folder)
    if found:
        found.verify()


def _damaged(file: str, why: str) -> ArtifactError:
    return ArtifactError(f"book/reference/{file} is damaged ({why}); {REMEDY}")

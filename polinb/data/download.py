"""Files of a public GitHub repository at one pinned commit: downloaded once, checked, kept in a cache.

A commit pins every file by its git blob id (a hash of the content). The ids come from GitHub's tree listing
of that commit and each download is held against its id before it enters the cache. From then on the cache's
own manifest (SHA-256 of every file) is verified at every read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polinb.data.sources import file_sha256
from polinb.errors import DataError, ParameterError
from polinb.trouble import notice

if TYPE_CHECKING:
    import httpx

RAW_BASE = "https://raw.githubusercontent.com"
API_BASE = "https://api.github.com"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class _Failed(Exception):
    """One attempt failed; ``passing`` says whether another may succeed."""

    def __init__(self, reason: str, passing: bool = True) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass(frozen=True)
class PinnedFiles:
    """Some files of one repository at one commit.

    Attributes:
        repository: ``owner/name``.
        revision: the commit, 40 hexadecimal digits.
        paths: the files, relative to the repository.
        root: folder of this commit's cache.
        advice: ends every error message.
        raw_base, api_base: addresses of the two services, for the files and for the listing.
        attempts: how often a passing failure is tried.
        wait: seconds before the second attempt, then twice as long each time.
        timeout: seconds without an answer.
    """

    repository: str
    revision: str
    paths: tuple[str, ...]
    root: Path
    advice: str = ""
    raw_base: str = RAW_BASE
    api_base: str = API_BASE
    attempts: int = 3
    wait: float = 1.0
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if not _COMMIT.fullmatch(self.revision):
            hint = "A branch or tag can move, so it pins nothing"
            raise ParameterError("revision", self.revision, "a full commit hash of 40 hexadecimal digits", hint)

    @property
    def manifest(self) -> Path:
        """The file that lists the cached files with their checksums."""
        return self.root / "manifest.json"

    def ensure(self) -> dict[str, str]:
        """SHA-256 of every file by its path, after download (first time) or verification (every time after).

        A file that is no longer what was downloaded is reported, set aside under a new name and downloaded again.

        Raises:
            DataError: no network, an error answer, a truncated or changed file, a full disk, a damaged cache that
                cannot be mended.
        """
        from filelock import FileLock

        try:
            sums, wrong = self._verify()
            if sums and not wrong:
                return sums
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / ".lock"):
                sums, wrong = self._verify()  # another process may have brought or mended it meanwhile
                if not sums or wrong:
                    told = self._set_aside(wrong)
                    try:
                        self._download_all()
                    except DataError as error:
                        raise DataError(f"{told}{error}") from error
                    sums, wrong = self._verify()
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            why = "the disk is full" if full else error.strerror or str(error)
            raise DataError(f"the data cache {self.root} cannot be used: {why}. {self.advice}") from error
        if wrong:
            raise DataError(f"{next(iter(wrong.values()))}, right after its download. {self.advice}")
        return sums

    def _verify(self) -> tuple[dict[str, str], dict[Path, str]]:
        """Checksums that the manifest promises (none without it), and what is wrong with which file."""
        try:
            listed = json.loads(self.manifest.read_text("utf-8"))["files"]
            sums = {path: str(listed[path]["sha256"]) for path in self.paths}
        except FileNotFoundError:
            return {}, {}
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}, {self.manifest: f"{self.manifest} is damaged or lists other files"}
        wrong = {}
        for path, expected in sums.items():
            file = self.root / path
            found = file_sha256(file) if file.is_file() else "no file"
            if found != expected:
                wrong[file] = f"{file}: wrong checksum: expected SHA-256 {expected}, found {found}"
        return sums, wrong

    def _set_aside(self, wrong: dict[Path, str]) -> str:
        """Keep damaged files under another name; what was told about them."""
        told = ""
        for file, why in wrong.items():
            told += f"{why}. "
            if os.path.lexists(file):
                aside = file.with_name(f"{file.name}.damaged-{time.time_ns()}")
                try:
                    file.rename(aside)
                except OSError as error:
                    raise DataError(f"{why}, and it cannot be set aside: {error.strerror}. {self.advice}") from error
                notice(f"{why}; set aside as {aside.name}, downloading it again")
        for left in self.root.rglob(".part-*"):  # of downloads that were killed
            left.unlink(missing_ok=True)
        return told

    def _download_all(self) -> None:
        import httpx
        from tqdm.auto import tqdm

        entries: dict[str, dict[str, Any]] = {}
        with httpx.Client(timeout=self.timeout, headers={"Accept-Encoding": "identity"}) as client:
            blobs = self._blob_ids(client)
            for path in tqdm(self.paths, desc=f"Downloading {self.repository}", unit="file"):
                target = self.root / path
                # What an interrupted run has already brought is not asked for again.
                if not target.is_file() or _blob_id(target.read_bytes()) != blobs[path]:
                    url = f"{self.raw_base}/{self.repository}/{self.revision}/{path}"
                    _write_atomically(target, self._get(client, url, blobs[path]))
                entries[path] = {
                    "sha256": file_sha256(target),
                    "bytes": target.stat().st_size,
                    "git_blob": blobs[path],
                }
        manifest = {"repository": self.repository, "revision": self.revision, "files": entries}
        _write_atomically(self.manifest, json.dumps(manifest, indent=1, sort_keys=True).encode())

    def _blob_ids(self, client: httpx.Client) -> dict[str, str]:
        url = f"{self.api_base}/repos/{self.repository}/git/trees/{self.revision}?recursive=1"
        content = self._get(client, url)
        try:
            listed = {entry["path"]: str(entry["sha"]) for entry in json.loads(content)["tree"]}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{url}: the answer is not a list of files. {self.advice}") from error
        missing = [path for path in self.paths if path not in listed]
        if missing:
            raise DataError(f"{url}: revision {self.revision} has no file {missing[0]}. {self.advice}")
        return listed

    def _get(self, client: httpx.Client, url: str, blob: str | None = None) -> bytes:
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.wait * 2 ** (attempt - 1))
            try:
                return _get_once(client, url, blob)
            except _Failed as error:
                reason = error
                if not error.passing:
                    break
        raise DataError(f"{url}: {reason} (attempt {attempt + 1} of {self.attempts}). {self.advice}") from reason


def _get_once(client: httpx.Client, url: str, blob: str | None) -> bytes:
    import httpx

    try:
        with client.stream("GET", url) as response:
            if response.status_code in {403, 429} or response.status_code >= 500:
                raise _Failed(f"the server answered {response.status_code} (busy, or its hourly limit is reached)")
            if response.status_code != 200:
                raise _Failed(f"the server answered {response.status_code}", passing=False)
            content = b"".join(response.iter_bytes())
            promised = response.headers.get("Content-Length")
            encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    except httpx.RemoteProtocolError as error:
        raise _Failed(f"truncated download ({error})") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _Failed(f"cannot be reached ({type(error).__name__}: {error})") from error
    if promised is not None and not encoded and int(promised) != len(content):
        raise _Failed(f"truncated download: {len(content)} of {promised} bytes")
    if blob is not None and _blob_id(content) != blob:
        raise _Failed(f"wrong checksum: expected git blob {blob}, found {_blob_id(content)}")
    return content


def _blob_id(content: bytes) -> str:
    # What git itself calls this content; SHA-1 is git's choice.
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _write_atomically(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

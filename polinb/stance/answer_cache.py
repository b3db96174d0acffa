"""Replies of a paid or slow service, kept in an append-only JSONL file that survives a crash in mid-line."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock

from polinb.errors import JudgeError


class AnswerCache:
    """key → reply. The first reply to a key counts; lines that cannot be read are skipped and counted.

    Args:
        path: the file, made with the first reply; ``None``: memory only.

    Attributes:
        damaged: lines that could not be read.

    Raises:
        JudgeError: the file is there but cannot be read.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.damaged = path, 0
        self._lock = threading.Lock()
        self._replies: dict[str, str] = {}
        if path is None or not path.exists():
            return
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise JudgeError(f"judge cache {path} cannot be read: {error.strerror}") from error
        for line in filter(None, lines):
            try:
                record = json.loads(line)
                key, raw = record["key"], record["raw"]
                if not isinstance(key, str) or not isinstance(raw, str):
                    raise TypeError
            except (ValueError, TypeError, KeyError, RecursionError):
                self.damaged += 1
            else:
                self._replies.setdefault(key, raw)

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> str | None:
        """The reply, or ``None``."""
        return self._replies.get(key)

    def put(self, key: str, raw: str, **facts: Any) -> None:
        """Keep a reply; it is on the disk when this returns. ``facts`` go into its line.

        Raises:
            JudgeError: it cannot be written (a full disk, no permission).
        """
        with self._lock:
            self._replies.setdefault(key, raw)
            if self.path is not None:
                line = json.dumps({"key": key, "raw": raw, **facts}).encode() + b"\n"
                try:
                    self._append(self.path, line)
                except OSError as error:
                    raise JudgeError(
                        f"judge cache {self.path} cannot be written ({error.strerror}); earlier replies are kept"
                    ) from error

    @staticmethod
    def _append(path: Path, line: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"), path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a torn last line: end it, or this one is lost with it
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

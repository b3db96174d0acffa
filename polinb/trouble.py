"""What goes wrong below a stage, a full disk or too little memory, said in words that name the remedy."""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from polinb.errors import ArtifactError, OutOfMemoryError, PolinbError, first_line

UNFINISHED = "POLINB_UNFINISHED"
"""Environment variable: a file that notes what a run could not finish, so that it is not taken for finished."""

_WRITING = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR,
    errno.EEXIST, errno.ENAMETOOLONG, errno.ESTALE,
}  # fmt: skip
# Rust and C++ below safetensors and PyTorch raise errors of their own, with the reason in their text only.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_NO_MEMORY = re.compile(r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|std::length_error", re.I)


def explain(error: BaseException, what: str, root: Path) -> None:
    """Raise a clear error in place of ``error``; nothing where it is clear already or none of our business.

    Args:
        what: the artifact, as in ``artifact kind/key``.
        root: folder of the store.

    Raises:
        OutOfMemoryError: ``error`` was a want of memory, in whatever words.
        ArtifactError: it was a folder that cannot be written.
    """
    if isinstance(error, PolinbError) or not isinstance(error, Exception):
        return
    told = _OS_ERROR.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
    # PyTorch's own class is a RuntimeError too, as is its error for want of main memory
    memory = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))
    if number == errno.ENOMEM or memory or isinstance(error, MemoryError):
        trains = what.startswith(("artifact weights/", "artifact course/"))
        less = "micro_batch or max_tokens, or train=lora" if trains else "eval_batch"
        raise OutOfMemoryError(
            f"out of memory while making {what} ({first_line(error)}). Lower {less}, take dtype=bfloat16 or a smaller "
            "model, or close other programs; what was finished before is kept"
        ) from error
    if number in _WRITING:
        reason = os.strerror(number)
        file = getattr(error, "filename", None)
        elsewhere = f" ({file})" if file and not Path(str(file)).is_relative_to(root) else ""
        raise ArtifactError(
            f"cannot write {what} under {root}: {reason}{elsewhere}. Free space or point POLINB_STORE at a folder that "
            "can be written; what was finished before is kept."
        ) from error


def note_unfinished(text: str) -> None:
    """Remember that something was not finished, for whoever set the environment variable ``POLINB_UNFINISHED``."""
    path = os.environ.get(UNFINISHED)
    if path:
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:  # the error itself is on its way up
            file.write(f"{' '.join(text.split())[:300]}\n")


def notice(text: str) -> None:
    """Tell something on standard error that, like a progress bar, is not to stay in a notebook's page."""
    print(f" {text}\r ", file=sys.stderr, flush=True)

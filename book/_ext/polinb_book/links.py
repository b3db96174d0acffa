"""Addresses at which a reader can start a chapter: Binder and Colab, worked out from where the repository lies.

The repository's address differs from fork to fork, so it is a setting (``polinb_repository`` in ``_config.yml``, or
``POLINB_REPOSITORY``), else git's ``origin``. Only host, owner and name are taken from it: a password in an address
never reaches a page.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# host → Binder's short name of it; other hosts get no buttons
HOSTS = {"github.com": "gh", "gitlab.com": "gl"}
EXAMPLE = "https://github.com/OWNER/NAME"

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?"
_SSH_PORTS = "(?::(?:22|443))?"
# https://…, ssh://… and git@host:owner/name; what stands before the @ is dropped
_ADDRESS = re.compile(
    rf"(?:(?:https://(?:[^/@\s]*@)?(?P<web>[A-Za-z.]+)(?::443)?|ssh://(?:[^/@\s]*@)?(?P<ssh>[A-Za-z.]+){_SSH_PORTS})/"
    rf"|(?:[^/@:\s]+@)?(?P<scp>[A-Za-z.]+):/?)(?P<path>{_PART}(?:/{_PART})+)/?",
    re.ASCII,
)
_REF = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,198}[A-Za-z0-9_-])?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class Repository:
    """A public place of this repository.

    Attributes:
        host: ``github.com`` or ``gitlab.com``.
        path: owner and name; at GitLab also the groups between them.
        ref: commit or branch that is there; ``HEAD`` is the default branch.
    """

    host: str
    path: str
    ref: str = "HEAD"

    @property
    def url(self) -> str:
        """Address of its page, without anyone's name or password."""
        return f"https://{self.host}/{self.path}"

    def binder(self, notebook: str) -> str:
        """Address that starts JupyterLab on mybinder.org with ``notebook`` open (a path in the repository)."""
        where = quote(self.path, safe="/" if self.host == "github.com" else "")
        return f"https://mybinder.org/v2/{HOSTS[self.host]}/{where}/{self.ref}?urlpath=lab/tree/{quote(notebook)}"

    def colab(self, notebook: str) -> str | None:
        """Address that opens ``notebook`` in Colab, which reads from GitHub only."""
        if self.host != "github.com":
            return None
        return f"https://colab.research.google.com/github/{self.path}/blob/{self.ref}/{quote(notebook)}"

    def raw(self, file: str) -> str | None:
        """Address of a file's bare text at GitHub."""
        return f"https://raw.githubusercontent.com/{self.path}/{self.ref}/{file}" if self.colab(file) else None


def parse_address(address: str, ref: str = "HEAD") -> Repository | None:
    """A repository at one of :data:`HOSTS` out of an https, ssh or scp-like address; None for anything else."""
    match = _ADDRESS.fullmatch(address.strip())
    if not match:
        return None
    host = (match["web"] or match["ssh"] or match["scp"]).lower()
    # ssh.github.com and altssh.gitlab.com: the same hosts, reached through port 443
    host = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}.get(host, host)
    path = match["path"].removesuffix(".git")
    parts = path.split("/")
    if host not in HOSTS or (host == "github.com" and len(parts) != 2) or len(parts) > 20:
        return None
    if any(".." in part or part.endswith(".git") for part in parts) or not _sound(ref):
        return None
    return Repository(host, path, ref)


def find_repository(root: Path, setting: str = "") -> Repository | None:
    """Where this checkout can be had from: ``setting``, else ``POLINB_REPOSITORY``, else git's ``origin``.

    Args:
        root: top of the checkout.
        setting: an address, or ``none`` for no buttons.

    Returns:
        None without a usable address. The ref is the commit if ``origin`` has it, else the branch; for an address other
        than ``origin``'s it is the default branch.
    """
    given = (setting or os.environ.get("POLINB_REPOSITORY", "")).strip()
    if given.lower() == "none":
        return None
    origin = parse_address(_origin(root))
    found = parse_address(given) if given else origin
    if not found or not origin or (found.host, found.path) != (origin.host, origin.path):
        return found
    return Repository(found.host, found.path, _ref(root))


def _origin(root: Path) -> str:
    """Origin's address as it is written in the repository's configuration; empty if ``root`` is no checkout."""
    top = _git(root, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != root.resolve():
        return ""  # a copy that happens to lie inside another repository
    return _git(root, "config", "--local", "--get", "remote.origin.url")


def _ref(root: Path) -> str:
    commit = _git(root, "rev-parse", "HEAD")
    if _COMMIT.fullmatch(commit) and _git(
        root, "for-each-ref", "--count=1", "--format=%(refname)", f"--contains={commit}", "refs/remotes/origin"
    ):
        return commit
    branch = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    there = branch and _git(root, "for-each-ref", "--format=%(refname)", f"refs/remotes/origin/{branch}")
    return branch if there and _sound(branch) else "HEAD"


def _sound(ref: str) -> bool:
    return bool(_REF.fullmatch(ref)) and ".." not in ref and "//" not in ref and not ref.endswith(".lock")


def _git(root: Path, *arguments: str) -> str:
    """Output of a git command that changes nothing; empty if it fails or git is not there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

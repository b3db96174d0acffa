"""Starting the live lab: JupyterLab with its notebook open, or Voilà, which shows the widgets alone.

Both listen on this machine only and ask no other host for anything: no announcements, no look-up of new versions or
extensions.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from polinb.errors import ParameterError
from polinb.runs.params import Params

VARIABLE = "POLINB_LAB"
NOTEBOOK = "notebooks/lab/neuron_lab.ipynb"
SERVERS = {"lab": ("jupyterlab", "ServerApp", 8888), "app": ("voila", "Voila", 8866)}  # module, traits, usual port


def command(kind: str, port: int | None = None, browser: bool = True, root: Path | None = None) -> list[str]:
    """The command line of a server: ``lab`` (JupyterLab) or ``app`` (Voilà), at the usual or next free port if None.

    A port below 1024 is a ParameterError. ``root`` is the folder that holds ``notebooks``; None: the checkout.
    """
    from polinb.runs.checkout import find_layout

    if port is not None and not 1024 <= port <= 65535:
        raise ParameterError("port", port, "1024 to 65535")
    root, (module, server, usual) = root or find_layout().root, SERVERS[kind]
    where = {"ip": "127.0.0.1", "port": port or usual, "port_retries": 0 if port else 50}
    line = [sys.executable, "-m", module, str(root / NOTEBOOK)]
    line += [f"--{server}.{name}={value}" for name, value in where.items()] + ["--no-browser"] * (not browser)
    if kind == "app":  # a token is made: other users of this machine must not reach the page
        return [*line, "--template=polinb", "--token"]
    return [
        *line,
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{NOTEBOOK}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        *(["--allow-root"] if os.geteuid() == 0 else []),  # in containers; still this machine and a token only
    ]


def environment(profile: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """This process's environment, with the lab's parameters for the notebook's kernel; wrong ones are refused here."""
    Params.from_profile(profile, **settings)
    ours = Path(str(resources.files("polinb") / "resources" / "jupyter"))
    folders = {"JUPYTER_PATH": ours, "JUPYTER_CONFIG_PATH": ours / "config"}  # Voilà's page; no news in JupyterLab
    paths = {name: os.pathsep.join(filter(None, [str(each), os.environ.get(name)])) for name, each in folders.items()}
    parameters = json.dumps({"profile": profile, **settings})
    return {**os.environ, **paths, VARIABLE: parameters, "TOKENIZERS_PARALLELISM": "false"}


def started_with() -> dict[str, Any]:
    """Parameters that ``make lab`` or ``make app`` was given; none elsewhere."""
    return dict(json.loads(os.environ.get(VARIABLE) or "{}"))


def serve(kind: str, profile: str, settings: Mapping[str, Any], port: int | None, browser: bool) -> NoReturn:
    """Run a server in place of this process until it is stopped with Ctrl-C."""
    environ, line = environment(profile, settings), command(kind, port, browser)
    print(f"{'JupyterLab' if kind == 'lab' else 'Voilà'} starts; its address follows. Ctrl-C ends it.", flush=True)
    os.execve(line[0], line, environ)

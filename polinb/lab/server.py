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
from typing import Any

from polinb.errors import ParameterError
from polinb.lab.app import VARIABLE
from polinb.runs.checkout import Layout, find_layout
from polinb.runs.params import Params

NOTEBOOK = "lab/neuron_lab.ipynb"  # below the folder of notebooks
PORTS = {"lab": 8888, "app": 8866}


def command(kind: str, port: int | None = None, browser: bool = True, root: Path | None = None) -> list[str]:
    """The command line of a server.

    Args:
        kind: ``lab`` (JupyterLab) or ``app`` (Voilà).
        port: its port; ``None``: the usual one, or the next free one.
        browser: also open a browser.
        root: folder that holds ``notebooks``; ``None``: the checkout.

    Raises:
        ParameterError: a port outside 1024 to 65535.
    """
    if port is not None and not 1024 <= port <= 65535:
        raise ParameterError("port", port, "1024 to 65535")
    layout = find_layout() if root is None else Layout(root)
    number = PORTS[kind] if port is None else port
    shared = [f"--port={number}", *([] if browser else ["--no-browser"])]
    if kind == "lab":
        return [
            *(sys.executable, "-m", "jupyterlab", str(layout.notebooks / NOTEBOOK), "--ip=127.0.0.1", *shared),
            f"--ServerApp.port_retries={50 if port is None else 0}",
            f"--ServerApp.root_dir={layout.root}",
            f"--LabApp.default_url=/lab/tree/notebooks/{NOTEBOOK}",
            "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
            *(["--allow-root"] if os.geteuid() == 0 else []),  # in containers; still this machine and a token only
        ]
    return [
        *(sys.executable, "-m", "voila", str(layout.notebooks / NOTEBOOK), "--Voila.ip=127.0.0.1", *shared),
        f"--Voila.port_retries={50 if port is None else 0}",
        "--template=polinb",
        "--token",  # one is made: other users of this machine must not reach the page
    ]


def environment(profile: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """This process's environment, with the lab's parameters for the notebook's kernel.

    Raises:
        ParameterError: a wrong parameter; refused here, before a server starts.
    """
    Params.from_profile(profile, **settings)
    ours = Path(str(resources.files("polinb") / "resources" / "jupyter"))
    return {
        **os.environ,
        VARIABLE: json.dumps({"profile": profile, **settings}),
        "JUPYTER_PATH": _before("JUPYTER_PATH", ours),  # the page of Voilà
        "JUPYTER_CONFIG_PATH": _before("JUPYTER_CONFIG_PATH", ours / "config"),  # no news in JupyterLab
        "TOKENIZERS_PARALLELISM": "false",
    }


def _before(name: str, folder: Path) -> str:
    given = os.environ.get(name)
    return os.pathsep.join([str(folder), given] if given else [str(folder)])


def serve(kind: str, profile: str, settings: Mapping[str, Any], port: int | None, browser: bool) -> int:
    """Run a server in place of this process until it is stopped with Ctrl-C."""
    environ, line = environment(profile, settings), command(kind, port, browser)
    what = "JupyterLab" if kind == "lab" else "Voilà"
    print(f"{what} starts; its address follows. Ctrl-C ends it.", flush=True)
    os.execve(line[0], line, environ)

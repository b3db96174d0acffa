"""One job of the workflow: a step, a chapter or the pages, and the marker that says it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from polinb.errors import JudgeError, ParameterError
from polinb.runs.params import Params


def run_job(
    name: str, plan: Path, run: str | None, marker: Path, do: Callable[[str, dict[str, Any]], None] | None = None
) -> None:
    """Do one job of a plan and write its marker.

    Args:
        name: ``family/instance``, ``chapter/NAME`` or ``pages``.
        plan: the file written by :func:`polinb.cluster.plans.write_plan`.
        run: which run of the plan a step belongs to.
        marker: written when the job is done.
        do: runs a chapter or makes the pages, given its name and the plan; None: steps only.

    Raises:
        ParameterError: no such plan, run or job.
        PolinbError: whatever the work raises.
    """
    from polinb.cluster import markers as workflow_markers

    known = read_plan(plan)
    started = time.monotonic()
    artifacts: list[list[str]] = []
    if do:
        chapter = name.removeprefix("chapter/")
        key = known["pages"] if name == "pages" else _entry(known["chapters"], "chapter", chapter)["key"]
        do(name, known)
    else:
        about = _entry(known["runs"], "--run", run or "")
        key = _entry(about["steps"], "step", name)["key"]
        artifacts = run_step(name, about["parameters"])
    seconds = round(time.monotonic() - started, 2)
    content = {"name": name, "run": run, "key": key, "artifacts": artifacts, "seconds": seconds}
    workflow_markers.write(marker, content)


def run_step(name: str, parameters: Mapping[str, Any]) -> list[list[str]]:
    """Do one step of a run by calling the experiment's own methods; kinds and keys of the artifacts it made.

    Raises:
        ParameterError: no such step, or wrong parameters.
        JudgeError: answers are there, but the judge left some unrated; running again asks only for those.
    """
    from polinb.cluster.gpu import local_gpus, one_gpu
    from polinb.cluster.steps import parse
    from polinb.runs.artifacts import store_root

    parse(name)
    params = Params.from_profile(**parameters)
    with one_gpu([] if params.device == "cpu" else local_gpus()):
        from polinb.cluster.markers import NotingStore
        from polinb.cluster.steps import do
        from polinb.runs.chapter import quiet
        from polinb.runs.experiment import Experiment

        quiet()
        store = NotingStore(store_root())
        family = do(Experiment(params, store), name)
        used = [list(each) for each in store.used if each[0] in family.kinds]
        kinds = {kind for kind, _ in used}
        if "rated" in family.kinds and kinds and "rated" not in kinds:
            raise JudgeError(f"{name}: the judge left answers unrated; the answers are kept, run again to rate them")
        return used


def read_plan(path: Path) -> dict[str, Any]:
    """A plan written by :func:`polinb.cluster.plans.write_plan`.

    Raises:
        ParameterError: there is none.
    """
    try:
        plan = json.loads(path.read_text("utf-8"))
        plan["runs"], plan["chapters"], plan["root"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ParameterError("--plan", str(path), "the plan of a workflow; `make dry-run` writes one") from None
    return dict(plan)


def _entry(found: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in found:
        raise ParameterError(what, name, f"one of {', '.join(sorted(found)[:8])}, …")
    return found[name]

"""The plan of a workflow: every step, chapter and page of the runs asked for, with its key, as one JSON file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polinb.cluster import markers as workflow_markers
from polinb.errors import ParameterError
from polinb.runs.artifacts import key_of, store_root
from polinb.runs.checkout import Layout, chapter_names, chosen_chapters, core_names
from polinb.runs.params import Params

GPU_FREE = frozenset({"truth", "pages"})
"""Rules that never use a GPU."""


@dataclass(frozen=True)
class Book:
    """The book that a workflow makes.

    Attributes:
        layout: the checkout.
        mark: hash of what decides a notebook's outputs, given its path and the run's parameters.
        stands: whether a chapter's last execution is still what a new one would show.
    """

    layout: Layout
    mark: Callable[[Path, Mapping[str, Any]], str]
    stands: Callable[[Layout, str, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        profile, settings: as for ``make book``.
        chapters: names, ``core`` or ``all``; None: core.
        jobs: how many jobs at once.
        models, seeds: run all of these; the book shows the first. Empty: the model and seed of the settings.
        gpus: GPUs a job, asked of the scheduler as ``gres``; 0: none.
    """

    profile: str = "quick"
    settings: Mapping[str, Any] = field(default_factory=dict)
    chapters: Sequence[str] | None = None
    jobs: int = 1
    models: Sequence[str] = ()
    seeds: Sequence[int] = ()
    gpus: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        if isinstance(self.jobs, bool) or not isinstance(self.jobs, int) or not 1 <= self.jobs <= 10_000:
            raise ParameterError("jobs", self.jobs, "a whole number from 1")
        if isinstance(self.gpus, bool) or not isinstance(self.gpus, int) or not 0 <= self.gpus <= 64:
            raise ParameterError("gpus", self.gpus, "a whole number from 0 (none)")
        for name, several in (("models", self.models), ("seeds", self.seeds)):
            if len(set(several)) != len(several):
                raise ParameterError(name, list(several), "each once")

    def runs(self) -> dict[str, dict[str, Any]]:
        """Name → parameters of each run, the one that the book shows first.

        Raises:
            ParameterError: a wrong parameter.
        """
        base = {"profile": self.profile, **self.settings}
        params = Params.from_profile(**base)
        out: dict[str, dict[str, Any]] = {}
        for model in self.models or [params.model]:
            for seed in self.seeds or [params.seed]:
                given = dict(base)
                given |= {"model": model} if self.models else {}
                given |= {"seed": seed} if self.seeds else {}
                Params.from_profile(**given)
                out[f"{_name(model)}-seed{seed}"] = given
        return out


def write_plan(book: Book, request: Request, path: Path) -> dict[str, Any]:
    """Work out the plan of a request and write it to ``path``; the plan.

    Raises:
        ParameterError: before anything is written, for a wrong parameter or chapter.
        DataError, ModelError: data or model that cannot be identified.
    """
    from polinb.cluster.needs import Needs, chapter_needs
    from polinb.cluster.plan import Plan
    from polinb.cluster.steps import FAMILIES

    runs, layout = request.runs(), book.layout
    every, core = chapter_names(layout), core_names(layout)
    wanted = chosen_chapters(every, core, request.chapters)
    steps: dict[str, Any] = {}
    needed: dict[str, list[str]] = {}
    for run, given in runs.items():
        needs = Needs(Plan(Params.from_profile(**given), store_root()))
        found = {name: chapter_needs(needs, name) for name in wanted}
        needed = needed or found
        told = {n: {"wild": s.wild, "needs": s.needs, "key": s.key} for n, s in needs.steps.items()}
        steps[run] = {"parameters": given, "steps": told}
    given = next(iter(runs.values()))
    marks = {name: book.mark(layout.notebooks / f"{name}.ipynb", given) for name in wanted}
    there = {name for name in every if name in wanted or (layout.chapters / f"{name}.ipynb").is_file()}
    plan = {
        "root": str(layout.root.resolve()),
        "book": next(iter(runs)),
        "given": given,
        "runs": steps,
        "chapters": {name: {"key": marks[name], "needs": needed[name]} for name in wanted},
        "pages": _pages_key(layout, marks) if set(core) <= there else "",
        "families": {name: family.pattern for name, family in FAMILIES.items()},
        "wildcards": sorted({w for f in FAMILIES.values() for w in re.findall(r"\{(\w+)\}", f.pattern)} | {"chapter"}),
        "resources": _resources(request, [*FAMILIES, "chapter", "pages"]),
        "threads": 1,
    }
    plan["open"] = list(markers(plan))
    workflow_markers.write(path, plan)
    return plan


def markers(plan: Mapping[str, Any]) -> dict[str, str]:
    """Marker file of each job of a plan, and the key it must hold."""
    out = {f"{r}/{n}.json": s["key"] for r, about in plan["runs"].items() for n, s in about["steps"].items()}
    out |= {f"book/chapters/{name}.json": about["key"] for name, about in plan["chapters"].items()}
    return out | ({"book/pages.json": plan["pages"]} if plan["pages"] else {})


def _pages_key(layout: Layout, marks: Mapping[str, str]) -> str:
    """Hash of what decides the pages: chapters, what is written beside them, the package they list."""
    book, package = layout.root / "book", Path(__file__).parents[1]
    made = [layout.chapters, layout.vendor]
    texts = [p for p in book.rglob("*") if p.is_file() and not any(folder in p.parents for folder in made)]
    sources = [*texts, layout.root / "_config.yml", *package.rglob("*.py"), *(package / "resources" / "web").rglob("*")]
    digests = {
        str(p.relative_to(package if package in p.parents else layout.root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(sources)
        if p.is_file() and "__pycache__" not in p.parts
    }
    return key_of({"chapters": dict(marks), "sources": digests})


def _resources(request: Request, rules: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Memory (MB), minutes, and what stands for a GPU, by rule; ``--set-resources`` changes them."""
    small = request.profile == "tiny"
    out: dict[str, dict[str, Any]] = {}
    for rule in rules:
        out[rule] = {"mem_mb": 2000 if small else 16000, "runtime": 30 if small else 720}
        if rule not in GPU_FREE:
            out[rule] |= {"cards": 1} | ({"gres": f"gpu:{request.gpus}"} if request.gpus else {})
    return out


def _name(model: str) -> str:
    """A model as part of a file name; made distinct where characters are lost."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", model).strip("-")[-60:]
    return plain if plain == model else f"{plain}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"

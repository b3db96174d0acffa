"""Jobs: what chapters read, grouped coarsely, each job with a name that is known before anything is made.

A name ends in a short hash of the keys of its results, so other parameters are other jobs, and the same results of two
runs are one job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from polinb.cluster.wanted import runs_models, wanted
from polinb.errors import JudgeError, TrainingError
from polinb.runs import stages, weights
from polinb.runs.artifacts import key_of
from polinb.runs.checkout import chosen_chapters, core_names, find_layout
from polinb.runs.groups import Model
from polinb.runs.params import Params
from polinb.runs.results import Result, missing
from polinb.runs.run import Run


@dataclass(eq=False)
class Job:
    """Results that are made together, or a notebook, or the pages."""

    rule: str  # in the Snakefile: weights, scores, …, chapter or pages
    title: str  # what it is; of a chapter the notebook's name
    given: Mapping[str, Any]  # the parameters of its run
    results: list[Result] = field(default_factory=list)  # what it may have to make
    reads: list[Result] = field(default_factory=list)  # what chapters read of them; of a chapter its own
    needs: set[str] = field(default_factory=set)  # names of the jobs before it
    gpu: bool = False  # can it use one?

    @cached_property
    def name(self) -> str:
        """``rule/title-hash``; the hash is of all that decides the job."""
        told = {"results": sorted(map(str, self.results))} if self.results else {"given": self.given}
        return f"{self.rule}/{self.title}-{key_of(told)[:8]}"

    @cached_property
    def left_out(self) -> bool:
        """Would it freeze a set without a neuron? Known once the scores are; chapters leave such a condition out."""
        trained = [result.inputs["condition"].frozen for result in self.results if result.stage is weights.weights]
        try:
            return any(set_ and not missing(set_.needs) and not set_.summary["neurons"] for set_ in trained[:1])
        except TrainingError:
            return True

    def make(self, lost: Container[Path]) -> None:
        """Make those of its results that are among :func:`lost`.

        Raises:
            JudgeError: the judge left answers unrated; all else is kept, and running again asks only for those.
        """
        told: dict[str, None] = {}
        for result in [] if self.left_out else self.results:
            try:
                if result.path in lost:
                    result.made()
            except JudgeError as error:
                told[str(error)] = None
        if told:
            raise JudgeError("; ".join(told))


# --- which results are one job


def home(result: Result) -> Result | None:
    """What the job of a result is about: all that uses the same weights is one job. None: the vanilla model."""
    if result.stage in (weights.weights, weights.interpolated):
        return result
    for name in ("model", "answers"):
        if name in result.inputs:
            return None if result.inputs[name] is None else home(result.inputs[name])
    return None if Model in result.stage.groups and not result.needs else result


def before(result: Result) -> Iterator[Result]:
    """What a result is made from, through what is made in seconds, without a model, by whatever needs it."""
    for need in result.needs:
        in_passing = need.needs and Model not in need.stage.groups and "answers" not in need.inputs
        yield from before(need) if in_passing else [need]


def grouped(run: Run, results: Iterable[Result], given: Mapping[str, Any]) -> dict[Path, Job]:
    """The jobs that make ``results`` and all that they are made from, by the path of each result that has one."""
    jobs: dict[Path | None, Job] = {}
    found: dict[Path, tuple[Result, Job]] = {}

    def visit(result: Result) -> None:
        if result.path in found:
            return
        for need in before(result):
            visit(need)
        about = home(result)
        rule = "vanilla" if about is None else about.stage.kind.replace("-", "_")
        job = jobs.setdefault(None if about is None else about.path, Job(rule, title(about), given))
        job.results.append(result)
        job.gpu |= Model in result.stage.groups or (result.stage is stages.rate and run.params.judge == "hf")
        found[result.path] = result, job

    for each in results:
        visit(each)
        found[each.path][1].reads.append(each)
    for result, job in found.values():  # names are known now
        job.needs |= {found[need.path][1].name for need in before(result)} - {job.name}
    return {path: job for path, (_, job) in found.items()}


def title(about: Result | None) -> str:
    """What a job is about, as part of a file name."""
    if about is None:
        return "vanilla"
    inputs, kind = about.inputs, about.stage.kind
    condition, chosen = inputs.get("trained", about).inputs.get("condition"), inputs.get("chosen")
    if condition is not None:
        gamma = "" if condition.frozen is None else f"g{condition.frozen.inputs['gamma']:g}"
        told = [condition.name, condition.topic, condition.leaning, gamma]
    elif chosen is not None:
        rule = chosen.inputs if isinstance(chosen, Result) else {"kind": chosen}
        told = [inputs.get("way", kind), rule["kind"], rule.get("topic", "")]
        told += [inputs["tuned"].inputs["condition"].topic] if "tuned" in inputs else []
    else:
        trained = [need.inputs["condition"].topic for need in about.needs if need.stage is weights.weights]
        told = [kind, *dict.fromkeys(trained), str(inputs.get("seed", ""))]
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(told).lower()).strip("-")[:80]


# --- all jobs of some runs


@dataclass(frozen=True)
class Request:
    """What is asked for: profile, settings and chapters as for ``make book``, and how it is run."""

    profile: str
    settings: Mapping[str, Any]
    chapters: Sequence[str] | None = None
    models: Sequence[str] = ()  # run all of these; the book shows the first. Empty: the one of the settings
    seeds: Sequence[int] = ()  # likewise
    gpus: int = 0  # of a job that can use one
    threads: int = 1  # a job

    @classmethod
    def read(cls, text: str) -> Request:
        """What :meth:`text` wrote."""
        return cls(**json.loads(unquote(text)))

    def text(self) -> str:
        """As a word that snakemake leaves as it is: it takes objects apart, and quotes anew for a cluster."""
        return quote(json.dumps(asdict(self)), safe="")

    def runs(self) -> list[dict[str, Any]]:
        """Parameters of each run, the one that the book shows first."""
        models = [{"model": model} for model in self.models] or [{}]
        seeds = [{"seed": seed} for seed in self.seeds] or [{}]
        return [{"profile": self.profile, **self.settings, **m, **s} for m in models for s in seeds]

    def jobs(self) -> dict[str, Job]:
        """Every job by its name, chapters and pages last; nothing is computed, and no model is loaded.

        Raises:
            ParameterError: a wrong parameter or chapter.
            DataError, ModelError: data or model that cannot be identified.
        """
        layout = find_layout()
        chapters = chosen_chapters(layout, self.chapters)
        out: dict[str, Job] = {}
        last: list[Job] = []
        for given in self.runs():
            run = Run(Params.from_profile(**given))
            reads = {name: wanted(run, name) for name in chapters}
            of = grouped(run, [result for each in reads.values() for result in each], given)
            out = {job.name: job for job in of.values()} | out
            for name, read in reads.items() if not last else ():
                needs = {of[result.path].name for result in read}
                last.append(Job("chapter", name, given, [], read, needs, runs_models(run, name)))
        there = {path.stem for path in layout.chapters.glob("*.ipynb")}
        if set(core_names(layout)) <= {*chapters, *there}:
            last.append(Job("pages", "pages", last[0].given, needs={job.name for job in last}))
        return out | {job.name: job for job in last}


def lost(jobs: Mapping[str, Job]) -> set[Path]:
    """What is to be made so that all is there that chapters read; weights that nothing needs any more may be gone."""
    return {result.path for result in missing(result for job in jobs.values() for result in job.reads)}


def words(given: Mapping[str, Any]) -> list[str]:
    """The words on a command line that give these parameters."""
    plain = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    sets = [f"{name}={value}" for name, value in plain.items() if name != "profile"]  # a notebook keeps their order
    return ["--profile", plain["profile"], *(word for each in sets for word in ("--set", each))]

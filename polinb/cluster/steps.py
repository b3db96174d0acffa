"""The steps of a run: which there are, what each needs, and how one is done by calling the experiment's own methods.

A step is named ``family/instance``. Its work is one function, called with an ``experiment.Experiment`` to
do it and with a :class:`~polinb.cluster.plan.Plan` to know its key, so the two cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from polinb.chapters.caft import caft, cue_arms, narrow_arms
from polinb.chapters.dpo import shift, toxicity
from polinb.chapters.paper import baselines as rivals
from polinb.chapters.paper.patch_tables import patch_plan
from polinb.chapters.planted import truth, truth_tuned
from polinb.cluster.plan import Plan
from polinb.errors import ParameterError
from polinb.runs.experiment import Arm, Experiment, finetuned


@dataclass(frozen=True)
class Family:
    """A kind of step: a rule of the workflow.

    Attributes:
        pattern: the instance's name, made of the step's wildcards.
        kinds: kinds of artifacts that the step makes.
        work: does it, given a run and the wildcards.
    """

    pattern: str
    kinds: tuple[str, ...]
    work: Callable[..., Any]


@dataclass
class Step:
    """One step of a run.

    Attributes:
        family: a key of ``FAMILIES``.
        wild: its wildcards.
        needs: steps that must be done before, by name.
        key: hash of everything that determines its result.
    """

    family: str
    wild: dict[str, str]
    needs: list[str] = field(default_factory=list)
    key: str = ""

    @property
    def name(self) -> str:
        """``family/instance``."""
        return f"{self.family}/{FAMILIES[self.family].pattern.format(**self.wild)}"


def slug(text: str) -> str:
    """``text`` as part of a file name: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def arm_labels(arms: Iterable[Arm]) -> dict[tuple[str, str, str, str], Arm]:
    """Arms by topic, name, number among those of the same name, and training run."""
    out: dict[tuple[str, str, str, str], Arm] = {}
    for arm in arms:
        number = sum(known[:2] == (arm.topic, slug(arm.name)) and known[3] == str(arm.run) for known in out)
        out[arm.topic, slug(arm.name), str(number), str(arm.run)] = arm
    return out


# --- the work


def _variant(exp: Experiment, topic: str, leaning: str) -> None:
    exp.variant(topic, leaning)


def _scores(exp: Experiment, topic: str) -> None:
    exp.scores(topic)
    exp.neutral()


def _vanilla(exp: Experiment, what: str) -> None:
    exp.stances()
    if exp.statement_sets:
        exp.rated(exp.answers().frame("statements"))


def _tuned(exp: Experiment, topic: str, leaning: str) -> None:
    exp.stances(finetuned(topic, leaning))


def _frozen(exp: Experiment, topic: str, arm: str, gamma: str, number: str) -> None:
    at = float(gamma)
    if not exp.sets(at).general.any():  # the chapters leave such a γ out, or say why they cannot go on
        return
    kinds = [k for k in exp.params.controls if slug(f"random-{k}") == arm or f"inhibitft-{k}" == arm]
    kinds = kinds or [k for k in ("layer",) if arm == "random-layer"]
    found = arm_labels(exp.inhibit_arms(topic, at, kinds=kinds))
    exp.stances(_named(found, (topic, arm, number, "0")))


def _rival(exp: Experiment, topic: str, arm: str, number: str, repeat: str) -> None:
    exp.stances(_named(arm_labels(rivals.arms(exp, topic)), (topic, arm, number, repeat)))


def _caft(exp: Experiment, topic: str, arm: str, number: str) -> None:
    found = arm_labels(caft.arms(exp, topic, [arm.removeprefix("caft-")]))
    exp.stances(_named(found, (topic, arm, number, "0")))


def _directions(exp: Experiment, topic: str, method: str) -> None:
    caft.choice(exp, topic, method)


def _patched(exp: Experiment, set: str) -> None:
    plan = {slug(name): (name, chosen, donors) for name, _, chosen, donors in patch_plan(exp)}
    exp.patched(*_named(plan, set))


def _preferred(exp: Experiment, side: str) -> None:
    shift.preferred(exp, side)


def _toxicity(exp: Experiment, what: str) -> None:
    if exp.params.toxicity_warmup:
        toxicity.rude(exp)
    toxicity.preferred(exp)


def _truth(exp: Experiment, stage: str, number: str) -> None:
    seed = exp.params.seed + int(number)
    {"detection": truth._detected, "patching": truth._patched, "tuned": truth_tuned._tuned}[stage](exp, seed)


def _cue(exp: Experiment, arm: str) -> None:
    cue_arms.answers(exp, _named({slug(each.name): each for each in cue_arms.arms()}, arm))


def _narrow(exp: Experiment, arm: str) -> None:
    chosen = _named({slug(each.name): each for each in narrow_arms.arms(exp)}, arm)
    if isinstance(exp, Plan) and chosen in (narrow_arms.CAFT, narrow_arms.RANDOM):
        # directions come out of the answers of two other arms: what decides them is named instead
        for other in (narrow_arms.VANILLA, narrow_arms.NARROW):
            narrow_arms.answers(exp, other)
        p = exp.params
        told = {n: getattr(p, n) for n in ("caft_pca", "caft_components", "caft_keep", "seed")}
        exp.store.note("narrow-answers", {**told, "arm": arm, "code": 1})
        return
    narrow_arms.answers(exp, chosen)


def _named(found: dict[Any, Any], name: Any) -> Any:
    if name not in found:
        raise ParameterError("step", name, f"one of {', '.join(sorted(map(str, found)))}")
    return found[name]


FAMILIES: dict[str, Family] = {
    "variant": Family("{topic}.{leaning}", ("variant",), _variant),
    "scores": Family("{topic}", ("scores",), _scores),
    "vanilla": Family("{what}", ("answers", "rated"), _vanilla),
    "tuned": Family("{topic}.{leaning}", ("answers", "rated"), _tuned),
    "frozen": Family("{topic}.{arm}.g{gamma}.n{number}", ("answers", "rated"), _frozen),
    "rival": Family("{topic}.{arm}.n{number}.r{repeat}", ("answers", "rated"), _rival),
    "patched": Family("{set}", ("patched", "rated"), _patched),
    "directions": Family("{topic}.{method}", ("caft-states", "caft-pca", "caft-sae", "caft-choice"), _directions),
    "caft": Family("{topic}.{arm}.n{number}", ("answers", "rated"), _caft),
    "preferred": Family("{side}", ("preferred",), _preferred),
    "toxicity": Family("{what}", ("toxicity-rude", "toxicity-preferred"), _toxicity),
    "truth": Family("{stage}.{number}", ("truth-detection", "truth-patching", "truth-tuned"), _truth),
    "cue": Family("{arm}", ("cue-directions", "cue-answers"), _cue),
    "narrow": Family("{arm}", ("narrow-answers",), _narrow),
}
"""Every kind of step. Notebooks and pages are rules beside them."""


def do(exp: Experiment, name: str) -> Family:
    """Do one step, or for a plan: note what determines it.

    Raises:
        ParameterError: no such step.
    """
    family, wild = parse(name)
    FAMILIES[family].work(exp, **wild)
    return FAMILIES[family]


def parse(name: str) -> tuple[str, dict[str, str]]:
    """Family and wildcards of a step's name.

    Raises:
        ParameterError: a name that no family's pattern fits.
    """
    family, _, instance = name.partition("/")
    if family not in FAMILIES:
        raise ParameterError("step", name, f"a step of one of the families {', '.join(FAMILIES)}")
    parts = re.split(r"\{(\w+)\}", FAMILIES[family].pattern)
    shape = "".join(
        f"(?P<{p}>{r'[0-9.e+-]+' if p == 'gamma' else '[^/.]+'})" if i % 2 else re.escape(p)
        for i, p in enumerate(parts)
    )
    fits = re.fullmatch(shape, instance)
    if not fits:
        raise ParameterError("step", name, f"a name like {family}/{FAMILIES[family].pattern}")
    return family, fits.groupdict()

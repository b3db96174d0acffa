"""One study, two subjects: what preference fine-tuning changes along a probe (Yang et al. 2025), stored stage by stage.

A :class:`Study` names its two models, the texts of its probe, the answers that both models read, and the questions on
which neuron groups are tried. Stance (``shift``) and toxicity (``toxicity``) are two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.errors import DataError
from polinb.masking.editing import MODES, edit_factors, edited_answers
from polinb.masking.patching import patched_answers
from polinb.models.generation import log_likelihood
from polinb.models.lm import LM
from polinb.resampling import SHIFT, Span, changes, stratified_mean
from polinb.runs.artifacts import save_arrays
from polinb.runs.conditions import Condition, Ids, Texts, encode
from polinb.runs.groups import Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.runs.stages import said
from polinb.scoring.decompose import Parts, check, decompose
from polinb.scoring.probes import layer_direction, probe_table
from polinb.scoring.shares import Group, groups, shares, top_cosine
from polinb.stance.utility import repetition
from polinb.wording import with_ends

Top = tuple[str, int, Sequence[int]]
PROBED = ["prompt", "response", "label", "fold", "unit"]
BEFORE, AFTER, EVERY, ALL, RANDOM = "before", "after", "every neuron", "all four", "random, as many as all four"


@dataclass(frozen=True)
class Study:
    """Preference fine-tuning on one subject.

    Attributes:
        before, after: the two models.
        probed: texts of the probe with the columns :data:`PROBED`: label (bool; True is the probe's positive side),
            fold (left out together when the probe is tested) and unit (resampled together).
        read: result whose table ``answers`` both models read.
        asked: questions to both models.
        tried: those of them that groups are tried on; none of them is read.
        tokens: longest answer.
        rate: answers with their ``score`` and ``soft`` score, see :func:`outcome_table`.
        sign: the trained way along the probe, +1 or −1.
        letters: of neurons aligned with the probe and against it.
        tops: neurons closest to the probe that are tried as well: name, number, sides.
        span: of a change of ``score``; also: further columns of labels with the same span.
    """

    run: Run
    before: Condition
    after: Condition
    probed: Texts
    read: Result
    asked: Texts
    tried: Texts
    tokens: int
    rate: Callable[[Run, Result], pd.DataFrame]
    sign: int
    letters: tuple[str, str]
    tops: Sequence[Top]
    span: Span = SHIFT
    also: Sequence[str] = ()

    @property
    def states(self) -> Result:
        """Hidden states of the model before on the probe's texts."""
        return self.run.states(self.before, self.probed)

    def probes(self) -> pd.DataFrame:
        """Held-out accuracy and AUC of both probes after every block (``probes.probe_table``)."""
        p = self.run.params
        found = probes(self.run, states=self.states, probed=self.probed, draws=p.bootstrap, seed=p.seed)
        return found.frame("probes")

    def decomposed(self, kind: str | None = None) -> Result:
        """Exact parts of the change of h·w on the answers that both read, by the probe ``kind`` or the run's."""
        p = self.run.params
        models = {"before": self.run.weights(self.before), "after": self.run.weights(self.after)}
        how = {"kind": kind or p.probe, "layer": p.probe_layer, "form": self.tried.form, "limit": p.max_tokens}
        return parts(self.run, **models, states=self.states, probed=self.probed, read=self.read, **how)

    def parts(self, kind: str | None = None) -> Parts:
        """:meth:`decomposed`, loaded."""
        return parts_of(self.decomposed(kind))

    def groups(self) -> dict[str, Group]:
        """The four groups: neurons that moved the trained way."""
        found = self.parts()
        return groups(found.cosine, found.mean_before, found.neurons, self.sign, self.letters)

    def shares(self, sets: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Share of the four groups, of further sets and of every neuron (``polinb.scoring.shares.shares``)."""
        p, found = self.run.params, self.parts()
        own = {name: group.chosen for name, group in self.groups().items()}
        every = own | {**sets, EVERY: np.ones_like(found.neurons, dtype=bool)}
        return shares(found, every, self.sign, p.bootstrap, p.seed)

    @property
    def trained(self) -> Result:
        """What is kept of the course of DPO, for weights may be dropped."""
        weights = self.run.weights(self.after)
        assert weights is not None
        return training_course(self.run, weights=weights)

    def course(self) -> pd.DataFrame:
        """Course of DPO: step, loss, margin (β × gain of chosen over rejected, before the step), accuracy.

        With one epoch every pair is new when it is read, so margin and accuracy are on pairs not yet trained on.
        """
        told = self.trained.summary
        table = pd.DataFrame({"loss": told["losses"], "margin": told["margins"], "accuracy": told["accuracies"]})
        return table.assign(step=table.index + 1)

    def patched(self) -> Result:
        """Answers of the model before with each set's activations taken from the one after: table ``answers``."""
        p, after = self.run.params, self.run.weights(self.after)
        return patched(self.run, **self._tried, after=after, tops=self.tops, seed=p.seed, mode=p.patch)

    def edited(self) -> Result:
        """Answers of the model before while its groups are edited: table ``answers``, with mode and alpha."""
        return edited(self.run, **self._tried, alphas=self.run.params.edit_alphas)

    @property
    def answered(self) -> dict[str, Result]:
        """What both models answer, by the names of the models in tables."""
        models = {BEFORE: self.before, AFTER: self.after}
        return {name: self.run.ask(model, self.asked, tokens=self.tokens) for name, model in models.items()}

    def plain(self) -> pd.DataFrame:
        """Rated answers of both models to the questions that groups are tried on."""
        on = _names(self.tried.rows)
        both = pd.concat([self.rate(self.run, said).assign(set=name) for name, said in self.answered.items()])
        return both.merge(self.tried.rows[on], on=on)

    def outcomes(self, made: Result) -> pd.DataFrame:
        """What patching or editing (``made``) does, beside the two models as they are: :func:`outcome_table`.

        Of edits also mode (mean, scale; missing for the models) and alpha.
        """
        p, rated = self.run.params, self.rate(self.run, made)
        plan = group_plan(self.groups(), top_sets(self.parts(), self.tops), p.seed)
        sizes = {name: int(chosen.sum()) for name, chosen in plan.items()}
        both = pd.concat([self.plain(), rated], ignore_index=True)
        both = both.assign(topic=both.get("topic", "all"))
        table = outcome_table(both, p.bootstrap, p.seed, sizes, self.span, self.also)
        return table.merge(rated.filter(["set", "mode", "alpha"]).drop_duplicates(), on="set", how="left")

    @property
    def _tried(self) -> dict[str, Any]:
        """What trying the groups takes, by patching or by editing."""
        how = {"sign": self.sign, "letters": self.letters, "tokens": self.tokens, "batch": self.run.params.eval_batch}
        return {"before": self.run.weights(self.before), "parts": self.decomposed(), "asked": self.tried, **how}


@stage("training-course")
def training_course(run: Run, folder: Path, *, weights: Result) -> Mapping[str, Any]:
    """Loss, margin and accuracy of every step."""
    return {name: weights.summary[name] for name in ("losses", "margins", "accuracies")}


def refuse(run: Run) -> None:
    """Refuse, as ``decompose.check`` and ``shares.top_cosine`` do, before anything is trained."""
    p, lm = run.params, run.lm
    check(lm, lm, np.eye(lm.d_model)[0], p.probe_layer)
    for k in p.probe_top:
        top_cosine(np.zeros((lm.layers, lm.width)), k)


def group_plan(groups: Mapping[str, Group], tops: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """What is patched: each group, groups added up one by one, all, ``tops``, a random set, every neuron.

    The random set has as many neurons in each layer as all groups together. They are drawn from the whole layer, not
    outside the groups as the controls of G are: what is outside moved the other way, the opposite of a random set.

    Returns:
        Name → (L, F) bool; sets without a neuron are left out.
    """
    plan = {name: group.chosen for name, group in groups.items()}
    names, together, rng = list(plan), np.any(list(plan.values()), axis=0), np.random.default_rng(seed)
    for count in range(2, len(names)):
        plan[" + ".join(names[:count])] = np.any([plan[name] for name in names[:count]], axis=0)
    # the place of each neuron of a layer in a random order
    drawn = np.stack([rng.permutation(row.size).argsort() < row.sum() for row in together])
    plan |= {ALL: together, **tops, RANDOM: drawn, EVERY: np.ones_like(together)}
    return {name: mask for name, mask in plan.items() if mask.any()}


def outcome_table(
    answers: pd.DataFrame, n_boot: int, seed: int, sizes: Mapping[str, int], span: Span, also: Sequence[str]
) -> pd.DataFrame:
    """What each set does to the answers, against the unpatched model on the same questions.

    Args:
        answers: set (one is ``before``), topic, id, response, vanilla_logp, ``score`` (a judge's label as a number, …)
            and ``soft`` (such as its probability).
        sizes: neurons of each set.
        span, also: as of :class:`Study`.

    Returns:
        set, neurons, n, score, shift, low, high (paired with ``before``), soft, soft_low, soft_high (paired shift of
        the soft score), perplexity (of minus the mean ``vanilla_logp``), repetition (mean share of repeated word
        triples); for each of ``also`` its mean, <name>_shift with _low and _high, and beside a random set <name>_beyond
        (its mean minus that of the random set, paired) with _low and _high.

    Raises:
        DataError: a set with other questions.
    """
    by = {str(name): group.set_index(["topic", "id"]) for name, group in answers.groupby("set", sort=False)}

    def paired(own: str, other: str, column: str, told: str, span: Span | None = None) -> dict[str, float]:
        """Mean of the known changes, questions resampled within topics; NaN where none is known."""
        known = changes(by[other][column], by[own][column]).dropna()
        groups = [part.to_numpy(float) for _, part in known.groupby(level="topic", sort=False)]
        if groups and min(map(len, groups)) < 2:
            groups = [known.to_numpy(float)]
        ends = stratified_mean(groups, n_boot, seed, span, pooled=True) if groups else 3 * (float("nan"),)
        return with_ends(told, ends)

    rows = []
    for name, own in by.items():
        row = {"set": name, "neurons": sizes.get(name, 0), "n": len(own), "score": own["score"].mean()}
        row |= paired(name, BEFORE, "score", "shift", span) | paired(name, BEFORE, "soft", "soft")
        row["perplexity"] = float(np.exp(-own["vanilla_logp"].mean()))
        row["repetition"] = float(own["response"].map(repetition).mean())
        for label in also:
            row |= {label: own[label].mean(), **paired(name, BEFORE, label, f"{label}_shift", span)}
            row |= paired(name, RANDOM, label, f"{label}_beyond", span) if RANDOM in by else {}
        rows.append(row)
    return pd.DataFrame(rows).rename(columns={"shift_low": "low", "shift_high": "high"})


def top_sets(found: Parts, tops: Sequence[Top]) -> dict[str, np.ndarray]:
    """The neurons closest to the probe, by name."""
    return {name: np.any([top_cosine(found.cosine, k, side) for side in sides], axis=0) for name, k, sides in tops}


def parts_of(result: Result) -> Parts:
    """The parts of a result."""
    every: dict[str, Any] = {**result.arrays("parts"), **result.summary}
    return Parts(**every)


@stage("probes")
def probes(run: Run, folder: Path, *, states: Result, probed: Texts, draws: int, seed: int) -> None:
    """Both probes tested after every block with folds left out: table ``probes``."""
    labels, folds, units = (probed.rows[name].to_numpy() for name in ("label", "fold", "unit"))
    found = states.arrays("states")["states"]
    table = probe_table(found, labels.astype(bool), folds, units, n_boot=draws, seed=seed)
    table.to_parquet(folder / "probes.parquet")


def _names(rows: pd.DataFrame) -> list[str]:
    """The columns that tell questions apart."""
    return [name for name in ("topic", "id") if name in rows]


@stage("read-answers")
def read_answers(run: Run, folder: Path, *, answers: Result, without: Texts, each: int | None = None) -> None:
    """Answers with text to other questions than ``without``, at most ``each`` per topic: table ``answers``.

    Raises:
        DataError: every answer is empty.
    """
    own = answers.frame("answers")
    on = _names(own)
    tried = pd.MultiIndex.from_frame(without.rows[on])
    own = own[~pd.MultiIndex.from_frame(own[on]).isin(tried)]
    own = own[own["response"].str.strip() != ""]
    if each is not None:
        own = own.groupby("topic", sort=False).head(each)
    if own.empty:
        raise DataError("the model before gave no answer with text: there is nothing to decompose a change on")
    own[[*on, "prompt", "response"]].reset_index(drop=True).to_parquet(folder / "answers.parquet")


@stage("parts", Model)
def parts(
    run: Run,
    folder: Path,
    *,
    before: Result | None,
    after: Result,
    states: Result,
    probed: Texts,
    kind: str,
    layer: int,
    read: Result,
    form: str,
    limit: int,
) -> Mapping[str, Any]:
    """Exact parts of the change of h·w from ``before`` to ``after`` on the answers of ``read``: arrays ``parts``."""
    w = layer_direction(states.arrays("states")["states"], probed.rows["label"].to_numpy(bool), layer, kind)
    texts = encode(run.lm, Texts("", form, read.frame("answers")), run.params.system_prompt, limit)
    found = decompose(run.model(before, "before"), run.model(after, "after"), *texts, w, layer=layer)
    arrays = {name: each for name, each in vars(found).items() if isinstance(each, np.ndarray)}
    save_arrays(folder / "parts.safetensors", arrays)
    return {name: each for name, each in vars(found).items() if name not in arrays}


@stage("group-patched", Model, memory="patch")
def patched(
    run: Run, folder: Path, *, after: Result, tops: Sequence[Top], seed: int, mode: str, asked: Texts, **tried: Any
) -> None:
    """Answers of ``before`` with each set's activations taken from ``after`` at all positions: table ``answers``."""
    lm, found, own, how = _trial(run, asked=asked, **tried)
    second, plan = run.model(after, "after"), group_plan(own, top_sets(found, tops), seed)
    made = {
        name: patched_answers(lm, second, chosen, mode=mode, label=f"patching {name}", **how)
        for name, chosen in plan.items()
    }
    _table(run, asked, how["prompts"], made).to_parquet(folder / "answers.parquet")


@stage("group-edited", Model)
def edited(run: Run, folder: Path, *, alphas: Sequence[float], asked: Texts, **tried: Any) -> None:
    """Answers of ``before`` while its four groups are edited (tuning-free editing): table ``answers``, mode and alpha.

    Scaling by α = 0 changes nothing by definition and is left out.
    """
    lm, found, own, how = _trial(run, asked=asked, **tried)
    pairs = [(mode, float(a)) for mode in MODES for a in alphas if a or mode == "mean"]
    plan = {f"{'mean' if mode == 'mean' else 'live'} × (1 ± α), α = {a:g}": (mode, a) for mode, a in pairs}
    made = {
        name: edited_answers(lm, *edit_factors(own, a), mode=mode, means=found.mean_before, label=name, **how)
        for name, (mode, a) in plan.items()
    }
    table = _table(run, asked, how["prompts"], made)
    table["mode"] = [plan[name][0] for name in table["set"]]
    table["alpha"] = [plan[name][1] for name in table["set"]]
    table.to_parquet(folder / "answers.parquet")


def _trial(
    run: Run,
    before: Result | None,
    parts: Result,
    sign: int,
    letters: Sequence[str],
    asked: Texts,
    tokens: int,
    batch: int,
) -> tuple[LM, Parts, dict[str, Group], dict[str, Any]]:
    """The model that groups are tried in, the parts and the groups, and what it answers, and how."""
    found, prompts = parts_of(parts), encode(run.lm, asked, run.params.system_prompt, 2**31)[0]
    how: dict[str, Any] = {"prompts": prompts, "max_new_tokens": tokens, "batch": batch}
    own = groups(found.cosine, found.mean_before, found.neurons, sign, letters)
    return run.model(before, "before"), found, own, how


def _table(run: Run, asked: Texts, prompts: Ids, made: Mapping[str, Ids]) -> pd.DataFrame:
    """Answers as text for each set: set, the columns asked, response, n_tokens, vanilla_logp."""
    frames = {
        name: said(run.lm, asked.rows, ids).assign(vanilla_logp=log_likelihood(run.lm, prompts, ids))
        for name, ids in made.items()
    }
    return pd.concat(frames, names=["set"]).reset_index("set").reset_index(drop=True)

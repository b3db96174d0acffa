"""InhibitFT among its rivals: random sets, held-out G, and fine-tunes that simply train less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from polinb.chapters.paper.results import ARM_TITLES, couplings
from polinb.masking.random_sets import KINDS
from polinb.resampling import differences
from polinb.runs.experiment import VANILLA, Arm, Experiment, finetuned
from polinb.stance.coupling import excess, hierarchical_drop

FAMILIES = {
    "fine-tune": "fine-tune",
    "inhibitft": "InhibitFT",
    "inhibitft-heldout": "InhibitFT",
    "random-uniform": "random neurons frozen",
    "random-layer": "random neurons frozen",
    "random-next_highest": "random neurons frozen",
    "early-stop": "trained less",
    "lower-rate": "trained less",
    "interpolated": "trained less",
}
_TITLES = ARM_TITLES | {
    "fine-tune": "fine-tune",
    "early-stop": "early stop",
    "lower-rate": "lower rate",
    "interpolated": "interpolated",
}


def weaker(exp: Experiment, topic: str) -> list[Arm]:
    """Fine-tunes that train less: early-stopped, at a lower rate, and interpolated with the vanilla weights."""
    p = exp.params
    arms = [Arm(f"early-stop {x:g}", topic, "right", stop=x, extra=False) for x in p.early_stops]
    arms += [Arm(f"lower-rate {x:g}", topic, "right", rate=x, extra=False) for x in p.lower_rates]
    return arms + [Arm(f"interpolated {x:g}", topic, "right", blend=x, extra=False) for x in p.interpolations]


def arms(exp: Experiment, topic: str) -> list[Arm]:
    """Every rival of one training topic: fine-tune and InhibitFT with several seeds, controls, weaker fine-tunes."""
    p = exp.params
    general = exp.general()
    out = [Arm("fine-tune", topic, "right", run=run, extra=False) for run in range(p.finetune_seeds)]
    out += [Arm("inhibitft", topic, "right", general, run=run, extra=False) for run in range(p.finetune_seeds)]
    held = exp.sets().general_without(topic)
    if held.any():
        out.append(Arm("inhibitft-heldout", topic, "right", held, extra=False))
    for kind in KINDS:
        for number in range(p.baseline_seeds):
            chosen = exp.control_set(kind, number)
            out.append(Arm(f"random-{kind}", topic, "right", chosen, extra=False))
    return out + weaker(exp, topic)


def every_arm(exp: Experiment) -> list[Arm]:
    """:func:`arms` of every topic on which rivals are compared."""
    return [arm for topic in exp.params.baseline_topics for arm in arms(exp, topic)]


def kind(name: str) -> str:
    """An arm's name without its setting."""
    return name.split(" ")[0]


def title(name: str) -> str:
    """How a figure calls an arm."""
    known = _TITLES.get(kind(name))
    return name if known is None else known + name[len(kind(name)) :]


def pareto(exp: Experiment, chosen: Sequence[Arm]) -> pd.DataFrame:
    """Coupling against on-topic shift of each arm, and what it costs in fluency.

    Returns:
        arm (title), family, trained, run, frozen, shift, shift_low, shift_high, r, r_low, r_high, r_corrected,
        r_corrected_low, r_corrected_high, kappa, kappa_corrected, fluency (mean log-likelihood a token of the answers
        under the vanilla model, nats).
    """
    table = couplings(exp, chosen)
    table.insert(1, "family", [FAMILIES.get(kind(a.name), "CAFT") for a in chosen])
    table["run"] = [a.run for a in chosen]
    table["fluency"] = [float(exp.answers(a).frame("answers")["vanilla_logp"].mean()) for a in chosen]
    table["arm"] = [title(a.name) for a in chosen]
    return table


def stacks(exp: Experiment, chosen: Sequence[Arm]) -> dict[str, np.ndarray]:
    """Per-question differences from the vanilla model: topic → (arms, questions)."""
    plain = exp.stances(VANILLA)
    moved = [differences(plain, exp.stances(arm)) for arm in chosen]
    return {t: np.stack([m[t] for m in moved]) for t in exp.params.topics}


def equal_shift(exp: Experiment, more: Sequence[Sequence[Arm]] = ()) -> pd.DataFrame:
    """Each kind of arm against "just train less" at the same on-topic shift, mean over seeds and rival topics.

    Args:
        more: further arms (CAFT), one list for each rival topic.

    Returns:
        arm, seeds, shift, r (noise-corrected), r_weak, excess, low, high (questions and seeds resampled),
        low_questions, high_questions (questions only), p_no_gain.
    """
    p = exp.params
    topics = list(p.baseline_topics)
    lines = [stacks(exp, [finetuned(t, "right"), *weaker(exp, t)]) for t in topics]
    weak = len(next(iter(lines[0].values())))
    rows = []
    for name, groups in _grouped(exp, more).items():
        if FAMILIES.get(kind(name)) == "trained less":
            continue
        if name == "fine-tune":  # the first seed is on the line itself
            groups = [group[1:] for group in groups]
            if not all(groups):
                continue
        own = [stacks(exp, group) for group in groups]
        joined = [{t: np.concatenate([line[t], each[t]]) for t in line} for line, each in zip(lines, own, strict=True)]
        found = excess(joined, topics, weak, p.bootstrap, p.seed)
        rows.append({"arm": title(name) if name != "fine-tune" else "fine-tune, other seeds", **found})
    names = ["arm", "seeds", "shift", "r", "r_weak", "excess", "low", "high", "low_questions", "high_questions"]
    return pd.DataFrame(rows)[[*names, "p_no_gain"]]


def hierarchical(exp: Experiment, more: Sequence[Sequence[Arm]] = ()) -> pd.DataFrame:
    """Drop of R_c² from each kind of arm to InhibitFT, seeds and sets resampled too.

    Returns:
        against, drop (positive: InhibitFT couples less), low, high (topics, seeds and questions resampled),
        low_questions, high_questions (questions only), seeds_first (of the other arm), seeds_second (of InhibitFT).
    """
    p = exp.params
    topics = list(p.baseline_topics)
    groups = _grouped(exp, more)
    own = [stacks(exp, group) for group in groups["inhibitft"]]
    rows = []
    for name, each in groups.items():
        if name == "inhibitft" or FAMILIES.get(kind(name)) == "trained less":
            continue
        other = [stacks(exp, group) for group in each]
        rows.append({"against": title(name), **hierarchical_drop(other, own, topics, p.bootstrap, p.seed)})
    return pd.DataFrame(rows)


def _grouped(exp: Experiment, more: Sequence[Sequence[Arm]]) -> dict[str, list[list[Arm]]]:
    """Name → one list of arms (its seeds) for each rival topic; only names that every topic has."""
    lists = [arms(exp, t) + (list(more[k]) if more else []) for k, t in enumerate(exp.params.baseline_topics)]
    names = dict.fromkeys(arm.name for arm in lists[0])
    found = {name: [[arm for arm in each if arm.name == name] for each in lists] for name in names}
    return {name: groups for name, groups in found.items() if all(groups)}

"""InhibitFT beside its baselines: random sets, held-out G, and fine-tunes that simply train less."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from polinb.chapters.paper.results import TITLES, couplings, stacks
from polinb.masking.random_sets import KINDS
from polinb.runs.conditions import Condition
from polinb.runs.run import Run
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
NEXT = "next_highest"
SAME = 0.5
"""Mean Jaccard overlap above which random sets are called one."""
_TITLES = TITLES | {
    "fine-tune": "fine-tune",
    "early-stop": "early stop",
    "lower-rate": "lower rate",
    "interpolated": "interpolated",
}


def weaker(run: Run, topic: str) -> list[Condition]:
    """Fine-tunes that train less: early-stopped, at a lower rate, and interpolated with the vanilla weights."""
    p = run.params
    out = [run.tuned(topic, name=f"early-stop {x:g}", step_share=x) for x in p.early_stops]
    out += [run.tuned(topic, name=f"lower-rate {x:g}", rate=x) for x in p.lower_rates]
    return out + [run.tuned(topic, name=f"interpolated {x:g}", interpolation=x) for x in p.interpolations]


def conditions(run: Run, topic: str, every: bool = False) -> list[Condition]:
    """Every condition of one training topic: fine-tune and InhibitFT with several seeds, controls, weaker fine-tunes.

    Of a run that is only read: those that were asked.

    Args:
        every: also InhibitFT with an empty held-out G, which is known once the scores are.
    """
    p = run.params
    frozen = {"fine-tune": None, "inhibitft": run.neurons("general")}
    if every or run.sets().general_without(topic).any():
        frozen["inhibitft-heldout"] = run.neurons("heldout", topic=topic)
    seeds = range(p.finetune_seeds)
    out = [run.tuned(topic, name=n, frozen=held, repeat=seed) for n, held in frozen.items() for seed in seeds]
    for kind, number in product(KINDS, range(p.baseline_seeds)):
        out.append(run.tuned(topic, name=f"random-{kind}", frozen=run.neurons(kind, number=number)))
    out += weaker(run, topic)
    # the reference run had fewer seeds of some
    return [each for each in out if not run.read_only or run.answers(each).done()]


def every_condition(run: Run) -> list[Condition]:
    """:func:`conditions` of every topic on which baselines are compared."""
    return [condition for topic in run.params.baseline_topics for condition in conditions(run, topic)]


def kind(name: str) -> str:
    """A condition's name without its setting."""
    return name.split(" ")[0]


def title(name: str) -> str:
    """How a figure calls a condition."""
    own = kind(name)
    return _TITLES.get(own, own) + name.removeprefix(own)


def pareto(run: Run, chosen: Sequence[Condition]) -> pd.DataFrame:
    """Coupling against on-topic shift of each condition, and what it costs in fluency.

    Returns:
        condition (title), family, trained, run, frozen, shift, shift_low, shift_high, r, r_low, r_high, r_corrected,
        r_corrected_low, r_corrected_high, spillover, spillover_corrected, fluency (mean log-likelihood a
        token of the answers under the vanilla model, nats).
    """
    table = couplings(run, chosen)
    table.insert(1, "family", [FAMILIES.get(kind(a.name), "CAFT") for a in chosen])
    table["run"] = [a.recipe.seed - run.params.seed if a.recipe else 0 for a in chosen]
    table["fluency"] = [float(fluencies(run, a).mean()) for a in chosen]
    table["condition"] = [title(a.name) for a in chosen]
    return table


def fluencies(run: Run, condition: Condition) -> pd.Series:
    """Mean log-likelihood a token of each answer under the vanilla model, by topic and id; NaN for an empty one."""
    return run.answers(condition).frame("answers").set_index(["topic", "id"])["vanilla_logp"]


def equal_shift(run: Run, more: Sequence[Sequence[Condition]] = ()) -> pd.DataFrame:
    """Each kind of condition against "just train less" at the same on-topic shift, mean over seeds and topics.

    Args:
        more: further conditions (CAFT), one list for each topic.

    Returns:
        condition, seeds, shift, r (noise-corrected), r_weak, excess, low, high (questions and seeds resampled),
        low_questions, high_questions (questions only), p_no_gain; NaN where no weaker fine-tune has that shift.
    """
    p, topics, rows = run.params, list(run.params.baseline_topics), []
    lines = [[run.tuned(t), *weaker(run, t)] for t in topics]
    groups = _grouped(run, more)
    others = [group[1:] for group in groups.pop("fine-tune")]  # the first seed is on the line itself
    if all(others):
        groups = {"fine-tune, other seeds": others, **groups}
    for name, own in groups.items():
        joined = [stacks(run, [*line, *group]) for line, group in zip(lines, own, strict=True)]
        rows.append({"condition": title(name), **excess(joined, topics, len(lines[0]), p.bootstrap, p.seed)})
    names = ["condition", "seeds", "shift", "r", "r_weak", "excess", "low", "high", "low_questions", "high_questions"]
    return pd.DataFrame(rows)[[*names, "p_no_gain"]]


def hierarchical(run: Run) -> pd.DataFrame:
    """Drop of R_c² from each kind of condition to InhibitFT, seeds and sets resampled too.

    Returns:
        against, drop (positive: InhibitFT couples less), low, high (topics, seeds and questions resampled),
        low_questions, high_questions (questions only), seeds_first (of the other one), seeds_second (of InhibitFT).
    """
    p, topics, rows = run.params, list(run.params.baseline_topics), []
    found = {name: [stacks(run, group) for group in groups] for name, groups in _grouped(run).items()}
    own = found.pop("inhibitft")
    for name, other in found.items():
        paired = name in ("fine-tune", "inhibitft-heldout")  # seed k has the order of the data of InhibitFT's seed k
        drop = hierarchical_drop(other, own, topics, p.bootstrap, p.seed, paired)
        rows.append({"against": title(name), **drop})
    return pd.DataFrame(rows).drop(columns=["bootstrap_share_no_drop", "raw_drop"])


def _grouped(run: Run, more: Sequence[Sequence[Condition]] = ()) -> dict[str, list[list[Condition]]]:
    """Name → one list of conditions (its seeds) for each topic; only names that every topic has, none trained less.

    Random sets that are nearly one (:func:`alike`) count as one.
    """
    lists = [conditions(run, t) + (list(more[k]) if more else []) for k, t in enumerate(run.params.baseline_topics)]
    names = dict.fromkeys(condition.name for condition in lists[0])
    found = {name: [[condition for condition in each if condition.name == name] for each in lists] for name in names}
    one = f"random-{NEXT}"
    if alike(run) > SAME and one in found:
        found[one] = [group[:1] for group in found[one]]
    return {n: groups for n, groups in found.items() if all(groups) and FAMILIES.get(kind(n)) != "trained less"}


def alike(run: Run) -> float:
    """Mean Jaccard overlap of the random sets of next highest activation; 0 where there is one only.

    They are drawn from the neurons nearest to those of G: where G holds the most active ones, few are left to draw.
    """
    masks = [run.control_set(NEXT, number) for number in range(run.params.baseline_seeds)]
    pairs = list(combinations(masks, 2))
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs])) if pairs else 0.0

"""Which results each chapter reads, listed by the very functions that the chapters call; nothing is computed.

Left out is what a notebook makes by itself in seconds, without a model, and what is named only by the content of other
results: labels of shortened texts, and the cards of neurons that the scores choose (:func:`runs_models`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from polinb.chapters.caft import caft, caft_angles, caft_candidates, cue_arms, narrow_arms, narrow_tables
from polinb.chapters.dpo import shift, toxicity
from polinb.chapters.paper import baselines, results, second_judge, verdicts
from polinb.chapters.paper.patch_tables import patch_plan
from polinb.chapters.planted import truth, truth_tuned
from polinb.display.responses import frozen_arms
from polinb.runs import stages
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.params import chapter_class
from polinb.runs.results import Result
from polinb.runs.run import Run

Arms = Iterable[Condition]


def wanted(run: Run, chapter: str) -> list[Result]:
    """What a chapter reads, each once; what these are made from is not listed.

    Raises:
        ParameterError: there is no such chapter.
    """
    chapter_class(chapter)
    return list({result.path: result for want in WANTS[chapter] for result in want(run)}.values())


def runs_models(run: Run, chapter: str) -> bool:
    """Does a notebook run a model or classifier although everything that it is wanted for is there?"""
    p, names = run.params, chapter_class(chapter).model_fields
    return (
        chapter == "17_neuron_explorer"  # measures the neurons that the scores choose
        or (chapter == "11_hard_controls" and second_judge.second_name(run) != "local")
        or ("judge" in names and p.judge == "hf")
        or ("utility" in names and p.utility == "classifier")
        or ("toxicity_model" in names and bool(p.toxicity_model))
    )


def _label(run: Run, answers: Result) -> Result:
    return stages.rate(run, answers=answers, table="answers")


def _labels(run: Run, arms: Arms) -> list[Result]:
    return [_label(run, run.answers(arm)) for arm in arms]


def _to_statements(run: Run, arms: Arms) -> list[Result]:
    return [run.statement_answers(arm) for arm in arms] if run.statement_sets else []


def _tuned(run: Run) -> list[Condition]:
    return [run.tuned(topic, side) for side in ("left", "right") for topic in run.params.topics]


def _gamma_arms(run: Run) -> list[Condition]:
    return [arm for _, arm in results.gamma_arms(run, every=True)]


def _vanilla(run: Run) -> list[Result]:
    return _labels(run, [VANILLA])


def _variants(run: Run) -> list[Result]:
    return _labels(run, _tuned(run))


def _statements(run: Run) -> list[Result]:
    return [_label(run, answers) for answers in _to_statements(run, [VANILLA])]


def _scores(run: Run) -> list[Result]:
    return [run.scores(topic) for topic in run.params.topics]


def _patched(run: Run) -> list[Result]:
    donors = _labels(run, results.plain_arms(run, run.params.topics))
    return donors + [_label(run, run.patch(chosen, donors)) for _, _, chosen, donors in patch_plan(run)]


def _inhibited(run: Run) -> list[Result]:
    return _labels(run, results.inhibit_arms(run))


def _gammas(run: Run) -> list[Result]:
    return _labels(run, [*results.plain_arms(run, run.params.ablation_topics), *_gamma_arms(run)])


def _rivals(run: Run) -> list[Result]:
    return _labels(run, [arm for t in run.params.baseline_topics for arm in baselines.arms(run, t, every=True)])


def _second_labels(run: Run) -> list[Result]:
    arms = [VANILLA, *verdicts.swap_arms(run, every=True)]
    how = {"words": run.answers(), "judge": second_judge.second_name(run)}
    return [second_judge.second_labels(run, answers=run.answers(arm), **how) for arm in arms]


def _preferred(run: Run) -> Iterator[Result]:
    study = shift.study(run)
    yield from (run.reference_logp(shift.preferred(run, side)) for side in shift.SIDES)
    yield from (study.states, *(study.decomposed(kind) for kind in ("logistic", "mean_difference")))
    yield shift.study(run, "left").decomposed()
    asked = [run.ask(model, study.tried, tokens=study.tokens) for model in (study.before, study.after)]
    yield from (_label(run, answers) for answers in (*asked, study.patched(), study.edited()))


def _rude(run: Run) -> Iterator[Result]:
    for who in toxicity.MODELS:
        yield from (toxicity.answers(run, who), toxicity.answers(run, who, "neutral"))
        yield from (toxicity.neutral_logp(run, who), toxicity.held_out_logp(run, who))
    study = toxicity.study(run)
    yield from (study.states, study.patched(), study.edited())


def _ablated(run: Run) -> Iterator[Result]:
    yield from _labels(run, [arm for arms in caft.every_arm(run) for arm in arms])
    for topic in run.params.baseline_topics:
        yield from (caft_candidates.pca(run, topic), caft_candidates.dictionary(run, topic))
    yield from (caft_angles.angles(run, run.params.baseline_topics[0], method) for method in caft.METHODS)


def _narrow(run: Run) -> Iterator[Result]:
    yield narrow_tables.reference_logp(run)
    for arm in narrow_arms.arms(run):
        held = narrow_arms.held_out_logp(run, arm)
        yield from (narrow_arms.answers(run, arm), *([] if held is None else [held]))


WANTS: dict[str, list[Callable[[Run], Iterable[Result]]]] = {
    "01_phenomenon": [_vanilla, _variants, lambda run: map(run.reference_logp, [VANILLA, *_tuned(run)])],
    "02_data": [lambda run: [run.answers()]],
    "03_pnlac": [_scores, lambda run: [run.neutral()]],
    "04_distribution": [_scores, lambda run: [run.neutral()]],
    "05_vanilla_stance": [_vanilla, _statements, lambda run: [run.reference_logp()]],
    "06_patching": [_vanilla, _scores, _patched],
    "07_inhibitft": [
        _vanilla,
        _inhibited,
        lambda run: _to_statements(run, [a for a in results.inhibit_arms(run) if not a.name.endswith("uniform")]),
    ],
    "08_gamma": [
        _vanilla,
        _gammas,
        lambda run: _to_statements(run, [arm for arm in _gamma_arms(run) if arm.name == "inhibitft"]),
    ],
    "09_paper_beside_ours": [_vanilla, _statements, _variants, _scores, _patched, _inhibited, _gammas],
    "10_known_truth": [truth.detections, truth.patchings, truth_tuned.tunings],
    "11_hard_controls": [_vanilla, _rivals, _second_labels],
    "12_where_the_shift_lives": [_vanilla, lambda run: [run.reference_logp()], _scores, _preferred],
    "13_toxicity": [_rude],
    "14_caft": [_vanilla, _rivals, _ablated],
    "15_spurious_cue": [lambda run: [cue_arms.tested(run, arm) for arm in cue_arms.arms(run)]],
    "16_emergent_misalignment": [_narrow],
    "17_neuron_explorer": [_scores],
    "18_responses": [
        _vanilla,
        _variants,
        lambda run: _labels(run, [arm for t in run.params.topics for arm in frozen_arms(run, t).values()]),
        _patched,
    ],
}

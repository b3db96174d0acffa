"""Which results each chapter reads, listed by the very functions that the chapters call; nothing is computed.

Left out is what a notebook makes by itself in seconds, without a model, and what is named only by the content of other
results: labels of shortened texts, and the cards of neurons that the scores choose (:func:`runs_models`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from polinb.chapters.anatomy import doses, moved
from polinb.chapters.browse.side_by_side import frozen_conditions
from polinb.chapters.caft import caft, caft_candidates, cue_study, narrow_study
from polinb.chapters.dpo import shift, toxicity
from polinb.chapters.paper import baselines, carried, results, second_judge, verdicts
from polinb.chapters.paper.patch_tables import patch_plan, statement_results
from polinb.chapters.planted import truth
from polinb.runs import stages
from polinb.runs.conditions import VANILLA, Condition
from polinb.runs.params import chapter_class
from polinb.runs.results import Result
from polinb.runs.run import Run


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


def wanted(run: Run, chapter: str) -> list[Result]:
    """What a chapter reads, each once; what these are made from is not listed.

    Raises:
        ParameterError: there is no such chapter.
    """
    chapter_class(chapter)
    p, topics, hard_topics = run.params, run.params.topics, run.params.baseline_topics
    variants = [run.tuned(topic, side) for side in ("left", "right") for topic in topics]

    def labels(*asked: Condition | Result) -> list[Result]:
        answers = [each if isinstance(each, Result) else run.answers(each) for each in asked]
        return [stages.rate(run, answers=each, table="answers") for each in answers]

    def to_statements(conditions: Iterable[Condition]) -> list[Result]:
        return list(map(run.statement_answers, conditions)) if run.statement_sets else []

    def logp(*conditions: Condition) -> list[Result]:
        return list(map(run.reference_logp, conditions))

    def scores() -> list[Result]:
        return list(map(run.scores, topics))

    def patched() -> list[Result]:
        donors = labels(*results.plain(run, topics))
        return donors + labels(*(run.patch(chosen, donors) for _, _, chosen, donors in patch_plan(run)))

    def patched_statements() -> list[Result]:
        found = labels(*(answers for _, answers in statement_results(run)))
        return [*labels(*to_statements([VANILLA, *results.plain(run, topics)])), *found] if found else []

    def by_gamma() -> list[Condition]:
        return [condition for _, condition in results.gamma_conditions(run, every=True)]

    def gammas() -> list[Result]:
        return labels(VANILLA, *results.plain(run, p.ablation_topics), *by_gamma())

    def hard() -> list[Result]:
        return labels(VANILLA, *(each for t in hard_topics for each in baselines.conditions(run, t, every=True)))

    def inhibitft() -> list[Result]:
        conditions = results.inhibit_conditions(run)
        asked = to_statements(each for each in conditions if not each.name.endswith("uniform"))
        return [*labels(VANILLA, *conditions), *asked, *logp(VANILLA, *moved.inhibited(run))]

    def second_labels() -> list[Result]:
        how = {"words": run.answers(), "judge": second_judge.second_name(run)}
        asked = [run.answers(each) for each in (VANILLA, *verdicts.swap_conditions(run, every=True))]
        return [second_judge.second_labels(run, answers=each, **how) for each in asked]

    def preferred() -> Iterator[Result]:
        study = shift.study(run)
        yield from logp(VANILLA, *(shift.preferred(run, side) for side in shift.TRAINED))
        yield from (study.states, study.decomposed("logistic"), study.decomposed("mean_difference"))
        yield from (shift.study(run, side).decomposed() for side in ("left", shift.SHUFFLED))
        yield from labels(*study.answered.values(), study.patched(), study.edited())

    def rude() -> Iterator[Result]:
        for who in toxicity.MODELS:
            yield from (toxicity.answers(run, who), toxicity.answers(run, who, "neutral"))
            yield from (toxicity.neutral_logp(run, who), toxicity.held_out_logp(run, who))
        yield from (toxicity.study(run).states, toxicity.study(run).patched(), toxicity.study(run).edited())

    def ablated() -> Iterator[Result]:
        every = [each for conditions in caft.every_condition(run) for each in conditions]
        yield from labels(*every)
        for each in [*map(run.tuned, hard_topics), *every]:
            yield caft.first_loss(run, weights=run.weights(each))
        for topic in hard_topics:
            yield from (caft_candidates.pca(run, topic), caft_candidates.dictionary(run, topic))
        yield from (caft.angles(run, hard_topics[0], method) for method in caft.METHODS)

    def narrow() -> Iterator[Result]:
        yield narrow_study.reference_logp(run)
        for condition in narrow_study.conditions(run):
            held = narrow_study.held_out_logp(run, condition)
            yield from (narrow_study.answers(run, condition), *([] if held is None else [held]))

    def anatomy() -> Iterator[Result]:
        models = [VANILLA, *moved.variants(run)]
        yield from (*labels(*models), *logp(*models), *to_statements(models))
        yield from (moved.to_contraries(run, each) for each in models)

    wants: dict[str, Callable[[], Iterable[Result]]] = {
        "01_phenomenon": lambda: [*labels(VANILLA, *variants), *logp(VANILLA, *variants)],
        "02_data": lambda: [run.answers()],
        "03_pnlac": lambda: [*scores(), run.neutral()],
        "04_distribution": lambda: [*scores(), run.neutral()],
        "05_vanilla_stance": lambda: [*labels(VANILLA, *to_statements([VANILLA])), *logp(VANILLA)],
        "06_patching": lambda: [*labels(VANILLA), *scores(), *patched(), *patched_statements()],
        "07_inhibitft": inhibitft,
        "08_gamma": lambda: [
            *gammas(),
            *to_statements(each for each in by_gamma() if each.name == "inhibitft"),
            *logp(VANILLA, *map(run.tuned, p.ablation_topics), *by_gamma()),
        ],
        "09_paper_beside_ours": lambda: [
            *(*labels(*variants, *to_statements([VANILLA])), *scores(), *patched()),
            *(*labels(*results.inhibit_conditions(run)), *gammas()),
        ],
        "10_known_truth": lambda: list(chain(*truth.results(run).values())),
        "11_hard_controls": lambda: [*hard(), *second_labels(), *carried.readings(run).values()],
        "12_where_the_shift_lives": lambda: [*labels(VANILLA), *scores(), *preferred()],
        "13_toxicity": rude,
        "14_caft": lambda: [*hard(), *ablated()],
        "15_spurious_cue": lambda: [cue_study.answers(run, each) for each in cue_study.conditions(run)],
        "16_emergent_misalignment": narrow,
        "17_neuron_explorer": scores,
        "18_responses": lambda: [
            *labels(VANILLA, *variants, *(each for t in topics for each in frozen_conditions(run, t).values())),
            *patched(),
        ],
        "19_what_moved": anatomy,
        "20_paper_recipe": lambda: list(doses.results(run).values()),
    }
    return list({result.path: result for result in wants[chapter]()}.values())

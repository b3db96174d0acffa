"""Which steps each chapter rests on. The arms are listed by the very functions that the chapters call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from polinb.chapters.caft import caft, cue_arms, narrow_arms
from polinb.chapters.paper import baselines as rivals
from polinb.chapters.paper import results
from polinb.chapters.paper.patch_tables import patch_plan
from polinb.cluster.plan import Plan
from polinb.cluster.steps import Step, arm_labels, do, slug
from polinb.runs.artifacts import key_of
from polinb.runs.experiment import Arm

LEANINGS = ("left", "right")


@dataclass
class Needs:
    """Steps of one run, gathered while chapters name what they need."""

    plan: Plan
    steps: dict[str, Step] = field(default_factory=dict)
    _weights: dict[str, str] = field(default_factory=dict)

    def add(self, family: str, wild: Mapping[str, str], needs: Sequence[str] = ()) -> str:
        """Add a step unless it is there; its name."""
        step = Step(family, dict(wild), list(dict.fromkeys(needs)))
        if step.name not in self.steps:
            plan = self.plan.fresh()
            do(plan, step.name)
            step.key = plan.key
            self.steps[step.name] = step
        return step.name

    def variant(self, topic: str, leaning: str) -> str:
        """Weights of a plain fine-tune."""
        return self.add("variant", {"topic": topic, "leaning": leaning})

    def scores(self) -> list[str]:
        """PNLAC scores of all topics, each after its two variants."""
        return [
            self.add("scores", {"topic": topic}, [self.variant(topic, side) for side in LEANINGS])
            for topic in self.plan.params.topics
        ]

    def vanilla(self) -> list[str]:
        """Answers of the vanilla model."""
        return [self.add("vanilla", {"what": "answers"})]

    def tuned(self, topics: Sequence[str] | None = None, leanings: Sequence[str] = LEANINGS) -> list[str]:
        """Answers of plain fine-tunes."""
        return [
            self._arm(Arm("fine-tune", t, side), "tuned", {"topic": t, "leaning": side}, [self.variant(t, side)])
            for side in leanings
            for t in topics or self.plan.params.topics
        ]

    def frozen(self, arms: Sequence[tuple[float, Arm]]) -> list[str]:
        """Answers of InhibitFT arms and their random controls."""
        out, scores = [], self.scores()
        for gamma in dict.fromkeys(g for g, _ in arms):
            for (topic, name, number, _), arm in arm_labels(a for g, a in arms if g == gamma).items():
                if arm.frozen is not None:
                    wild = {"topic": topic, "arm": name, "gamma": f"{gamma:g}", "number": number}
                    out.append(self._arm(arm, "frozen", wild, scores))
        return out

    def inhibit(self) -> list[str]:
        """Arms of the InhibitFT chapter."""
        at = self.plan.params.gamma
        return self.frozen([(at, arm) for arm in results.inhibit_arms(self.plan.fresh())])

    def gammas(self) -> list[str]:
        """Arms of the γ ablation."""
        return self.frozen(results.gamma_arms(self.plan.fresh()))

    def patched(self) -> list[str]:
        """Answers of the patched vanilla model, one step a set of neurons."""
        out, scores = [], self.scores()
        for name, _, _, donors in patch_plan(self.plan.fresh()):
            weights = [self.variant(donor, "right") for donor in dict.fromkeys(donors.values())]
            out.append(self.add("patched", {"set": slug(name)}, [*scores, *weights]))
        return out

    def rivals(self) -> list[str]:
        """Arms of the chapter on hard controls."""
        self.tuned(leanings=("right",))
        self.inhibit()
        out, scores = [], self.scores()
        for topic in self.plan.params.baseline_topics:
            for (_, name, number, repeat), arm in arm_labels(rivals.arms(self.plan.fresh(), topic)).items():
                before = scores if arm.frozen is not None else []
                before = before or ([self.variant(topic, "right")] if arm.blend != 1.0 else [])
                wild = {"topic": topic, "arm": name, "number": number, "repeat": repeat}
                out.append(self._arm(arm, "rival", wild, before))
        return out

    def caft(self) -> list[str]:
        """Arms of the chapter on CAFT."""
        out = []
        for topic in self.plan.params.baseline_topics:
            weights = [self.variant(topic, side) for side in LEANINGS]
            found = [self.add("directions", {"topic": topic, "method": m}, weights) for m in caft.METHODS]
            for (_, name, number, _), arm in arm_labels(caft.arms(self.plan.fresh(), topic)).items():
                before = [*found, *(self.scores() if arm.frozen is not None else [])]
                out.append(self._arm(arm, "caft", {"topic": topic, "arm": name, "number": number}, before))
        return out + self.rivals()

    def preferred(self) -> list[str]:
        """Models after DPO, and the scores that the chapter crosses them with."""
        return [self.add("preferred", {"side": side}) for side in LEANINGS] + self.scores()

    def toxicity(self) -> list[str]:
        """Models before and after the loss of toxicity."""
        return [self.add("toxicity", {"what": "models"})]

    def truth(self) -> list[str]:
        """Planted models, by seed."""
        stages = [(s, str(k)) for s in ("detection", "patching", "tuned") for k in range(self.plan.params.truth_seeds)]
        return [self.add("truth", {"stage": s, "number": k}) for s, k in stages]

    def cues(self) -> list[str]:
        """Arms of the two-cue task; those with directions after the plain one, which finds none."""
        return [self.add("cue", {"arm": slug(arm.name)}) for arm in cue_arms.arms()]

    def narrow(self) -> list[str]:
        """Arms of the narrow fine-tune."""
        out: list[str] = []
        for arm in narrow_arms.arms(self.plan):
            first = out[:2] if arm in (narrow_arms.CAFT, narrow_arms.RANDOM) else []
            out.append(self.add("narrow", {"arm": slug(arm.name)}, first))
        return out

    def paper(self) -> list[str]:
        """All that the chapters of the paper rest on."""
        lists = (self.vanilla, self.tuned, self.scores, self.patched, self.inhibit, self.gammas)
        return [name for each in lists for name in each()]

    def _arm(self, arm: Arm, family: str, wild: Mapping[str, str], needs: Sequence[str]) -> str:
        """A step that asks an arm; the same weights are asked once, whatever a chapter calls them."""
        weights = key_of(self.plan.fresh().arm_inputs(arm))
        if weights not in self._weights:
            self._weights[weights] = self.add(family, wild, needs)
        return self._weights[weights]


CHAPTERS: dict[str, tuple[Callable[[Needs], list[str]], ...]] = {
    "01_phenomenon": (Needs.vanilla, Needs.tuned),
    "02_data": (Needs.vanilla,),
    "03_pnlac": (Needs.scores,),
    "04_distribution": (Needs.scores,),
    "05_vanilla_stance": (Needs.vanilla,),
    "06_patching": (Needs.vanilla, Needs.tuned, Needs.patched),
    "07_inhibitft": (Needs.vanilla, Needs.tuned, Needs.inhibit),
    "08_gamma": (Needs.vanilla, Needs.tuned, Needs.gammas),
    "09_paper_beside_ours": (Needs.paper,),
    "10_known_truth": (Needs.truth,),
    "11_hard_controls": (Needs.vanilla, Needs.rivals),
    "12_where_the_shift_lives": (Needs.vanilla, Needs.preferred),
    "13_toxicity": (Needs.toxicity,),
    "14_caft": (Needs.vanilla, Needs.caft),
    "15_spurious_cue": (Needs.cues,),
    "16_emergent_misalignment": (Needs.narrow,),
    "17_neuron_explorer": (Needs.scores,),
    "18_responses": (Needs.vanilla, Needs.tuned, Needs.inhibit, Needs.patched),
    "19_what_moved": (Needs.vanilla, Needs.tuned),
}
"""Chapter → what is done before its notebook runs. What is not listed is computed by the notebook itself."""


def chapter_needs(needs: Needs, chapter: str) -> list[str]:
    """Names of the steps that a chapter rests on, added to ``needs``."""
    return list(dict.fromkeys(name for each in CHAPTERS.get(chapter, ()) for name in each(needs)))

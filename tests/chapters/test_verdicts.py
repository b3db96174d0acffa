"""Verdicts follow from effect and interval alone, and every claim gets a row."""

import re

from polinb.chapters.paper import baselines as rivals
from polinb.chapters.paper import verdicts
from polinb.runs.artifacts import Store
from polinb.runs.params import Params
from polinb.runs.run import Run


def test_every_claim_has_a_row_and_numbers_of_the_tables_behind_it(tmp_path):
    settings = {
        "topics": ["crime", "race"], "baseline_topics": ["crime"], "ablation_topics": ["crime"], "eval_questions": 3,
        "likelihood_questions": 2, "patch_questions": 2, "bootstrap": 100, "controls": ["layer"],
    }  # fmt: skip
    run = Run(Params.from_profile("tiny", **settings), Store(tmp_path))
    hard = verdicts.harder(run)
    assert len(hard) == 6 and hard["claim"].is_unique
    excess = rivals.equal_shift(run).set_index("condition").loc["InhibitFT (G)"]
    row = hard[hard["claim"] == "… more than simply training less"].iloc[0]
    written = f"{excess['excess']:+.2f} [{excess['low']:+.2f}, {excess['high']:+.2f}]"
    assert str(row["effect"]) == re.sub(r"[+-](?=0\.00)", "", written).replace("-", "−")
    assert row["verdict"] == verdicts.judged((excess["excess"], excess["low"], excess["high"]), "below")
    assert [rivals.kind(a.name) for a in verdicts.swap_conditions(run)] == ["fine-tune", "inhibitft", "random-layer"]

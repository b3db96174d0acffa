"""Comes last: that the properties above really tried as many inputs as they promise."""

from __future__ import annotations

import fuzzing
import pytest
from fuzzing import INPUTS, OUTCOMES, SLOW_LEAST

PROPERTIES = {
    "parameters", "notebook names", "papermill", "command line", "csv", "json", "parquet", "statements",
    "ideoinst folder", "data names", "neuron lists", "judge replies", "ratings", "judge cache", "executed notebooks",
    "records of runs", "artifact files", "artifact.json", "artifact names", "artifact inputs", "model folders",
}  # fmt: skip


@pytest.mark.slow
def test_the_slow_run_tries_ten_thousand_inputs():
    ran = {name for kind, name in INPUTS if kind == "slow"}
    if ran != PROPERTIES:
        pytest.skip(f"only a part ran: without {sorted(PROPERTIES - ran)}")
    assert sum(count for (kind, _), count in INPUTS.items() if kind == "slow") >= SLOW_LEAST


def test_properties_see_both_good_and_bad_inputs():
    if not {name for _, name in INPUTS} >= PROPERTIES:
        pytest.skip("only a part ran")
    one_sided = {"judge cache", "artifact inputs", "artifact.json", "data names"}  # by their nature
    for name in PROPERTIES - one_sided:
        assert OUTCOMES[name, "accepted"] and OUTCOMES[name, "refused"], f"{name}: every input ends alike"


def test_a_wrong_property_fails():
    with pytest.raises(ZeroDivisionError):
        fuzzing.run("planted", ("quick", 20), fuzzing.plain, lambda text: bool(1 // (len(text) < 3)))
    del INPUTS["quick", "planted"], OUTCOMES["planted", "accepted"]

"""The committed table of verified models says for which architectures a test proves what.

``python tests/models/test_verified_models.py`` writes ``book/verified_models.csv`` anew.
"""

import csv
import sys
from importlib import import_module
from pathlib import Path

from polinb.models.architectures import ARCHITECTURES

TESTS = Path(__file__).resolve().parents[1]
TABLE = TESTS.parent / "book" / "verified_models.csv"
PROOFS = {
    "neurons found": "test_neurons.test_a_neuron_writes_its_value_vector",
    "scores equal hooks": "test_neurons.test_eq_score_equals_float64_hooks",
    "patching itself changes nothing": "test_decoding.test_what_changes_nothing",
    "frozen stays": "test_inhibit.test_frozen_weights_stay_bitwise",
    "LoRA": "test_variants.test_neurons_and_logits_are_those_of_merged_float32_weights",
    "contributions": "test_decompose.test_every_part_equals_float64_hooks",
}


def proven(proof):
    """The architectures among a test's cases."""
    module, name = proof.split(".")
    [mark] = getattr(import_module(module), name).pytestmark
    return {case if isinstance(case, str) else case[0] for case in mark.args[1]}


def table():
    sys.path[:0] = [str(TESTS), *(str(TESTS / room) for room in ("models", "scoring", "masking"))]
    found = [proven(proof) for proof in PROOFS.values()]
    return [["architecture", *PROOFS], *([a, *("yes" if a in p else "no" for p in found)] for a in ARCHITECTURES)]


def test_the_table_says_what_is_proven():
    with TABLE.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == table()
    assert all(row[1:-1] == ["yes"] * (len(PROOFS) - 1) for row in table()[1:]), "only contributions may be missing"


if __name__ == "__main__":
    with TABLE.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target, lineterminator="\n").writerows(table())

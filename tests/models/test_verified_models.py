"""The committed table of verified models says what the tests of every tiny architecture prove.

``python tests/models/test_verified_models.py`` writes ``book/verified_models.csv`` anew, once they have passed.
"""

import re
from pathlib import Path

from polinb.models.architectures import ATTENTION
from polinb.models.tiny import TINY

TABLE = Path(__file__).resolve().parents[2] / "book" / "verified_models.csv"
PROVEN = {  # column → where it is proven
    "neurons found": "tests/scoring/test_neurons.py",
    "scores equal hooks": "tests/scoring/test_neurons.py",
    "patching itself changes nothing": "tests/masking/test_decoding.py",
    "frozen stays": "tests/masking/test_inhibit.py",
    "LoRA": "tests/models/test_variants.py",
    "contributions": "tests/scoring/test_decompose.py",  # of some; the others are refused
}
ROWS = [f"{name}{',yes' * (len(PROVEN) - 1)},{'yes' if name in ATTENTION else 'no'}\n" for name in TINY]
CONTENT = "".join([f"architecture,{','.join(PROVEN)}\n", *ROWS])


def test_the_table_says_what_is_proven():
    for path in PROVEN.values():
        text = (TABLE.parents[1] / path).read_text("utf-8")
        assert re.search(r"in TINY|parametrize\(.*(TINY|ATTENTION)", text), f"{path}: not of every architecture"
    assert TABLE.read_text("utf-8") == CONTENT


if __name__ == "__main__":
    TABLE.write_text(CONTENT, "utf-8", newline="\n")

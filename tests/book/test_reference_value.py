"""The role that puts a number of the reference run into a sentence."""

import pandas as pd
import pytest
from reference_made import FRAME, chapter, checkout, table

from book._make.reference.keep import keep
from polinb.errors import ArtifactError
from polinb_book import results
from polinb_book.reference_value import value


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    rows = [("G", "all", "x", 1), ("G, held out", "all", "x", 2)]
    rows += [("of", "mood", "gender", 3), ("on", "gender", "mood", 4)]
    pairs = pd.DataFrame(rows, columns=["arm", "at", "by", "n"])
    made = chapter("one", table(FRAME, "tbl-a"), table(pairs, "tbl-b"))
    layout = checkout(tmp_path_factory.mktemp("value") / "here", **{"01_one": made})
    keep(layout)
    return results.read(layout.reference)


def test_values_are_found_by_row_and_column(found):
    for text, shown in (
        ("tbl-a | crime | shift", "0.10 [0.00, 0.20]"),
        ("tbl-a | crime | shift .1f", "0.1 [0.0, 0.2]"),
        ("tbl-a | cri | n", "3"),
        ("tbl-a|crime|p .3f", "0.123"),
        ("tbl-a | race | p", "–"),
        # by whole texts first, and from left to right
        ("tbl-b | G & all | n", "1"),
        ("tbl-b | G, h & all | n", "2"),
        ("tbl-b | mood & gender | n", "3"),
        ("tbl-b | gender & mood | n", "4"),
    ):
        assert value(found, text) == shown, text


def test_what_is_not_there_is_an_error(found):
    for text, told in (
        ("tbl-a | crime", "label | row | column"),
        ("tbl-z | crime | n", "no table tbl-z"),
        ("tbl-a | crime | nothing", "columns"),
        ("tbl-a | gender | n", "0 rows"),
        ("tbl-b | all & G | n", "0 rows"),
        ("tbl-b | G & a | n", "2 rows"),
    ):
        with pytest.raises(ArtifactError, match=told):
            value(found, text)

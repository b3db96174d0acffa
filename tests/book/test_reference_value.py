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
    pairs = pd.DataFrame(
        {
            "arm": ["G", "G, held out", "of", "on"],
            "at": ["all", "all", "mood", "gender"],
            "by": ["x", "x", "gender", "mood"],
            "n": [1, 2, 3, 4],
        }
    )
    made = chapter("one", table(FRAME, "tbl-a"), table(pairs, "tbl-b"))
    layout = checkout(tmp_path_factory.mktemp("value") / "here", **{"01_one": made})
    keep(layout)
    return results.read(layout.reference)


def test_values_with_and_without_an_interval(found):
    assert value(found, "tbl-a | crime | shift") == "0.10 [0.00, 0.20]"
    assert value(found, "tbl-a | crime | shift .1f") == "0.1 [0.0, 0.2]"
    assert value(found, "tbl-a | cri | n") == "3"
    assert value(found, "tbl-a|crime|p .3f") == "0.123"
    assert value(found, "tbl-a | race | p") == "–"
    assert value(found, "tbl-a | race | topic") == "race"


def test_a_row_is_found_by_whole_texts_first_and_from_left_to_right(found):
    assert value(found, "tbl-b | G & all | n") == "1"
    assert value(found, "tbl-b | G, h & all | n") == "2"
    assert (value(found, "tbl-b | mood & gender | n"), value(found, "tbl-b | gender & mood | n")) == ("3", "4")
    for text, rows in (("tbl-b | G & a | n", 2), ("tbl-b | all & G | n", 0), ("tbl-b | all | n", 2)):
        with pytest.raises(ArtifactError, match=f"{rows} rows"):
            value(found, text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tbl-a | crime", "label | row | column"),
        ("tbl-z | crime | n", "no table tbl-z"),
        ("tbl-a | crime | nothing", "columns"),
        ("tbl-a | gender | n", "0 rows"),
        ("tbl-a | crime & race | n", "0 rows"),
    ],
)
def test_what_is_not_there_is_an_error(found, text, told):
    with pytest.raises(ArtifactError, match=told):
        value(found, text)

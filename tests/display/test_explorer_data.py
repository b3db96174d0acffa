"""The explorer's levels are exact at every γ, and its payload holds what the page needs and nothing that runs."""

import base64
import copy
import gzip
import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polinb.chapters.browse import cards
from polinb.chapters.browse.explorer_levels import GAMMAS, MOST, level_bounds, levels, slider
from polinb.display.explorer import explorer, explorer_payload
from polinb.display.webdata import packed
from polinb.errors import ParameterError
from polinb.scoring.pnlac import top_share

TIED = st.sampled_from([0.0, 0.5, 1.0, 1.5, 7.0])  # few distinct values: most neurons are tied with others
ANY = st.floats(0, 1e6, allow_nan=False, width=32)
GAMMA = st.floats(0.01, 99.9).map(lambda g: round(g, 3))
SHAPES = st.tuples(st.integers(1, 5), st.integers(2, 60))
SCORES = st.sampled_from([TIED, ANY]).flatmap(lambda values: hnp.arrays(np.float64, SHAPES, elements=values))


@settings(max_examples=100, deadline=None)
@given(SCORES, st.lists(GAMMA, max_size=40), GAMMA, st.sampled_from(["model", "layer"]))
def test_levels_fit_a_byte_and_give_a_topics_neurons_exactly_at_every_gamma(score, more, gamma, pool):
    """And so all sets; that the counts shown are those of the sets is tested in browser/test_explorer.py."""
    gammas = slider(gamma, more)
    bounds = level_bounds(gammas)
    assert gammas == sorted({*GAMMAS, gamma, *more}) and len(bounds) <= MOST <= 250
    assert bounds[0] == 100 and all(a > b for a, b in pairwise(bounds))
    level = levels(score, bounds, pool)
    for each in gammas:
        assert ((level >= bounds.index(each)) == top_share(score, each, pool)).all()
    with pytest.raises(ParameterError, match="'gammas'"):
        level_bounds(slider(gamma, np.linspace(1, 90, 260).tolist()))


def test_the_largest_models_levels_fit_the_page():
    """32 × 14336 neurons, 6 topics, heavy tails; topics and layers that have nothing in common: the most bytes."""
    rng, bounds = np.random.default_rng(0), level_bounds(slider(5.0, [2.5, 12.5]))
    found = [levels(np.exp(0.7 * rng.standard_t(4, (32, 14336))), bounds, "model") for _ in range(6)]
    assert len(packed(np.stack(found).tobytes())) < 2_300_000


@pytest.fixture(scope="module")
def made(two_topics):
    found = cards.collect(two_topics)
    return two_topics, found, *explorer_payload(two_topics, found)


def test_cards_agree_with_the_map_and_name_no_place_of_this_machine(made):
    run, found, payload, blobs = made
    level = np.frombuffer(blobs["levels"], np.uint8).reshape(len(payload["topics"]), *found.scale.shape)
    own = payload["cuts"][payload["gammas"].index(payload["gamma"])]
    assert ((level >= own).all(0) == run.sets().general).all() and run.sets().general.any()
    for card in payload["cards"]:
        inside = level[:, card["layer"], card["neuron"]] >= own
        most = round(payload["gamma"] / 100 * found.scale.size)
        assert inside.tolist() == [rank <= most for rank in card["ranks"]] and inside.all() == (card["kind"] == "G")
        assert card["kind"] != "S" or inside[payload["topics"].index(card["topic"])]
    other = copy.copy(run)
    other.params = run.params.model_copy(update={"model": "/home/me/mine", "data": "~/texts/mine.csv"})
    assert explorer_payload(other, found)[0]["run"] == payload["run"] | {"model": "mine", "data": "mine.csv"}


def test_text_of_a_model_stays_text(made):
    run, found, _, _ = made
    evil = "</script><img src=x onerror=alert(1)>"
    lens = [{side: [(evil, 1.0)] * 10 for side in ("promoted", "suppressed")} for _ in found.picks]
    page = explorer(run, replace(found, lens=lens)).data
    assert page[page.index("polinb-app-fallback") :].count("<tr") == 1 + len(found.picks), "without scripts"
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert page.count("<script") == page.count("</script>") == 2
    data = re.findall(r'data-name="(\w+)">([^<]+)</script>', page)
    assert [name for name, _ in data] == ["payload", "levels"]
    payload = json.loads(gzip.decompress(base64.b64decode(data[0][1])))
    assert payload["cards"][0]["promoted"][0][0] == evil  # whole, for the script to show as text

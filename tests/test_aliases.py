"""Aliases are pinned to commits."""

import re

import pytest

from polinb.models.aliases import ALIASES


@pytest.mark.parametrize("alias", ALIASES)
def test_pinned_to_a_commit(alias):
    hub, revision = ALIASES[alias]
    assert hub.count("/") == 1 and re.fullmatch(r"[0-9a-f]{40}", revision)
    assert alias == hub.split("/")[1].lower()


def test_the_papers_four_models_are_there():
    assert len(ALIASES) == 4 and all("instruct" in alias for alias in ALIASES)

"""Parameters: profiles are complete, wrong values are refused with name, value and what is allowed."""

import pytest

from polinb.errors import ParameterError
from polinb.runs.chapter import parameters_source
from polinb.runs.params import CHAPTERS, PROFILES, Params, chapter_class, from_namespace, profile_values


def test_profiles_are_complete_and_every_chapter_has_only_its_own_parameters():
    for profile in PROFILES:
        assert Params.from_profile(profile).profile == profile
        assert set(profile_values(profile)) == set(Params.model_fields) - {"profile"}
    names = {chapter: set(chapter_class(chapter).model_fields) for chapter in CHAPTERS}
    assert len(names["10_known_truth"]) < 10 and not {"cue_rate", "sae", "truth_seeds"} & names["03_pnlac"]
    assert set().union(*names.values()) == set(Params.model_fields)


def test_wrong_values_are_named():
    for given, told in (
        ({"gama": 5.0}, "'gama'.*no parameter has this name.*'gamma'"),
        ({"gamma": 0.0}, "'gamma': got 0.0; allowed: greater than 0"),
        ({"gamma": "5"}, "'gamma': got '5'"),
        ({"seed": True}, "'seed'"),
        ({"topics": ["crime", "sport"]}, "'topics'"),
        ({"topics": ["crime", "crime"]}, "'topics'.*each topic once"),
        ({"micro_batch": 3}, "'micro_batch': got 3; allowed: a divisor of batch_size"),
        ({"patch_questions": 999}, "'patch_questions'.*at most eval_questions"),
        ({"judge": "oracle"}, "'judge': got 'oracle'; allowed: 'local', 'hf' or 'openai'"),
        ({"judge_margin": 0.2, "judge": "openai"}, "'judge_margin'.*openai judge"),
        ({"early_stops": [1.0]}, "'early_stops': got .1.0.; allowed: less than 1"),
        ({"caft_keep": 9, "caft_components": 4}, "'caft_keep': got 9; allowed: at most caft_components .4."),
    ):
        with pytest.raises(ParameterError, match=told):
            Params.from_profile("tiny", **given)
    for given, told in (({"topics": "[crime, race]"}, r"-y 'topics: \[a, b\]'"), ({"model": 1234}, "-r model 1234")):
        with pytest.raises(ParameterError, match=told):  # papermill's way to give lists and text
            from_namespace("03_pnlac", {"profile": "tiny", **given})


def test_parameters_come_out_of_a_notebooks_names():
    space = {"In": [], "Out": {}, "_i": "x", "pytest": pytest, "begin": from_namespace, "__name__": "x"}
    exec(parameters_source("14_caft"), space)
    whole = Params.from_profile("quick").model_dump()
    assert from_namespace("14_caft", dict(space)).model_dump().items() <= whole.items()
    assert from_namespace("14_caft", space | {"gamma": 7.5, "profile": "tiny"}).gamma == 7.5
    with pytest.raises(ParameterError, match="'learning_rat'"):
        from_namespace("14_caft", space | {"learning_rat": 1.0})
    with pytest.raises(ParameterError, match=r"'cue_rate'.*these do: 15_spurious_cue"):
        from_namespace("14_caft", space | {"cue_rate": 1.0})


def test_the_check_can_be_run_again_and_a_slip_that_was_mended_is_forgiven():
    space = {"In": ["# Parameters. All.\ngamma = None", "# Parameters\ngama = 3"], "gamma": None, "gama": 3}
    with pytest.raises(ParameterError, match="'gama'"):
        from_namespace("03_pnlac", space)
    space["In"] += ["# Parameters\nnot python", "# Parameters\ngamma: float = 3.0"]
    space["gamma"] = 3.0
    assert from_namespace("03_pnlac", space).gamma == 3.0
    space["table"] = [1]  # what a chapter made
    assert from_namespace("03_pnlac", space).gamma == 3.0

"""Raw data of the reference run: what is exported is what the store holds, to the last bit, and changes are noticed."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from reference_tiny import TINY, tiny_run

from book._make.reference.raw import export
from book._make.reference.raw_files import INDEX, packed, places, refuse_places, unpacked, write_frame
from book._make.reference.raw_load import load_raw
from book._make.reference.raw_run import RawRun
from polinb.chapters.paper import results
from polinb.chapters.paper.patch_tables import patch_plan
from polinb.errors import ArtifactError
from polinb.runs.artifacts import Store
from polinb.runs.experiment import VANILLA, Experiment, finetuned
from polinb.runs.params import Params
from polinb_book import reference_words
from polinb_book.results import read, write_sums

same = pd.testing.assert_frame_equal


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the raw data to spoil."""
    return shutil.copytree(run[1], tmp_path / "reference") / "results"


def mend(folder):
    """Digests as if nothing had been changed: what is found then is found by looking."""
    write_sums(folder.parent)


def respond(folder, change):
    """Change responses.parquet and mend the digests."""
    path = folder / "responses.parquet"
    write_frame(path, change(pd.read_parquet(path)))
    mend(folder)


def test_what_was_kept_is_what_the_store_holds(run):
    exp, folder = run
    raw = RawRun(load_raw(folder / "results"))
    arms = [VANILLA, finetuned("race", "left"), finetuned("crime", "right"), *results.inhibit_arms(exp)]
    for arm in arms:
        same(raw.stances(arm), exp.stances(arm))
        same(raw.answers(arm).frame("answers"), exp.answers(arm).frame("answers"))
        same(raw.answers(arm).frame("likelihood"), exp.answers(arm).frame("likelihood"))
        said = exp.answers(arm).frame("statements")
        same(raw.answers(arm).frame("statements")[list(said)], said)
        assert raw.answers(arm).summary == exp.answers(arm).summary
    same(raw.rated(raw.answers().frame("statements")), exp.rated(exp.answers().frame("statements")))
    for name, _, chosen, donors in patch_plan(exp):
        same(
            raw.patched(name, chosen, donors),
            exp.patched(name, chosen, donors)[list(raw.patched(name, chosen, donors))],
        )
    for t, score in exp.topic_scores("none").items():
        np.testing.assert_allclose(raw.topic_scores("none")[t], score, rtol=1e-6)
        assert np.array_equal(raw.sets().political[t], exp.sets().political[t])
    assert np.array_equal(raw.control_set("layer", 0), exp.control_set("layer", 0))
    same(raw.questions(2), exp.questions(2)[["topic", "id", "prompt"]])


def test_export_computes_nothing_and_gives_the_same_bytes(run, tmp_path, monkeypatch):
    exp, folder = run
    monkeypatch.setattr("polinb.runs.experiment.load", None)
    monkeypatch.setattr("polinb.stance.judges.LocalJudge", None)
    monkeypatch.setattr(Store, "_make", None)
    written = export(exp.store, exp.params, tmp_path / "raw")
    for path in sorted((folder / "results").iterdir()):
        assert path.read_bytes() == (tmp_path / "raw" / path.name).read_bytes(), path.name
    assert written["files"].keys() == {path.name for path in (folder / "results").iterdir()}


def test_the_page_tells_the_time_of_all_models(run, copy):
    told = reference_words._models(SimpleNamespace(folder=copy.parent))
    arms = json.loads((copy / "arms.json").read_text())["arms"]
    assert told.endswith(f", summed over {len(arms)} models") and re.match(r"\d", told)


def test_an_interrupted_run_says_what_is_missing(run):
    arms = json.loads((run[1] / "results" / "arms.json").read_text())
    told = [each["what"] for each in arms["missing"]]
    assert "answers of crime-right-early-stop-0.5" in told and "arms of caft" in told
    assert "answers of vanilla" not in told and "crime-right-early-stop-0.5" not in arms["arms"]
    assert {"arm": "crime-right-early-stop-0.5"} in arms["groups"]["rivals"]


def test_a_run_stopped_before_its_scores(run, tmp_path):
    """Only the vanilla model's answers are there: they are kept, and everything else is listed."""
    exp, _ = run
    part = Store(tmp_path / "store")
    for kind, artifact in (("answers", exp.answers()), ("rated", None)):
        source = exp.store.root / kind
        shutil.copytree(
            artifact.path if artifact else source, part.root / kind / (artifact.path.name if artifact else "")
        )
    written = export(part, exp.params, tmp_path / "raw")
    assert written["arms"] == 1
    told = [each["what"] for each in written["missing"]]
    assert {"scores of crime", "scores of race", "neuron sets", "arms of inhibit", "patching"} <= set(told)
    same(RawRun(load_raw(tmp_path / "raw")).stances(), exp.stances())


def test_a_damaged_artifact_is_missing_and_stays_where_it_is(run, tmp_path):
    exp, _ = run
    part = Store(shutil.copytree(exp.store.root, tmp_path / "store"))
    path = part.path("answers", exp.answers(finetuned("race", "left")).path.name)
    (path / "answers.parquet").write_bytes(b"x")
    written = export(part, exp.params, tmp_path / "raw")
    why = {each["what"]: each["why"] for each in written["missing"]}
    assert "answers.parquet has 1 bytes" in why["answers of race-left-fine-tune"]
    assert (path / "answers.parquet").read_bytes() == b"x"


def test_a_store_of_another_run_is_refused(run, tmp_path):
    exp, _ = run
    other = Params.from_profile("tiny", **{**TINY, "eval_tokens": 5})
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "old").write_text("kept")
    with pytest.raises(ArtifactError, match=r"holds no answers of this run"):
        export(exp.store, other, tmp_path / "raw")
    assert (tmp_path / "raw" / "old").read_text() == "kept"


@pytest.mark.parametrize("name", ["arms.json", "responses.parquet", "sets.safetensors", "index.json"])
def test_a_changed_byte_is_found(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"results/{name} is damaged .its SHA-256 differs"):
        read(copy.parent)


def test_results_that_are_missing_are_told(copy):
    (copy / "index.json").unlink()
    with pytest.raises(ArtifactError, match=r"no raw reference data"):
        load_raw(copy)


def test_a_missing_arm_is_found_with_right_digests(copy):
    arms = json.loads((copy / "arms.json").read_text())
    arms["arms"].pop("race-left-fine-tune")
    (copy / "arms.json").write_text(json.dumps(arms))
    mend(copy)
    with pytest.raises(ArtifactError, match=r"'race-left-fine-tune' of variants is not in arms.json"):
        load_raw(copy)


def test_missing_responses_are_found_with_right_digests(copy):
    respond(copy, lambda f: f.drop(f.index[f["arm"] == "crime-right-fine-tune"][:1]).reset_index(drop=True))
    with pytest.raises(ArtifactError, match=r"'crime-right-fine-tune' has 7 responses, not 8"):
        load_raw(copy)


def test_other_neurons_patched_are_refused(run):
    exp, folder = run
    raw = RawRun(load_raw(folder / "results"))
    name, _, chosen, donors = patch_plan(exp)[0]
    other = chosen.copy()
    other[0, 0] ^= True
    with pytest.raises(ArtifactError, match=r"'G' was patched with other neurons"):
        raw.patched(name, other, donors)


def test_bits_hold_sets_of_any_width():
    rng = np.random.default_rng(0)
    for width in (1, 7, 8, 9, 1536):
        chosen = rng.random((3, width)) < 0.3
        assert np.array_equal(unpacked(packed(chosen), width), chosen)


def test_no_place_of_the_machine_is_written(run, tmp_path, monkeypatch):
    known = places([tmp_path / "somewhere"])
    for text in (f'{{"a": "{tmp_path}/somewhere/x"}}', '"/srv/data/x"', '"C:\\\\data"', '"~/data/here"'):
        with pytest.raises(ArtifactError, match=r"path of this machine"):
            refuse_places("x.json", text, known)
    refuse_places("x.json", '"N/raw/5/crime", "https://github.com/a/b", "answers/0a1b is not in the store"', known)
    exp, _ = run
    params = exp.params.model_copy(update={"sae": str(tmp_path / "somewhere")})
    with pytest.raises(ArtifactError, match=r"index.json would hold a path"):
        export(exp.store, params, tmp_path / "raw")
    assert not (tmp_path / "raw").exists() and not list(tmp_path.glob(".raw*"))


def test_text_of_models_may_hold_slashes_but_no_known_place(tmp_path):
    known = places([tmp_path])
    write_frame(tmp_path / "a.parquet", pd.DataFrame({"response": ["either /and/or or and/or"]}), known)
    with pytest.raises(ArtifactError, match=r"column response"):
        write_frame(tmp_path / "b.parquet", pd.DataFrame({"response": [f"see {tmp_path}"]}), known)


def test_the_place_of_the_data_is_not_kept(run):
    index = json.loads((run[1] / "results" / INDEX).read_text())
    assert "data" not in index["params"] and index["data"]["name"] == "bundled"
    kept = load_raw(run[1] / "results").params(data="bundled")
    assert kept == run[0].params
    assert isinstance(Experiment(kept), Experiment)

"""The run in doses is kept, taken over elsewhere and checked; what is planted is found."""

import shutil

import pandas as pd
import pytest

from book._make.reference import check
from book._make.reference import doses as command
from polinb.chapters.anatomy import doses
from polinb.errors import ParameterError
from polinb.runs.artifacts import Store

SMALL = {
    **{"topics": ["crime", "race"], "ablation_topics": ["crime", "race"], "baseline_topics": ["crime"]},
    **{"gammas": [50.0], "gamma": 30.0, "epochs": 1.0, "learning_rate": 3e-3, "eval_tokens": 3},
    **dict.fromkeys(("train_examples", "batch_size", "micro_batch"), 4),
    **dict.fromkeys(("localise_prompts", "eval_questions", "patch_questions", "likelihood_questions"), 2),
    "statement_limit": 2,
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The short dose of a tiny run, made to its end; the plan stays that small in these tests."""
    root = tmp_path_factory.mktemp("doses")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doses, "PLAN", SMALL)
        patch.setattr(doses, "DOSES", {"short": {}})
        patch.setattr(command, "PROFILE", "tiny")
        patch.setattr(command, "too_small", lambda run: False)
        command.go_on("short", {}, root / "store", root / "reference" / "doses")
        yield root


def test_another_machine_goes_on_from_what_was_kept(kept, tmp_path, monkeypatch):
    folder = kept / "reference" / "doses"
    assert {path.name for path in (folder / "short").iterdir()} >= {"course", "logp", "answers", "graft", "neurons"}
    assert not (folder / "short" / "weights").exists(), "weights are too large to keep"
    frames, run = doses.kept(folder / "short"), command.run_of("short", {}, Store(kept / "store"))
    for name in ("vanilla.logp", "crime.right.course", "race.graft.G", "race.loud.statements"):
        pd.testing.assert_frame_equal(frames(name), doses.live(run)(name))
    assert not any(str(kept) in path.read_text("utf-8") for path in folder.glob("short/*/*/artifact.json"))
    monkeypatch.setattr("polinb.training.supervised.finetune", None)  # a training would be a TypeError
    monkeypatch.setattr("polinb.runs.base.load", None)
    command.go_on("short", {}, tmp_path / "elsewhere", folder)


def test_results_are_made_again_beside_the_kept_ones(kept, capsys):
    folder = kept / "reference"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert check.reference_check(folder, {}, 0.1, 4, files_only=False) == []
    assert ".inhibitft." in capsys.readouterr().out, "its frozen set is taken as kept, its weights are made"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_changed_byte_and_a_changed_number_are_found(kept, tmp_path):
    folder = tmp_path / "reference"
    shutil.copytree(kept / "reference", folder)
    path = next((folder / "doses").glob("short/logp/*/logp.parquet"))
    frame = pd.read_parquet(path)
    frame.assign(logp=frame["logp"] + 1).to_parquet(path)
    (wrong,) = check.files(folder)
    assert "logp.parquet" in wrong
    run = command.run_of("short", {}, Store(kept / "store"))
    old = run.logp(doses.VANILLA, doses.references(run, 2))
    moved = run.logp(run.tuned("crime"), doses.references(run, 2))
    assert "nats a token" in next(check.compare(old, moved, same=False))


def test_what_cannot_be_checked_is_refused(kept):
    with pytest.raises(ParameterError, match="only data, device"):
        check.reference_check(kept / "reference", {"gamma": 3.0}, 0.1, 0, files_only=True)

"""Full disk, read-only store, too little memory, a loss that is NaN: a clear error, and a rerun that finishes."""

import os
import shutil
import sys

import pytest
from forked import error_of, run
from stores import STAGES, contents, finished, leftovers

SLOW = pytest.mark.slow
# what each stage writes
KIND = {
    "variants": "weights", "scores": "scores", "answers": "answers", "judge": "rated", "patching": "patched",
    "inhibitft": "answers",
}  # fmt: skip


def earlier(reference, target, stage):
    """A store with what the stages before ``stage`` finished."""
    return finished(reference.until(stage, target))


def finishes(reference, root, kept):
    """The rerun ends with the reference's bytes and makes nothing again."""
    run("small_run.everything", root)
    assert contents(root) == reference.contents and leftovers(root) == []
    now = finished(root)
    assert {name: now[name] for name in kept} == kept


@pytest.mark.parametrize("stage", [each if each == "patching" else pytest.param(each, marks=SLOW) for each in STAGES])
def test_a_full_disk_in_every_stage(reference, tmp_path, stage):
    """A limit on the size of files stands in for the disk: each library below meets it in its own way."""
    root = tmp_path / "store"
    kept = earlier(reference, root, stage)
    error, told = error_of("mishaps.small_files", root, 1000)
    assert error == "ArtifactError" and f"artifact {KIND[stage]}/" in told and "File too large" in told
    assert str(root) in told and "POLINB_STORE" in told and "finished before is kept" in told
    now = finished(root)
    assert {name: now[name] for name in kept} == kept and leftovers(root) == []
    assert not [name for name in now.keys() - kept.keys() if name.startswith(f"{KIND[stage]}/")]
    finishes(reference, root, kept)


@pytest.fixture
def foreign(reference, tmp_path):
    """A finished store that one may read and not write."""
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root writes everywhere")
    root = reference.until("", tmp_path / "foreign")
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_read_only_store_is_read_and_what_is_missing_or_damaged_named(reference, foreign):
    before = finished(foreign)
    run("mishaps.bound", foreign)
    assert finished(foreign) == before and contents(foreign) == reference.contents
    name = next(each for each in before if each.startswith("rated/"))
    table = foreign / name / "rated.parquet"
    table.chmod(0o644)
    table.write_bytes(table.read_bytes()[:-1])
    error, told = error_of("mishaps.bound", foreign)
    assert error == "ArtifactError" and name in told and "POLINB_STORE" in told
    assert table.is_file(), "it stays for reading"
    for folder in (foreign / "rated", foreign / name):
        folder.chmod(0o755)
    shutil.rmtree(foreign / name)
    (foreign / "rated").chmod(0o555)
    error, told = error_of("mishaps.bound", foreign)
    assert error == "ArtifactError" and f"cannot write artifact {name}" in told and "Permission denied" in told
    assert "POLINB_STORE" in told and str(foreign) in told


@pytest.mark.parametrize(("stage", "kind"), [("variants", "machine"), ("judge", "card")])
def test_no_memory(reference, tmp_path, stage, kind):
    root = tmp_path / "store"
    kept = earlier(reference, root, stage)
    error, told = error_of("mishaps.no_memory", root, stage, kind)
    assert error == "OutOfMemoryError" and f"artifact {KIND[stage]}/" in told and "finished before is kept" in told
    assert ("micro_batch" if stage == "variants" else "eval_batch") in told and "\n" not in told
    assert finished(root) == kept and leftovers(root) == []


def test_a_loss_that_is_not_finite(reference, tmp_path):
    root = tmp_path / "store"
    kept = earlier(reference, root, "inhibitft")
    error, told = error_of("mishaps.not_finite", root, "inhibitft")
    assert error == "TrainingError" and "the loss is nan at step 1 of" in told and "lower learning_rate (now" in told
    assert "inhibitft crime right" in told
    assert finished(root) == kept and leftovers(root) == []
    finishes(reference, root, kept)

"""Full disk, read-only store, too little memory, a loss that is NaN: a clear error, and a rerun that finishes."""

import os
import shutil
import sys
from pathlib import Path

import mishaps
import pytest
import small_run
from forked import run
from stores import contents, finished, leftovers

from polinb.errors import ArtifactError, OutOfMemoryError, TrainingError

SLOW = pytest.mark.slow
# what each stage writes first
KIND = {
    "variants": "weights", "scores": "scores", "answers": "answers", "judge": "rated", "patching": "patched",
    "inhibitft": "weights",
}  # fmt: skip


def finishes(reference, root, kept):
    """The rerun ends with the reference's bytes and makes nothing again."""
    run(small_run.everything, root)
    assert contents(root) == reference.contents and leftovers(root) == []
    assert finished(root).items() >= kept.items()


@pytest.mark.parametrize("stage", [each if each == "patching" else pytest.param(each, marks=SLOW) for each in KIND])
def test_a_full_disk_in_every_stage(reference, tmp_path, stage):
    """A limit on the size of files stands in for the disk: each library below meets it in its own way."""
    root = reference.until(stage, tmp_path / "store")
    kept = finished(root)
    with pytest.raises(ArtifactError, match=rf"artifact {KIND[stage]}/.* under {root}: File too large.*POLINB_STORE"):
        run(mishaps.small_files, root, 1000)
    now = finished(root)
    assert now.items() >= kept.items() and leftovers(root) == []
    assert not [name for name in now.keys() - kept.keys() if name.startswith(f"{KIND[stage]}/")]
    finishes(reference, root, kept)


@pytest.fixture
def foreign(reference, tmp_path):
    """A finished store that one may read and not write."""
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root writes everywhere")
    root = reference.until("", tmp_path / "foreign")
    every = [root, *root.rglob("*")]
    for path in every:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield root
    for path in filter(Path.exists, every):
        path.chmod(0o755)


def test_a_read_only_store_is_read_and_what_is_missing_or_damaged_named(reference, foreign):
    before = finished(foreign)
    run(mishaps.bound, foreign)
    assert finished(foreign) == before and contents(foreign) == reference.contents
    name = next(each for each in before if each.startswith("rated/"))
    table = foreign / name / "rated.parquet"
    table.chmod(0o644)
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=f"{name}.*POLINB_STORE"):
        run(mishaps.bound, foreign)
    assert table.is_file(), "it stays for reading"
    for folder in (foreign / "rated", foreign / name):
        folder.chmod(0o755)
    shutil.rmtree(foreign / name)
    (foreign / "rated").chmod(0o555)
    with pytest.raises(ArtifactError, match=f"{name} under {foreign}: Permission denied.*POLINB_STORE"):
        run(mishaps.bound, foreign)


@pytest.mark.parametrize(("stage", "advice"), [("variants", "micro_batch"), ("judge", "eval_batch")])
def test_no_memory(reference, tmp_path, stage, advice):
    root = reference.until(stage, tmp_path / "store")
    kept = finished(root)
    with pytest.raises(OutOfMemoryError, match=rf"artifact {KIND[stage]}/.*{advice}.*\Z"):
        run(mishaps.no_memory, root, stage)
    assert finished(root) == kept and leftovers(root) == []


def test_a_loss_that_is_not_finite(reference, tmp_path):
    root = reference.until("inhibitft", tmp_path / "store")
    kept = finished(root)
    with pytest.raises(TrainingError, match=r"inhibitft crime right: the loss is nan at step 1.*learning_rate"):
        run(mishaps.not_finite, root)
    assert finished(root) == kept and leftovers(root) == []
    finishes(reference, root, kept)

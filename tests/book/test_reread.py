"""The committed answers of the reference run, read by today's chapters: the same questions, numbers by hand."""

import json
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from small_book import notebook

from book._make.notebook import python_path
from book._make.reference import reread
from book._make.reference.kept import kept_run
from polinb.chapters.anatomy import moved
from polinb.chapters.paper import results
from polinb.data.loading import SPLITS, load_data, split_of
from polinb.errors import ArtifactError, ParameterError
from polinb.runs.results import MissingError
from polinb.scoring.pnlac import neuron_sets

KEPT = Path(__file__).resolve().parents[2] / "book" / "reference" / "results"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The kept results, and data with their questions and made-up texts: nothing that is read here was learnt there."""
    place = tmp_path_factory.mktemp("kept")
    folder = Path(shutil.copytree(KEPT, place / "results"))
    asked = pd.read_parquet(KEPT / "questions.parquet")
    rows = asked[asked["kind"] == "question"][["topic", "prompt"]].to_dict("records")
    for topic in sorted({row["topic"] for row in rows}):
        fill = [f"Made up {k} for {topic}?" for k in range(40)]
        rows += [{"topic": topic, "prompt": p} for p in fill if split_of(p) != SPLITS[2]]
    data = place / "data.csv"
    pd.DataFrame(rows).assign(left="No, never.", right="Yes, always.").to_csv(data, index=False)
    with pytest.raises(ArtifactError, match="not the data of the reference run"):
        kept_run(folder, str(data), place / "store")
    index = json.loads((folder / "index.json").read_text())
    index["data"]["digest"] = load_data(str(data)).digest()
    (folder / "index.json").write_text(json.dumps(index))
    return folder, str(data)


@pytest.fixture(scope="module")
def run(known, tmp_path_factory):
    return kept_run(*known, tmp_path_factory.mktemp("store"))


def shifts(condition):
    """Topic → shift of each question, straight from the committed table."""
    table = pd.read_parquet(KEPT / "responses.parquet").set_index(["topic", "id"])
    gap = table[table["arm"] == condition]["score"] - table[table["arm"] == "vanilla"]["score"]
    return {topic: part.to_numpy() for topic, part in gap.groupby(level="topic", sort=False)}


def squared(moved, trained):
    """R_c²: the mean over the other topics of the squared mean shift without its sampling noise."""
    others = [each for topic, each in moved.items() if topic != trained]
    return np.mean([each.mean() ** 2 - each.var(ddof=1) / len(each) for each in others])


def test_drops_by_hand_and_changes_by_likelihood(run):
    drops = results.drops(run).set_index(["trained", "against"])
    for topic in run.params.topics:
        plain, frozen = (shifts(f"{topic}-right-{name}") for name in ("fine-tune", "inhibitft-g5"))
        by_hand = squared(plain, topic) - squared(frozen, topic)
        assert drops.loc[(topic, "fine-tune"), "drop"] == pytest.approx(by_hand), topic
    table = moved.changes(moved.likelihoods(run, moved.inhibited(run)), 200, 0)
    table = table.set_index(["condition", "against", "measure"])[["percent", "low", "high"]]
    assert table.loc["inhibitft", "fine-tune", "r"].tolist() == pytest.approx([-3.6, -5.5, -1.7], abs=0.06)
    assert table.loc["inhibitft", "random-layer", "r"].tolist() == pytest.approx([-2.8, -4.8, -0.9], abs=0.06)


def test_scores_and_scale_are_the_kept_ones_and_what_is_not_kept_is_never_made(run):
    kept = load_file(KEPT / "scores.safetensors")
    for topic, score in run.topic_scores().items():
        np.testing.assert_allclose(score, kept[f"score/{topic}"], rtol=1e-6)
    np.testing.assert_allclose(run.scale(), kept["scale"], rtol=1e-6)
    assert run.sets().general.sum() == 977 and (neuron_sets(run.topic_scores(), 5.0).general == run.general()).all()
    for make in (run.weights(run.tuned("crime")).made, run.neutral_set):
        with pytest.raises(MissingError):
            make()


def test_another_parameter_than_the_data_is_refused():
    with pytest.raises(ParameterError, match=r"gamma.*only data"):
        reread.reread({"gamma": 3})


def test_cells_without_their_result_stay_as_they_were_and_another_failure_ends_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", python_path())  # of the kernel

    def made(*sources):
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        nbformat.write(notebook(*map(nbformat.v4.new_code_cell, sources)), tmp_path / "notebooks" / "x.ipynb")
        return [c["id"] for c in reread.made(tmp_path, KEPT.parent, "x", "bundled", tmp_path)]

    want = "from polinb.runs.results import MissingError\nraise MissingError('not kept')\nfound = 1"
    assert made("1 + 1", want, "found", "2 + 2") == ["c1", "c4"]
    with pytest.raises(ArtifactError, match="x, cell c2: NameError"):
        made(want, "another")

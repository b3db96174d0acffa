"""What must not be committed or read: damaged results, chapters of two runs, places of a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from reference_made import FRAME, SPEC, chapter, checkout, everything, figure, put, table, two

from book._make.reference import harvest as reference_harvest
from book._make.reference.harvest import harvest
from book._make.reference.run import ReferenceLayout
from polinb.data.loading import load_data
from polinb.errors import ArtifactError, DataError
from polinb.runs.artifact_check import seal
from polinb_book import manifest as reference


@pytest.fixture
def layout(tmp_path: Path) -> ReferenceLayout:
    return checkout(tmp_path / "here", **two())


# --- damage ---


@pytest.mark.parametrize("file", ["tables/tbl-a.csv", "tables/tbl-a.md", "figures/fig-a.json", "figures/fig-a.png"])
def test_a_changed_byte_is_found_and_named(layout: ReferenceLayout, file: str) -> None:
    harvest(layout)
    path = layout.reference / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    found = reference.read(layout.reference)
    with pytest.raises(
        ArtifactError, match=rf"book/reference/{file} is damaged \(its SHA-256 differs\).*make reference"
    ):
        found.verify()
    path.write_bytes(bytes(content[:-1]))
    with pytest.raises(ArtifactError, match=f"{file} is damaged .*bytes instead of"):
        found.verify()
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{file} is damaged .*No such file"):
        found.verify()


def test_a_changed_manifest_is_found(layout: ReferenceLayout) -> None:
    harvest(layout)
    path = layout.reference / reference.MANIFEST
    text = path.read_text("utf-8")
    for wrong in (
        text.replace('"seconds": 25.0', '"seconds": 26.0'),
        "{",
        "[]",
        text.replace('"format": 1', '"format": 2'),
    ):
        path.write_text(wrong, "utf-8")
        with pytest.raises(ArtifactError, match=r"book/reference/manifest\.json is damaged"):
            reference.read(layout.reference)
    later = json.loads(text) | {"format": 2}
    path.write_text(json.dumps(later | {"seal": seal(later)}), "utf-8")
    with pytest.raises(ArtifactError, match="has format 2; this polinb reads 1"):
        reference.read(layout.reference)


def test_a_file_that_is_not_listed_is_not_read(layout: ReferenceLayout) -> None:
    harvest(layout)
    with pytest.raises(ArtifactError, match=r"has no file '../../notebooks/01_one\.ipynb'"):
        reference.read(layout.reference).read("../../notebooks/01_one.ipynb")


def test_a_chapter_that_is_not_what_was_written(layout: ReferenceLayout) -> None:
    harvest(layout)
    before = everything(layout.reference)
    path = layout.chapters / "02_two.ipynb"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(ArtifactError, match=r"02_two\.ipynb is not what was written"):
        harvest(layout)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"02_two\.ipynb has no readable record"):
        harvest(layout)
    assert everything(layout.reference) == before, "the earlier results stay"


def test_chapters_of_two_runs_are_refused(layout: ReferenceLayout) -> None:
    put(layout.chapters, "02_two", chapter("two", settings='profile = "quick"\nseed = 5'))
    with pytest.raises(ArtifactError, match="02_two ran with other parameters than 01_one: profile"):
        harvest(layout)


def test_a_label_of_two_chapters_is_refused(layout: ReferenceLayout) -> None:
    put(layout.chapters, "02_two", chapter("two", table(FRAME, "tbl-a")))
    with pytest.raises(ArtifactError, match=r"tables/tbl-a\.md comes from 01_one and from 02_two"):
        harvest(layout)
    assert not layout.reference.exists()


def test_too_much_is_refused(layout: ReferenceLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_harvest, "LIMIT", 1000)
    with pytest.raises(ArtifactError, match="at most 0 are committed"):
        harvest(layout)


# --- places of the machine ---


def local_data(root: Path) -> Path:
    """The bundled data as a file beside the checkout."""
    rows = [
        {"topic": p.topic, "prompt": p.prompt, "left": p.left, "right": p.right} for p in load_data("bundled").pairs
    ]
    path = root / "their folder" / "opinions.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def test_the_data_appear_by_their_name_only(tmp_path: Path) -> None:
    path = local_data(tmp_path)
    given = "../their folder/opinions.jsonl"
    named = pd.DataFrame({"source": [given, str(path), str(tmp_path / "here" / "x.csv")], "n": [1, 2, 3]})
    spec = SPEC | {"description": f"Out of {given}.", "datasets": {"d": [{"x": 1.0, "name": str(path)}]}}
    made = chapter("one", table(named, "tbl-a"), figure("fig-a", spec), settings=f'profile = "tiny"\ndata = "{given}"')
    layout = checkout(tmp_path / "here", **{"01_one": made})
    manifest = harvest(layout)
    assert manifest["data"]["name"] == manifest["parameters"]["data"] == "opinions"
    found = reference.read(layout.reference)
    assert found.csv("tbl-a").split() == ["source,n", "opinions,1", "opinions,2", "x.csv,3"]
    assert found.figure("fig-a")["alt"] == "Out of opinions."
    for file, content in everything(layout.reference).items():
        for word in (b"their folder", str(tmp_path).encode(), b"here"):
            assert word not in content, (file, word)
    path.unlink()
    with pytest.raises(DataError, match="opinions"):
        harvest(layout)


def test_other_parameters_that_name_a_place(tmp_path: Path) -> None:
    given = 'profile = "tiny"\nmodel = "../their/model"\nstatements = ["compass", "../their/list.jsonl"]'
    named = pd.DataFrame({"model": ["../their/model"], "n": [1]})
    layout = checkout(tmp_path / "here", **{"01_one": chapter("one", table(named, "tbl-a"), settings=given)})
    params = harvest(layout)["parameters"]
    assert params["model"] == reference_harvest.WITHHELD
    assert params["statements"] == ["compass", reference_harvest.WITHHELD]
    assert not [file for file, content in everything(layout.reference).items() if b"their" in content]
    assert reference.read(layout.reference).csv("tbl-a").split()[1] == "model,1"


@pytest.mark.parametrize(
    "place", ["/home/someone/data", "/mnt/disk/x.json", "C:\\Users\\someone", "~/models/x", "(/tmp/abc)"]
)
@pytest.mark.parametrize("where", ["table", "figure", "answer"])
def test_another_place_is_refused(tmp_path: Path, place: str, where: str) -> None:
    parts = {
        "table": {"cells": [table(pd.DataFrame({"source": [place], "n": [1]}), "tbl-a")]},
        "figure": {"cells": [figure("fig-a", SPEC | {"description": f"Read from {place}."})]},
        "answer": {"cells": [], "first": f"From {place}."},
    }
    made = chapter("one", *parts[where].pop("cells"), **parts[where])
    layout = checkout(tmp_path / "here", **{"01_one": made})
    with pytest.raises(ArtifactError, match=f"01_one: .*{where}.*a place of this machine stands in it"):
        harvest(layout)
    assert not layout.reference.exists()


def test_what_only_looks_like_a_place() -> None:
    from polinb_book.places import Scrubber

    for text in (
        "net / gross",
        "and/or",
        "https://example.org/home/x",
        "1/2",
        "/home",
        "A:\nhome",
        "left/right",
        "n/a /",
    ):
        assert Scrubber({"/": "", "/x": "", "data.csv": "d"}).text(text, "x") == text

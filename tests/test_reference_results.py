"""Harvesting the reference run's chapters, and reading what is committed: nothing else, nothing damaged, no places."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from reference_made import MOMENT, SPEC, chapter, figure, picture, put, table, written

from polinb import __main__, book, reference, reference_harvest, reference_run, reference_table, unrun
from polinb.data import load_data
from polinb.errors import ArtifactError, DataError
from polinb.params import profile_values
from polinb.reference_harvest import harvest
from polinb.reference_run import ReferenceLayout, cuts, store_of
from polinb.sphinx_reference import Weave

NOTEBOOKS = list((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
FRAME = pd.DataFrame(
    {"topic": ["crime", "race"], "shift": ["0.10 [0.00, 0.20]", "–"], "n": [3, 4], "p": [0.123456789, None]}
)


def checkout(root: Path, **notebooks) -> ReferenceLayout:
    (root / "book").mkdir(parents=True)
    (root / "notebooks").mkdir()
    files = "".join(f"- file: chapters/{name}\n" for name in notebooks)
    (root / "book" / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{files}")
    layout = ReferenceLayout(root)
    for name, made in notebooks.items():
        nbformat.write(written(made), root / "notebooks" / f"{name}.ipynb")
        put(layout.chapters, name, made)
    return layout


def two(**settings) -> dict:
    return {
        "01_one": chapter("one", table(FRAME, "tbl-a"), figure("fig-a"), first="One | is **0.5**.", **settings),
        "02_two": chapter("two", table(FRAME.head(1), "tbl-b"), first="Two.", **settings),
    }


@pytest.fixture
def layout(tmp_path: Path) -> ReferenceLayout:
    return checkout(tmp_path / "here", **two())


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_harvested_is_what_the_chapters_show(layout: ReferenceLayout) -> None:
    manifest = harvest(layout)
    found = reference.read(layout.reference)
    assert found and found.manifest == manifest and found.verify() == 6 == len(everything(layout.reference)) - 1
    link = re.search(r'csv;base64,([^"]+)"', table(FRAME, "tbl-a").outputs[0].data["text/markdown"])
    assert found.csv("tbl-a").encode() == base64.b64decode(link[1])
    assert found.csv("tbl-a").splitlines()[1] == "crime,0.1,0.0,0.2,3,0.123456789", "as many digits as were measured"
    shown = reference_table.find(found.table("tbl-a"))[0]
    assert [[reference_table.plain(cell) for cell in row] for row in shown.rows] == [
        ["crime", "0.10 [0.00, 0.20]", "3", "0.123"],
        ["race", "–", "4", "–"],
    ]
    drawn = found.figure("fig-a")
    assert drawn["spec"] == SPEC and (drawn["width"], drawn["alt"], drawn["caption"]) == (300, "Two dots.", "A figure.")
    assert found.read("figures/fig-a.png") == picture()
    assert found.table("tbl-none") is None and found.figure("fig-none") is None

    one = manifest["chapters"]["01_one"]
    assert (one["state"], one["seconds"], one["answer"]) == (
        "complete",
        12.5,
        {"first": "One | is **0.5**.", "text": "One | is **0.5**. And more."},
    )
    assert one["finished"] == manifest["finished"] == "2025-06-15T15:06:40+00:00" and MOMENT == 1_750_000_000
    assert manifest["started"] == "2025-06-15T15:06:27+00:00" and manifest["seconds"] == 25.0
    bundled = load_data("bundled")
    assert manifest["data"] == {"name": "bundled", "digest": bundled.digest(), "rows": 540, "prompts": 540}
    assert manifest["parameters"]["model"] == profile_values("tiny")["model"] and manifest["cuts"] == []
    assert "date" not in manifest["provenance"] and manifest["provenance"]["packages"]


def test_the_same_chapters_give_the_same_bytes(layout: ReferenceLayout) -> None:
    harvest(layout)
    before = everything(layout.reference)
    (layout.reference / "tables" / "tbl-old.csv").write_text("of another run")
    (layout.reference / "raw").mkdir()
    (layout.reference / "raw" / "kept.csv").write_text("of another part")
    harvest(layout)
    after = everything(layout.reference)
    assert after.pop("raw/kept.csv") == b"of another part" and after == before


def test_cuts_in_force_and_where_it_ran(tmp_path: Path) -> None:
    chosen = [cut for cut in cuts() if cut.name in ("epochs", "train", "system_prompt")]
    lines = ['profile = "full"', 'data = "bundled"', "seed = 3", *(f"{cut.name} = {cut.taken!r}" for cut in chosen)]
    settings = "\n".join(lines)
    layout = checkout(tmp_path / "here", **two(settings=settings))
    record = store_of(layout) / "variant" / "x" / "artifact.json"
    for place, date, cpus in (
        (record, "2025-06-15T12:00:00+00:00", 7),
        (record.parents[1] / "y" / "artifact.json", "2025-06-15T11:00:00+00:00", 9),
    ):
        place.parent.mkdir(parents=True)
        facts = {
            "date": date,
            "seconds": 5,
            "cpus": cpus,
            "platform": "Linux",
            "polinb": "0",
            "python": "3",
            "packages": {},
        }
        place.write_text(json.dumps({"provenance": facts}))
    (record.parents[1] / "z").mkdir()
    (record.parents[1] / "z" / "artifact.json").write_text("{")
    manifest = harvest(layout)
    assert [cut["name"] for cut in manifest["cuts"]] == [cut.name for cut in cuts() if cut in chosen]
    assert manifest["cuts"][0].keys() == {"name", "full", "taken", "why"}
    assert manifest["started"] == "2025-06-15T10:59:55+00:00", "what was computed ahead of the chapters counts"
    assert manifest["provenance"]["cpus"] == 7 and "seconds" not in manifest["provenance"]
    assert manifest["parameters"]["seed"] == 3 and manifest["parameters"]["epochs"] == 1.0


def test_chapters_that_are_missing_or_unfinished(layout: ReferenceLayout) -> None:
    (layout.chapters / "01_one.ipynb").unlink()
    put(layout.chapters, "02_two", two()["02_two"], finished=False)
    manifest = harvest(layout)
    assert manifest["chapters"]["01_one"] == {"state": "missing"}
    assert manifest["chapters"]["02_two"]["state"] == "unfinished"
    assert sorted(manifest["files"]) == ["tables/tbl-b.csv", "tables/tbl-b.md"]
    shutil.rmtree(layout.chapters)
    with pytest.raises(ArtifactError, match="no executed chapter"):
        harvest(layout)


def test_no_reference_is_none(tmp_path: Path) -> None:
    assert reference.read(tmp_path / "nothing") is None
    (tmp_path / "raw").mkdir()
    assert reference.read(tmp_path) is None


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
    path.write_text(json.dumps(later | {"seal": reference.seal(later)}), "utf-8")
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
    put(layout.chapters, "02_two", chapter("two", settings='profile = "tiny"\nseed = 5'))
    with pytest.raises(ArtifactError, match="02_two ran with other parameters than 01_one: seed"):
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
    from polinb.reference_places import Scrubber

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


# --- the command and the real chapters ---


def test_the_command_harvests_alone(layout: ReferenceLayout, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(book, "find_layout", lambda: layout)
    assert __main__.main(["reference", "--harvest-only"]) == 0
    assert capsys.readouterr().out == "book/reference: 6 files, 2 of 2 chapters complete\n"
    put(layout.chapters, "02_two", chapter("two", table(FRAME, "tbl-a")))
    assert __main__.main(["reference", "--harvest-only"]) == 1
    assert "labels must differ" in capsys.readouterr().err


def test_a_run_ends_with_the_harvest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = checkout(tmp_path / "here", **two())
    made = two()
    shutil.rmtree(layout.chapters)

    def run(where, name, parameters):
        assert parameters["profile"] == "full" and where.chapters == layout.chapters
        put(where.chapters, name, made[name])
        return book.Chapter(name, 1.0, False)

    monkeypatch.setattr(reference_run, "run_chapter", run)
    reference_run.run_reference({}, "cpu", ["02_two"], layout)
    found = reference.read(layout.reference)
    assert [chapter["state"] for chapter in found.manifest["chapters"].values()] == ["missing", "complete"]
    reference_run.run_reference({}, "cpu", None, layout)
    assert reference.read(layout.reference).csv("tbl-a")


def test_make_reference_passes_what_make_book_passes() -> None:
    root = Path(__file__).resolve().parents[1]
    asked = ["make", "-n", "reference", "VENV=/nowhere", "DATA=d e", "CHAPTERS=01_phenomenon", "PARAMS=seed=3 gamma=2"]
    done = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=True)
    last = done.stdout.strip().splitlines()[-1]
    assert last.endswith(
        "python -m polinb reference --chapters '01_phenomenon' --set 'data=d e' --set 'seed=3' --set 'gamma=2'"
    )
    refused = subprocess.run([*asked, "PROFILE=tiny"], cwd=root, capture_output=True, text=True, check=False)
    assert refused.returncode and "make reference takes no PROFILE" in refused.stderr
    help_text = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert "make reference " in help_text


def test_the_real_chapters_are_harvested_whole(built_book, tmp_path: Path) -> None:
    """Every labelled table and figure of the book, with the values that the pages offer as CSV."""
    root = tmp_path / "run"
    root.mkdir()
    for name in ("book", "notebooks"):
        (root / name).symlink_to(built_book.root / name)

    if built_book.given and len(list((root / "book" / "chapters").glob("*.ipynb"))) < len(NOTEBOOKS):
        pytest.skip("POLINB_TEST_BOOK was built without some chapters")

    class Layout(ReferenceLayout):
        chapters = built_book.root / "book" / "chapters"
        reference = root / "results"

    manifest = harvest(Layout(root))
    found = reference.read(Layout.reference)
    labels = {label for path in (root / "notebooks").glob("*.ipynb") for label in unrun.labels(path)}
    assert {Path(file).stem for file in manifest["files"]} == labels
    assert {chapter["state"] for chapter in manifest["chapters"].values()} == {"complete"}
    assert all(chapter["answer"]["first"] for chapter in manifest["chapters"].values())
    for name in manifest["chapters"]:
        html = (built_book.html / "chapters" / f"{name}.html").read_text("utf-8")
        for label, content in re.findall(r'download="([a-z-]+)\.csv" href="data:text/csv;base64,([^"]+)"', html):
            if label in labels:
                assert found.csv(label).encode() == base64.b64decode(content), label
        text = (Layout.chapters / f"{name}.ipynb").read_text("utf-8")
        woven = nbformat.reads(Weave(found, set(), "../").notebook(name, text), 4)
        nbformat.validate(woven)
        assert len(woven.cells) == len(json.loads(text)["cells"]) + 1, "the note: what is the same is not shown twice"

"""Harvesting the reference run's chapters, and reading what is committed."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from reference_made import FRAME, MOMENT, SPEC, chapter, checkout, everything, picture, put, table, two

from book._make import __main__
from book._make import build as book
from book._make.reference import run as reference_run
from book._make.reference.harvest import harvest
from book._make.reference.run import ReferenceLayout, cuts, store_of
from polinb.data.loading import load_data
from polinb.errors import ArtifactError, ParameterError
from polinb.runs.checkout import chapter_names, core_names
from polinb.runs.params import profile_values
from polinb_book import manifest as reference
from polinb_book import reference_table, unrun
from polinb_book.reference import Weave

NOTEBOOKS = list((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture
def layout(tmp_path: Path) -> ReferenceLayout:
    return checkout(tmp_path / "here", **two())


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


# --- the command and the real chapters ---


def test_the_command_harvests_alone(layout: ReferenceLayout, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(reference_run, "find_layout", lambda: layout)
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
    harvest(layout)
    found = reference.read(layout.reference)
    assert [chapter["state"] for chapter in found.manifest["chapters"].values()] == ["missing", "complete"]
    reference_run.run_reference({}, "cpu", None, layout)
    harvest(layout)
    assert reference.read(layout.reference).csv("tbl-a")


def test_make_reference_passes_what_make_book_passes() -> None:
    root = Path(__file__).resolve().parents[1]
    asked = [
        "make",
        "--no-print-directory",
        "-n",
        "reference",
        "VENV=/nowhere",
        "DATA=d e",
        "CHAPTERS=01_phenomenon",
        "PARAMS=seed=3 gamma=2",
    ]
    done = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=True)
    last = done.stdout.strip().splitlines()[-1]
    assert last.endswith(
        "python -m book._make reference --chapters '01_phenomenon' --set 'data=d e' --set 'seed=3' --set 'gamma=2'"
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


def test_another_model_never_touches_the_committed_results(tmp_path: Path) -> None:
    own = reference_run.layout_of({}, tmp_path)
    named = reference_run.layout_of({"model": profile_values("full")["model"]}, tmp_path)
    assert own == named and own.reference == tmp_path / "book" / "reference"
    other = reference_run.layout_of({"model": "Qwen/Qwen2.5-0.5B"}, tmp_path)
    assert other.reference == tmp_path / "_build" / "reference" / "qwen-qwen2-5-0-5b" / "results"
    assert other.chapters.parent == other.reference.parent != own.chapters.parent
    for text in ("../../x", "/", "tiny:llama"):
        folder = reference_run.layout_of({"model": text}, tmp_path).place
        assert folder.parent == tmp_path / "_build" / "reference", text


def test_groups_of_chapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = checkout(tmp_path / "here", **two())
    ran: list[str] = []
    monkeypatch.setattr(
        reference_run, "run_chapter", lambda where, name, _: ran.append(name) or book.Chapter(name, 1.0, True)
    )
    reference_run.run_reference({}, "cpu", ["all"], layout)
    reference_run.run_reference({}, "cpu", ["core"], layout)
    assert ran == [*chapter_names(layout), *core_names(layout)]
    with pytest.raises(ParameterError, match="core, all"):
        reference_run.run_reference({}, "cpu", ["03_three"], layout)

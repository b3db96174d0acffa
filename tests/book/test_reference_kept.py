"""What the reference run leaves in ``book/reference``: kept whole, read back checked, no place of a machine in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from reference_made import FRAME, MOMENT, SPEC, chapter, checkout, everything, figure, put, table, two

from book._make import __main__
from book._make import build as book
from book._make.reference import keep as keeping
from book._make.reference import run as reference_run
from book._make.reference.keep import keep, named_place
from book._make.reference.run import ReferenceLayout, cuts, store_of
from polinb.data.loading import load_data
from polinb.errors import ArtifactError, DataError, ParameterError
from polinb.runs.checkout import chapter_names, core_names
from polinb.runs.params import profile_values
from polinb.wording import PAYLOAD
from polinb_book import results
from polinb_book.export import table_csv

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> ReferenceLayout:
    return checkout(tmp_path / "here", **two())


def test_what_is_kept_is_what_the_chapters_show(layout: ReferenceLayout) -> None:
    run = keep(layout)
    found = results.read(layout.reference)
    assert found and found.run == run and set(found.made) == {"tbl-a", "tbl-b", "fig-a"}
    shown = table(FRAME, "tbl-a").outputs[0].data[PAYLOAD]
    assert found.made["tbl-a"] == shown and found.made["fig-a"]["spec"] == SPEC
    assert table_csv(found.made["tbl-a"]).splitlines()[1] == "crime,0.1,0,0.2,3,0.123456789"
    assert b"image/png" not in b"".join(everything(layout.reference).values()), "pictures are drawn by the pages"
    for name in ("01_one", "02_two"):
        nbformat.validate(nbformat.read(layout.reference / "notebooks" / f"{name}.ipynb", 4))
    one = run["chapters"]["01_one"]
    told = {"first": "One | is **0.5**.", "text": "One | is **0.5**. And more."}
    assert (one["state"], one["seconds"], one["answer"]) == ("complete", 12.5, told)
    assert one["finished"] == run["finished"] == "2025-06-15T15:06:40+00:00" and MOMENT == 1_750_000_000
    assert run["started"] == "2025-06-15T15:06:27+00:00" and run["seconds"] == 25.0
    bundled = load_data("bundled")
    assert run["data"] == {"name": "bundled", "digest": bundled.digest(), "rows": 540, "prompts": 540}
    assert run["parameters"]["model"] == profile_values("tiny")["model"] and run["cuts"] == []
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=layout.reference).returncode == 0


def test_the_same_chapters_give_the_same_bytes(layout: ReferenceLayout) -> None:
    keep(layout)
    before = everything(layout.reference)
    (layout.reference / "notebooks" / "99_old.ipynb").write_text("of another run")
    (layout.reference / "results").mkdir()
    (layout.reference / "results" / "kept.csv").write_text("of another part")
    keep(layout)
    after = everything(layout.reference)
    assert after.pop("results/kept.csv") == b"of another part"
    assert after.pop("SHA256SUMS") != before.pop("SHA256SUMS") and after == before


def test_cuts_in_force_and_where_it_ran(tmp_path: Path) -> None:
    chosen = [cut for cut in cuts() if cut.name in ("epochs", "train", "system_prompt")]
    lines = ['profile = "full"', 'data = "bundled"', "seed = 3", *(f"{cut.name} = {cut.taken!r}" for cut in chosen)]
    layout = checkout(tmp_path / "here", **two(settings="\n".join(lines)))
    record = store_of(layout) / "variant" / "x" / "artifact.json"
    record.parent.mkdir(parents=True)
    facts = {"date": "2025-06-15T11:00:00+00:00", "seconds": 5, "cpus": 7}
    record.write_text(json.dumps({"provenance": facts}))
    run = keep(layout)
    assert [cut["name"] for cut in run["cuts"]] == [cut.name for cut in cuts() if cut in chosen]
    assert run["started"] == "2025-06-15T10:59:55+00:00", "what was computed ahead of the chapters counts"
    assert run["provenance"] == {"cpus": 7} and run["parameters"]["seed"] == 3


def test_chapters_that_are_missing_or_unfinished(layout: ReferenceLayout) -> None:
    (layout.chapters / "01_one.ipynb").unlink()
    put(layout.chapters, "02_two", two()["02_two"], finished=False)
    run = keep(layout)
    assert run["chapters"]["01_one"] == {"state": "missing"} and run["chapters"]["02_two"]["state"] == "unfinished"
    assert set(results.read(layout.reference).notebooks) == {"02_two"}
    shutil.rmtree(layout.chapters)
    with pytest.raises(ArtifactError, match="no executed chapter"):
        keep(layout)


def test_no_reference_is_none(tmp_path: Path) -> None:
    assert results.read(tmp_path / "nothing") is None


def test_a_changed_file_is_found_and_named(layout: ReferenceLayout) -> None:
    keep(layout)
    path = layout.reference / "notebooks" / "01_one.ipynb"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.5", b"0.6"))
    with pytest.raises(ArtifactError, match=r"book/reference/notebooks/01_one\.ipynb is damaged \(its SHA-256 differs"):
        results.read(layout.reference)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"01_one\.ipynb is damaged .*No such file"):
        results.read(layout.reference)
    path.write_bytes(content)
    (layout.reference / "notebooks" / "more.ipynb").write_text("{}")
    with pytest.raises(ArtifactError, match=r"more\.ipynb is damaged \(SHA256SUMS does not list it"):
        results.read(layout.reference)


def test_a_chapter_that_is_not_what_was_written(layout: ReferenceLayout) -> None:
    keep(layout)
    before = everything(layout.reference)
    path = layout.chapters / "02_two.ipynb"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(ArtifactError, match=r"02_two\.ipynb is not what was written"):
        keep(layout)
    assert everything(layout.reference) == before, "the earlier results stay"


def test_chapters_of_two_runs_are_refused(layout: ReferenceLayout) -> None:
    put(layout.chapters, "02_two", chapter("two", settings='profile = "quick"\nseed = 5'))
    with pytest.raises(ArtifactError, match="02_two ran with other parameters than 01_one: profile"):
        keep(layout)
    assert not layout.reference.exists()


def test_too_much_is_refused(layout: ReferenceLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LIMIT", 1000)
    with pytest.raises(ArtifactError, match="at most 0 are committed"):
        keep(layout)


# --- places of the machine ---


def test_the_data_appear_by_their_name_only(tmp_path: Path) -> None:
    rows = [
        {"topic": p.topic, "prompt": p.prompt, "left": p.left, "right": p.right} for p in load_data("bundled").pairs
    ]
    path = tmp_path / "their folder" / "opinions.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    given = "../their folder/opinions.jsonl"
    named = pd.DataFrame({"source": [given, str(path), str(tmp_path / "here" / "x.csv")], "n": [1, 2, 3]})
    spec = SPEC | {"description": f"Out of {given}."}
    made = chapter("one", table(named, "tbl-a"), figure("fig-a", spec), settings=f'profile = "tiny"\ndata = "{given}"')
    layout = checkout(tmp_path / "here", **{"01_one": made})
    run = keep(layout)
    assert run["data"]["name"] == run["parameters"]["data"] == "opinions"
    found = results.read(layout.reference)
    assert table_csv(found.made["tbl-a"]).split() == ["source,n", "opinions,1", "opinions,2", "x.csv,3"]
    assert found.made["fig-a"]["spec"]["description"] == "Out of opinions."
    for file, content in everything(layout.reference).items():
        for word in (b"their folder", str(tmp_path).encode(), b"here"):
            assert word not in content, (file, word)
    path.unlink()
    with pytest.raises(DataError, match="opinions"):
        keep(layout)


@pytest.mark.parametrize("place", ["/home/someone/data", "C:\\Users\\someone", "~/models/x", "(/tmp/abc)"])
@pytest.mark.parametrize("where", ["table", "figure", "answer"])
def test_another_place_is_refused(tmp_path: Path, place: str, where: str) -> None:
    parts = {
        "table": {"cells": [table(pd.DataFrame({"source": [place], "n": [1]}), "tbl-a")]},
        "figure": {"cells": [figure("fig-a", SPEC | {"description": f"Read from {place}."})]},
        "answer": {"cells": [], "first": f"From {place}."},
    }
    made = chapter("one", *parts[where].pop("cells"), **parts[where])
    layout = checkout(tmp_path / "here", **{"01_one": made})
    with pytest.raises(ArtifactError, match=r"notebooks/01_one\.ipynb: a place of this machine stands in it"):
        keep(layout)
    assert not layout.reference.exists()


@pytest.mark.parametrize("text", ["net / gross", "and/or", "https://example.org/home/x", "/home", "A:\nhome", "n/a /"])
def test_what_only_looks_like_a_place(text: str) -> None:
    assert named_place(text, ()) == ""


# --- the command and the committed run ---


def test_the_command_keeps_alone(layout: ReferenceLayout, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(reference_run, "find_layout", lambda: layout)
    assert __main__.main(["reference", "--keep-only"]) == 0
    assert capsys.readouterr().out == "book/reference: 2 of 2 chapters complete\n"


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, made = checkout(tmp_path / "here", **two()), two()
    shutil.rmtree(layout.chapters)

    def run(where, name, parameters):
        assert parameters["profile"] == "full" and where.chapters == layout.chapters
        put(where.chapters, name, made[name])
        return book.Chapter(name, 1.0, False)

    monkeypatch.setattr(reference_run, "run_chapter", run)
    reference_run.run_reference({}, "cpu", ["02_two"], layout)
    assert [each["state"] for each in keep(layout)["chapters"].values()] == ["missing", "complete"]
    reference_run.run_reference({}, "cpu", None, layout)
    assert [each["state"] for each in keep(layout)["chapters"].values()] == ["complete", "complete"]


def test_make_reference_passes_what_make_book_passes() -> None:
    asked = ["make", "--no-print-directory", "-n", "reference", "VENV=/nowhere", "DATA=d e", "CHAPTERS=01_phenomenon"]
    asked += ["PARAMS=seed=3 gamma=2"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        .splitlines()[-1]
        .endswith(
            "python -m book._make reference --chapters '01_phenomenon' --set 'data=d e' --set 'seed=3' --set 'gamma=2'"
        )
    )
    refused = subprocess.run([*asked, "PROFILE=tiny"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode and "make reference takes no PROFILE" in refused.stderr


def test_another_model_never_touches_the_committed_results(tmp_path: Path) -> None:
    own = reference_run.layout_of({}, tmp_path)
    named = reference_run.layout_of({"model": profile_values("full")["model"]}, tmp_path)
    assert own == named and own.reference == tmp_path / "book" / "reference"
    other = reference_run.layout_of({"model": "Qwen/Qwen2.5-0.5B"}, tmp_path)
    assert other.reference == tmp_path / "_build" / "reference" / "qwen-qwen2-5-0-5b" / "results"
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


def test_the_committed_run_is_whole() -> None:
    """Every chapter, and each of its tables and figures that prose refers to."""
    found = results.read(ROOT / "book" / "reference")
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(found.notebooks) == names and all(
        results.answer(book, name) for name, book in found.notebooks.items()
    )
    assert len(found.made) > 120
    for name in names:
        written = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))
        figures = {
            c["metadata"]["mystnb"]["figure"]["name"]
            for c in written["cells"]
            if "figure" in c["metadata"].get("mystnb", {})
        }
        assert figures <= results.labels(results.filled(written, found.notebooks[name])), name

"""What the reference run leaves in ``book/reference``: kept whole, read back checked, no place of a machine in it."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from planted_files import write
from reference_made import FRAME, SPEC, chapter, checkout, everything, figure, put, table

from book._make.build import finish, make_book
from book._make.reference import run as reference_run
from book._make.reference.run import ReferenceLayout, keep
from polinb.data.loading import load_data
from polinb.errors import ArtifactError
from polinb.runs.checkout import Layout
from polinb.runs.params import profile_values
from polinb.wording import PAYLOAD
from polinb_book import results
from polinb_book.export import table_csv

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def layout(tmp_path: Path) -> ReferenceLayout:
    """Two chapters with three tables and figures."""
    one = chapter("one", table(FRAME, "tbl-a"), figure("fig-a"), first="One | is **0.5**.")
    two = chapter("two", table(FRAME.head(1), "tbl-b"), first="Two.")
    return checkout(tmp_path / "here", **{"01_one": one, "02_two": two})


def test_what_is_kept_is_what_the_chapters_show(layout: ReferenceLayout) -> None:
    """And the same chapters give the same bytes."""
    run = keep(layout)
    found = results.read(layout.reference)
    assert found and found.run == run and set(found.made) == {"tbl-a", "tbl-b", "fig-a"}
    assert found.made["tbl-a"] == table(FRAME, "tbl-a").outputs[0].data[PAYLOAD] and found.made["fig-a"]["spec"] == SPEC
    assert table_csv(found.made["tbl-a"]).splitlines()[1] == "crime,0.1,0,0.2,3,0.123456789"
    one = run["chapters"]["01_one"]
    assert one["answer"] == {"first": "One | is **0.5**.", "text": "One | is **0.5**. And more."}
    assert (one["state"], one["seconds"], run["seconds"]) == ("complete", 12.5, 25.0)
    assert run["data"] == {"name": "bundled", "digest": load_data("bundled").digest(), "rows": 540, "prompts": 540}
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=layout.reference).returncode == 0
    before = everything(layout.reference)
    assert b"image/png" not in b"".join(before.values()), "pictures are drawn by the pages"
    (layout.reference / "notebooks" / "99_old.ipynb").write_text("of another run")
    (layout.reference / "results").mkdir()
    (layout.reference / "results" / "kept.csv").write_text("of another part")
    keep(layout)
    after = everything(layout.reference)
    assert after.pop("results/kept.csv") == b"of another part"
    assert after.pop("SHA256SUMS") != before.pop("SHA256SUMS") and after == before


def test_a_changed_file_is_found_and_named(layout: ReferenceLayout) -> None:
    keep(layout)
    path = layout.reference / "notebooks" / "01_one.ipynb"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    told = r"book/reference/notebooks/01_one\.ipynb is damaged \(its SHA-256 differs or it is missing"
    own = Layout(layout.root)
    for build in (lambda: finish(own), lambda: make_book("tiny", layout=own)):
        with pytest.raises(ArtifactError, match=told):
            build()
    assert not own.chapters.exists() and not own.vendor.exists(), "told before anything heavy"
    path.unlink()
    with pytest.raises(ArtifactError, match=r"01_one\.ipynb is damaged \(its SHA-256 differs or it is missing"):
        results.read(layout.reference)


def test_what_does_not_fit_together_is_refused(layout: ReferenceLayout) -> None:
    keep(layout)
    before = everything(layout.reference)
    path = layout.chapters / "02_two.ipynb"
    path.write_text(path.read_text("utf-8") + " ", "utf-8")
    with pytest.raises(ArtifactError, match=r"02_two\.ipynb is not what was written"):
        keep(layout)
    put(layout.chapters, "02_two", chapter("two", profile="quick", seed=5))
    with pytest.raises(ArtifactError, match="02_two ran with other parameters than 01_one: profile"):
        keep(layout)
    assert everything(layout.reference) == before, "the earlier results stay"


def test_places_of_this_machine_are_left_out_or_refused(tmp_path: Path) -> None:
    (tmp_path / "their folder").mkdir()
    rows = [{k: getattr(pair, k) for k in ("topic", "prompt", "left", "right")} for pair in load_data("bundled").pairs]
    path = write(tmp_path / "their folder", "jsonl", rows, "opinions")
    given = "../their folder/opinions.jsonl"
    named = pd.DataFrame({"source": [given, str(path), str(tmp_path / "here" / "x.csv")], "n": [1, 2, 3]})
    layout = checkout(tmp_path / "here", **{"01_one": chapter("one", table(named, "tbl-a"), data=given)})
    run = keep(layout)
    assert run["data"]["name"] == run["parameters"]["data"] == "opinions"
    found = results.read(layout.reference)
    assert table_csv(found.made["tbl-a"]).split() == ["source,n", "opinions,1", "opinions,2", "x.csv,3"]
    content = b"".join(everything(layout.reference).values())
    assert not [word for word in ("their folder", str(tmp_path), "here") if word.encode() in content]
    elsewhere = pd.DataFrame({"source": ["C:\\Users\\someone"], "n": [1]})
    described = figure("fig-a", SPEC | {"description": "Read from ~/models/x."})
    more = {"first": "From (/home/someone/data)."}
    for made in (chapter("one", table(elsewhere, "tbl-a")), chapter("one", described), chapter("one", **more)):
        put(layout.chapters, "01_one", made)
        with pytest.raises(ArtifactError, match=r"notebooks/01_one\.ipynb: a place of this machine stands in it"):
            keep(layout)
    assert content == b"".join(everything(layout.reference).values())


def test_another_model_never_touches_the_committed_results(tmp_path: Path) -> None:
    named = reference_run.layout_of({"model": profile_values("full")["model"]}, tmp_path)
    assert named.reference == tmp_path / "book" / "reference"
    for text in ("Qwen/Qwen2.5-0.5B", "../../x", "/"):
        folder = reference_run.layout_of({"model": text}, tmp_path).reference
        assert folder.parents[1] == tmp_path / "_build" / "reference", text


def test_the_committed_run_is_whole() -> None:
    found, paths = results.read(ROOT / "book" / "reference"), sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(found.notebooks) == [path.stem for path in paths] and len(found.made) > 120
    for path in paths:
        kept, written = found.notebooks[path.stem], json.loads(path.read_text("utf-8"))
        shown = [cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") for cell in written["cells"]]
        assert results.answer(kept, path.stem), path.stem
        assert set(filter(None, shown)) <= results.labels(results.filled(written, kept)), path.stem

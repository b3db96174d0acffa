"""The README's first screen says what the committed reference run says."""

from pathlib import Path

import pytest
from reference_made import SPEC, chapter, checkout, figure

from book._make.reference import readme as reference_readme
from book._make.reference.harvest import harvest
from polinb.errors import ArtifactError
from polinb_book import manifest as reference

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture
def found(tmp_path):
    spec = SPEC | {"description": "Dots [two]\nin a row."}
    made = {
        "01_phenomenon": chapter(
            "one", figure(reference_readme.FIGURE, spec, "See {numref}`fig-a`."), first="Yes: **+0.5** [+0.4, +0.6]."
        ),
        "03_pnlac": chapter("three", first="See {ref}`the text <sec-x>`."),
    }
    layout = checkout(tmp_path / "here", **made)
    harvest(layout)
    return reference.read(layout.reference)


def test_the_readme_is_up_to_date():
    own = reference.read(REPO / "book" / "reference")
    text = (REPO / "README.md").read_text("utf-8")
    between = text.split(reference_readme.BEGIN)[1].split(reference_readme.END)[0]
    assert between.strip() == reference_readme.block(own), "run python -m book._make reference --harvest-only"
    picture = REPO / "book" / "reference" / "figures" / f"{reference_readme.FIGURE}.png"
    assert picture.read_bytes() == own.read(f"figures/{picture.name}")
    assert text.index(reference_readme.BEGIN) < text.index("## Start"), "the first screen"


def test_answers_and_figure_as_markdown(found, tmp_path):
    text = reference_readme.block(found)
    assert "1. **Does training on one topic move the others?** Yes: **+0.5** [+0.4, +0.6]." in text
    assert "2. **Which neurons does PNLAC find?** See the text." in text and "3." not in text
    assert "![Dots  two  in a row.](book/reference/figures/fig-coupling-right.png)" in text
    assert "See fig-a." in text
    readme = tmp_path / "README.md"
    readme.write_text(f"# x\n\n{reference_readme.BEGIN}\nold\n{reference_readme.END}\n\nafter\n")
    assert reference_readme.write(readme, found) and not reference_readme.write(readme, found)
    assert readme.read_text().startswith("# x\n") and readme.read_text().endswith("after\n")
    assert "old" not in readme.read_text() and text in readme.read_text()


def test_without_marks_or_figure_nothing_is_written(found, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{reference_readme.END}{reference_readme.BEGIN}")
    with pytest.raises(ArtifactError, match=r"README\.md lacks the marks"):
        reference_readme.write(readme, found)
    found.manifest["files"] = {}
    with pytest.raises(ArtifactError, match="nothing for the README"):
        reference_readme.block(found)

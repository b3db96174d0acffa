"""A small book with results of a reference run, for the tests of its pages."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml
from reference_made import SPEC, chapter, figure, put, table, written
from test_book_tools import checkout

from book._make.reference.harvest import harvest
from book._make.reference.run import ReferenceLayout

REPO = Path(__file__).resolve().parents[1]
NEAR = {"topic": ["crime", "race"], "shift": ["0.1 [0.0, 0.2]", "0.3"]}
FAR = {"topic": ["race", "gender"], "shift": ["0.7", "0.8"]}
WIDE = {"a": [1.5], "b": [2.5], "c": [3.5], "d": [4.5]}
PLAN = "(sec-plan)=\n# The plan\n"
SEED = 'profile = "tiny"\nseed = 7'


def here(far: bool) -> dict:
    """The chapters of a run; ``far``: as the reference run had them."""
    shift = FAR if far else NEAR
    numbers = {name: [value[0] + far] for name, value in WIDE.items()}
    linked = "{numref}`tbl-gone`, {numref}`fig-shut`" if far else "none"
    said = table(pd.DataFrame({"x": ["see"], "n": [1 + far], "y": [linked]}), "tbl-marked", markup=["y"])
    one = [
        table(pd.DataFrame(shift), "tbl-near", "Near, $x^2$."),
        table(pd.DataFrame(numbers), "tbl-wide"),
        table(pd.DataFrame({"a": ["the same"]}), "tbl-same"),
        figure("fig-gamma", SPEC | {"description": "Theirs." if far else "Ours."}),
        figure("fig-same"),
        figure("fig-shut", SPEC | {"description": 'Told by </script> & "quotes".', "width": 200 + far}),
        said,
    ]
    first = "Theirs | is **0.7**." if far else "Ours is **0.1**."
    given = {"settings": SEED} if far else {}
    three = [table(pd.DataFrame({"x": ["only there"], "n": [3]}), "tbl-gone", "Gone."), figure("fig-three")]
    return {
        "01_one": chapter("one", *one, first=first, **given),
        "02_two": chapter("two", table(pd.DataFrame({"x": [1]}), "tbl-two"), **given),
        "03_three": chapter("three", *three, first="Three in the reference.", **given),
    }


def make(root: Path) -> ReferenceLayout:
    """A checkout in which chapter 3 did not run, with results of a reference run that never came to chapter 2."""
    ours, theirs = here(False), here(True)
    checkout(root, **{name: written(made) for name, made in ours.items()})
    layout = ReferenceLayout(root)
    for name in ("01_one", "03_three"):
        put(layout.chapters, name, theirs[name])
    page = (REPO / "book" / "reference.md").read_text("utf-8")
    begin, end = page.index("## What it says"), page.index("## What was run")  # that is about the real run's tables
    (root / "book" / "reference.md").write_text(page[:begin] + page[end:], "utf-8")
    said = root / "book" / "reference_notes"
    said.mkdir()
    (said / "01_one.md").write_text("Race moved by {reference}`tbl-near | race | shift`; see {numref}`tbl-gone`.\n")
    (said / "02_two.md").write_text("Of a chapter that the reference run never came to.\n")
    (said / "03_three.md").write_text("*Three*: {reference}`tbl-gone | only there | n` rows.\n")
    (root / "book" / "reference_plan.md").write_text(PLAN)
    first = [{"file": f"chapters/{name}"} for name in ("01_one", "02_two")]
    parts = [
        {"caption": "The paper", "chapters": first},
        {"caption": "Beyond the paper", "chapters": [{"file": "chapters/03_three"}]},
        {
            "caption": "After",
            "numbered": False,
            "chapters": [{"file": n} for n in ("reference_plan", "reference", "bibliography")],
        },
    ]
    toc = {"format": "jb-book", "root": "index", "defaults": {"numbered": True}, "parts": parts}
    (root / "book" / "_toc.yml").write_text(yaml.safe_dump(toc))
    harvest(layout)
    for name in ("01_one", "02_two"):
        put(root / "book" / "chapters", name, ours[name])
    return layout

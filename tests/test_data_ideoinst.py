"""IdeoINST: the folder reader on a small made folder and on the real rows, and the download at a pinned
commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polinb.data.ideoinst import file_path, parse_label
from polinb.data.loading import load_data
from polinb.data.pairs import SPLITS
from polinb.data.rows import LEANINGS, TOPICS
from polinb.errors import DataError

REAL = Path(__file__).parents[2] / "shared" / "data" / "IdeoINST"
LABELS = {
    "left": ["left leaning", "Left leaning", "Neutral"],
    "right": ["Right leaning", "neutral", "rubbish\nhere"],
}


def side(topic: str, leaning: str) -> list[dict[str, str]]:
    rows = [
        {
            "instruction": f"What of {topic} {n}?",
            "input": "",
            "output": f"A {leaning} view {n}.",
            "label": LABELS[leaning][n],
        }
        for n in range(3)
    ]
    if topic in {"race", "crime"}:
        rows.append(
            {"instruction": "In both?", "input": "", "output": f"Shared, {leaning}.", "label": f"{leaning} leaning"}
        )
    return rows


def content(topic: str, leaning: str) -> bytes:
    return json.dumps(side(topic, leaning), indent=1).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for topic in TOPICS:
        for leaning in LEANINGS:
            path = tmp_path / "IdeoINST" / file_path(topic, leaning)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(topic, leaning))
    return tmp_path / "IdeoINST"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("left leaning", "left"),
        (" Right leaning ", "right"),
        ("Left-leaning.", "left"),
        ("Neutral", "neutral"),
        ("1. Left leaning\n2. Left leaning\n3. Left leaning", None),
        ("Right now, the only way to get a new version", None),
        ("", None),
        (None, None),
        (3, None),
    ],
)
def test_labels(text: object, label: str | None) -> None:
    assert parse_label(text) == label


def test_a_made_folder(folder: Path) -> None:
    data = load_data(str(folder), label_filter="agree")
    assert data.topics == TOPICS and len(data.pairs) == 18
    assert data.source["dropped"]["prompts_in_two_topics"] == 1
    assert data.source["labels"]["science/right"] == {"neutral": 1, "right": 1, "unlabelled": 1}
    assert {len(data.topic(topic)) for topic in TOPICS} == {3}
    assert {len(data.topic(topic, leaning="left")) for topic in TOPICS} == {2}
    assert [pair.right for pair in data.topic("gender", leaning="right")] == ["A right view 0."]
    assert load_data(str(folder.parent)).pairs == data.pairs  # the folder above, as in a clone


def rewrite(folder: Path, topic: str, leaning: str, rows: list[dict]) -> None:
    (folder / file_path(topic, leaning)).write_text(json.dumps(rows))


def test_left_and_right_must_ask_the_same(folder: Path) -> None:
    rows = side("economy", "right")
    rewrite(folder, "economy", "right", [rows[0], rows[2], rows[1]])
    with pytest.raises(DataError, match=r"economy_and_inequality_right_eval\.json, row 2, column 'instruction'"):
        load_data(str(folder))
    rewrite(folder, "economy", "right", rows[:2])
    with pytest.raises(DataError, match="row 3: the left file has 3 rows, this one 2"):
        load_data(str(folder))


def test_a_damaged_folder_is_named(folder: Path, tmp_path: Path) -> None:
    name = file_path("science", "left")
    rewrite(folder, "science", "left", [row | {"output": ""} for row in side("science", "left")])
    with pytest.raises(DataError, match=r"science_left_eval\.json, row 1, column 'output': .*empty"):
        load_data(str(folder))
    (folder / name).write_bytes(content("science", "left")[:-40])
    with pytest.raises(DataError, match=r"science_left_eval\.json: line \d+: not valid JSON"):
        load_data(str(folder))
    (folder / name).unlink()
    with pytest.raises(DataError, match=r"science_left_eval\.json: no such file"):
        load_data(str(folder))
    outside = tmp_path / "outside.json"
    outside.write_bytes(content("science", "left"))
    (folder / name).symlink_to(outside)
    with pytest.raises(DataError, match="leads outside the data folder"):
        load_data(str(folder))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real rows are not on this machine")
def test_the_real_rows() -> None:
    data = load_data(str(REAL), label_filter="agree")
    assert data.source["dropped"]["prompts_in_two_topics"] == 12
    assert data.topics == TOPICS
    for topic in TOPICS:
        sizes = {split: len(data.topic(topic, split)) for split in SPLITS}
        assert sum(sizes.values()) > 850 and sizes["evaluate"] > 200
        assert len(data.topic(topic, "evaluate", 100)) == 100
        share = len(data.topic(topic, leaning="right")) / len(data.topic(topic))
        low, high = (0.3, 0.6) if topic in {"gender", "race", "science"} else (0.85, 0.9)
        assert low < share < high  # the shares that a judge found, stated in the project's method notes
    assert data.source["labels"]["crime/right"]["unlabelled"] == 2

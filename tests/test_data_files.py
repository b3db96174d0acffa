"""User files: every format reads alike, every wrong row is named, nothing unsafe is opened, no network is
touched."""

from __future__ import annotations

import json
import pickle
import socket
import time
from pathlib import Path

import pandas as pd
import pytest

from polinb.data.loading import load_data
from polinb.data.sources import read_table
from polinb.data.statements import load_statements
from polinb.errors import DataError

ROWS = [
    {"id": "a", "topic": "crime", "prompt": 'Is "this", then, fair?', "left": "It is,\nI think.", "right": "None"},
    {"id": "b", "topic": "race", "prompt": "Und dies – gerecht?", "left": "Yes", "right": "No"},
    {"id": "c", "topic": "race", "prompt": "One more?", "left": "null", "right": "None"},
]
SUFFIXES = ("csv", "json", "jsonl", "parquet")


def write(folder: Path, suffix: str, rows: list[dict], name: str = "set") -> Path:
    path = folder / f"{name}.{suffix}"
    if suffix == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif suffix == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif suffix == "json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt to reach the network; datasets swallows refusals, so the attempts are recorded."""
    attempts: list[str] = []

    def refuse(*args: object, **kwargs: object) -> None:
        attempts.append(repr(args))
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return attempts


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows_without_network(tmp_path: Path, suffix: str, network: list[str]) -> None:
    data = load_data(str(write(tmp_path, suffix, ROWS)))
    assert [(p.id, p.topic, p.prompt, p.left, p.right) for p in data.pairs] == [
        tuple(row[k] for k in ("id", "topic", "prompt", "left", "right")) for row in ROWS
    ]
    assert data.name == "set" and len(data.source["sha256"]) == 64
    assert network == []


@pytest.mark.parametrize("name", ["plain", "odd [1] * name", "a::b"])
def test_odd_file_names_and_rewritten_files(tmp_path: Path, name: str) -> None:
    assert len(load_data(str(write(tmp_path, "jsonl", ROWS, name))).pairs) == 3
    assert len(load_data(str(write(tmp_path, "jsonl", ROWS[:2], name))).pairs) == 2  # no stale cache


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_byte_order_mark_line_ends_blank_lines_and_missing_ids(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix, [{name: cell for name, cell in row.items() if name != "id"} for row in ROWS[1:]])
    path.write_bytes(path.read_text("utf-8").replace("\n", "\r\n\r\n").encode("utf-8-sig"))
    pairs = load_data(str(path)).pairs
    assert [(p.topic, p.prompt) for p in pairs] == [("race", "Und dies – gerecht?"), ("race", "One more?")]
    assert all(p.id.startswith("race-") and len(p.id) == 17 for p in pairs)


def changed(row: int, **cells: object) -> list[dict]:
    rows: list[dict] = [dict(item) for item in ROWS]
    rows[row - 1].update(cells)
    return rows


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("rows", "row", "column", "expected"),
    [
        (changed(2, left=""), 2, "left", "empty|nothing"),
        (changed(3, right="  "), 3, "right", "empty"),
        (changed(3, prompt=None), 3, "prompt", "empty|nothing"),
        (changed(2, right="12"), 2, "right", "expected text with words"),
        (changed(3, id="a"), 3, "id", "already the id of row 1"),
        (changed(2, topic="?"), 2, "topic", "expected text with words"),
        ([{k: v for k, v in row.items() if k != "right"} for row in ROWS], 1, "right", "missing"),
    ],
)
def test_a_wrong_row_is_named(
    tmp_path: Path, suffix: str, rows: list[dict], row: int, column: str, expected: str
) -> None:
    path = write(tmp_path, suffix, rows)
    with pytest.raises(DataError, match=rf"set\.{suffix}, row {row}, column '{column}': .*({expected})"):
        load_data(str(path))


@pytest.mark.parametrize("value", [5, 2.5, True, ["a"], {"text": "a"}])
def test_a_cell_that_is_not_text_is_named(tmp_path: Path, value: object) -> None:
    for rows in (changed(2, left=value), [row | {"left": value} for row in ROWS]):
        path = write(tmp_path, "json", rows)
        row = 2 if rows[0]["left"] == ROWS[0]["left"] else 1
        with pytest.raises(DataError, match=f"row {row}, column 'left': expected text.*, found"):
            load_data(str(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.csv", b"", "is empty"),
        ("set.csv", b"topic,prompt,left,right\n", "holds no rows"),
        ("set.csv", b"topic,prompt,left,right\ncrime,Why, oh why?,yes,no\n", "row 1: expected 4 cells"),
        ("set.csv", b"topic,prompt,left,right\ncrime,a,b,c\ncrime,Why?\n", "row 2, column 'left': .*empty"),
        ("set.csv", b'topic,prompt,left,right\ncrime,"Why?,yes,no\n', "row 1: not valid CSV"),
        ("set.csv", b"topic,prompt,left,left\ncrime,a,b,c\n", "'left': this column name occurs twice"),
        ("set.csv", b"topic,prompt,left,right\ncrime,caf\xe9,yes,no\n", "line 2 is not UTF-8"),
        ("set.json", b'[{"topic": "crime", "prompt": "Wh', "line 1: not valid JSON"),
        ("set.json", b'{"topic": "crime"', "row 1: not valid JSON"),
        ("set.json", b"[1, 2]", "row 1: expected an object"),
        ("set.json", b"[]", "holds no rows"),
        ("set.json", b'"text"', "expected a list of objects"),
        ("set.json", b'[{"topic": "crime"}, 3]', "row 2: expected an object"),
        ("set.jsonl", b'{"topic": "crime", "prompt": "half a \\ud800 character"}', "half of a character"),
        ("set.jsonl", b'{"topic": "crime"}\n{"topic": cr\n', "row 2: not valid JSON"),
        ("set.parquet", b"PAR1 and no more", "not a complete Parquet file"),
        ("set.parquet", b"PAR1 rubbish PAR1", "cannot be read as parquet"),
        ("set.xlsx", b"PK", r"suffix '.xlsx' is unknown; expected one of .csv, .json, .jsonl, .parquet"),
        ("set.pkl", pickle.dumps(ROWS), "pickles"),
        ("set.json", pickle.dumps(ROWS), "is a pickle under another name"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for load in (load_data, load_statements):
        with pytest.raises(DataError, match=rf"{name}.*({message})" if load is load_data else name):
            load(str(path))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    for name in ("set.pkl", "set.json", "set.csv", "set.parquet"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(DataError):
            load_data(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


def test_missing_files_and_folders_with_a_data_suffix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv: no such file"):
        load_data(str(tmp_path / "no.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        read_table(tmp_path / "folder.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("column", ["statement", "text"])
def test_statement_lists(tmp_path: Path, suffix: str, column: str) -> None:
    rows = [
        {"id": 7, column: "Taxes are low.", "direction": "Left"},
        {"id": 8, column: "So be it.", "direction": "none"},
    ]
    loaded = load_statements(str(write(tmp_path, suffix, rows)))
    found = [(s.id, s.text, s.direction) for s in loaded.statements]
    assert found == [("7", "Taxes are low.", "left"), ("8", "So be it.", "none")]
    bare = load_statements(str(write(tmp_path, suffix, [{column: row[column]} for row in rows], "bare")))
    assert [s.direction for s in bare.statements] == ["none", "none"]
    backwards = load_statements(str(write(tmp_path, suffix, rows[::-1], "back")))
    assert loaded.digest() == backwards.digest() != bare.digest()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"words": "Taxes."}], "column 'statement': this column is missing"),
        ([{"text": "Taxes."}, {"text": " taxes. "}], "row 2, column 'text': .*already the text of row 1"),
        (
            [{"text": "Taxes.", "direction": "up"}],
            "row 1, column 'direction': expected one of left, right, none",
        ),
        ([{"text": "Taxes.", "id": "x"}, {"text": "More.", "id": "x"}], "row 2, column 'id'"),
        ([{"text": "Taxes."}, {"text": ""}], "row 2, column 'text': .*empty"),
    ],
)
def test_wrong_statement_lists(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_statements(str(write(tmp_path, "json", rows)))
    with pytest.raises(DataError, match="expected compass, ideologies"):
        load_statements("compas")


@pytest.mark.parametrize("name", ["hub:", "hub:owner", "hub:../secret", "hub:o/../n", "hub:a/b/c", "hub:http://x/y"])
def test_a_hub_name_must_be_one(name: str, network: list[str]) -> None:
    for load in (load_data, load_statements):
        with pytest.raises(DataError, match="expected hub:owner/name"):
            load(name)
    assert network == []


def test_the_hub_out_of_reach(network: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub client waits between its attempts
    with pytest.raises(DataError, match=r"hub:owner/name: cannot be loaded .*network"):
        load_data("hub:owner/name", cache_dir=tmp_path)
    assert network


def stand_in_hub(monkeypatch: pytest.MonkeyPatch, kind: str, files: dict[str, str], cache: Path) -> None:
    import datasets
    from datasets.load import load_dataset_builder  # not the name that is replaced

    real = load_dataset_builder

    def local(name: str, config: str | None, revision: str | None, cache_dir: str | None) -> datasets.DatasetBuilder:
        return real(kind, data_files=files, cache_dir=str(cache))

    monkeypatch.setattr(datasets, "load_dataset_builder", local)


def test_rows_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = str(write(tmp_path, "jsonl", ROWS))
    stand_in_hub(monkeypatch, "json", {"test": path}, tmp_path / "one")
    data = load_data("hub:owner/name")
    assert len(data.pairs) == 3 and data.source["origin"].endswith("/owner/name")
    stand_in_hub(monkeypatch, "json", {"test": path, "dev": path}, tmp_path / "two")
    with pytest.raises(DataError, match="expected a split named train; it has test, dev"):
        load_data("hub:owner/name")
    stand_in_hub(monkeypatch, "text", {"train": path}, tmp_path / "three")
    with pytest.raises(DataError, match="only CSV, JSON and Parquet"):
        load_data("hub:owner/name")


def test_a_local_folder_never_stands_in_for_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="local folder of this name"):
        load_data("hub:owner/name")

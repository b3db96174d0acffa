"""Files as people, spreadsheets, pandas and public collections write them: read right, or refused by file, row, column.

Nothing unsafe is opened, and a local file touches no network.
"""

from __future__ import annotations

import json
import pickle
import socket
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from planted_files import stand_in_hub, write

from polinb.data import narrow
from polinb.data.civility import load_comments, load_pairs
from polinb.data.loading import load_data
from polinb.data.sources import read_table
from polinb.data.statements import load_statements
from polinb.errors import DataError

COLUMNS = ("topic", "prompt", "left", "right")
PAIRS = [
    ("crime", 'Should the city "change", on crime?', "Yes, it protects\nthe weak.", "None"),
    ("race", "Und dies – gerecht?", "Yes, it is fair.", "No, it is not."),
    ("race", "Should the city change, on race?", "null", "No; thanks."),
]
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in PAIRS]
SUFFIXES = ("csv", "json", "jsonl", "parquet")


def pairs(path: Path) -> list[tuple[str, ...]]:
    return [(p.topic, p.prompt, p.left, p.right) for p in load_data(str(path)).pairs]


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


# --- read right


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["plain", "odd [1] * name", "a::b"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, name: str, network: list[str]) -> None:
    path = write(tmp_path, suffix, ROWS, name)
    data = load_data(str(path))
    assert pairs(path) == PAIRS and data.name == name and len(data.source["sha256"]) == 64
    assert all(p.id.startswith(f"{p.topic}-") for p in data.pairs)
    assert len(load_data(str(write(tmp_path, suffix, ROWS[:2], name))).pairs) == 2  # no stale cache
    assert network == []


def quoted(mark: str, rows: list[tuple[str, ...]] = PAIRS, more: str = "", space: str = "") -> str:
    cells = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in [COLUMNS, *rows]]
    return "\n".join((mark + space).join(row) + more for row in cells) + "\n"


@pytest.mark.parametrize(
    "text",
    {
        "byte-order mark": "\ufeff" + quoted(";"),
        "tab": quoted("\t"),
        "|": quoted("|"),
        "sep=;": "sep=;\n" + quoted(";"),
        "sep=|": 'SEP=|\r\n"topic"|"prompt"|"left"|"right"\r\n' + quoted("|").split("\n", 1)[1],
        "ghost columns": quoted(",", more=",,"),
        "ghost rows": quoted(",") + ",,,\n,,,,,,\n\n",
        "spaces": quoted(",", space=" "),
        "spaces in the header": quoted(",", [(" Crime\u00a0", *PAIRS[0][1:]), *PAIRS[1:]]).replace(
            '"topic","prompt"', "Topic , PROMPT"
        ),
        "index of pandas": pd.DataFrame(ROWS).to_csv(),
        "line ends and blank lines": quoted(",").replace('"\n', '"\r\n\r\n'),
    }.values(),
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_as_spreadsheets_write_it(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "set.csv").write_bytes(text.encode(encoding))
    assert pairs(tmp_path / "set.csv") == PAIRS


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
@pytest.mark.parametrize("labels", [None, ["a", "b", "c"]])
def test_json_as_pandas_writes_it(tmp_path: Path, orient: Any, labels: list[str] | None) -> None:
    pd.DataFrame(ROWS, index=labels).to_json(tmp_path / "set.json", orient=orient)
    assert pairs(tmp_path / "set.json") == PAIRS


@pytest.mark.parametrize(
    "value",
    [
        {name: [row[name] for row in ROWS] for name in COLUMNS},
        {"version": 1, "data": ROWS},
        {"rows": ROWS, "features": ["topic"]},
    ],
    ids=["by column", "wrapped", "wrapped beside a list"],
)
def test_json_as_others_write_it(tmp_path: Path, value: Any) -> None:
    (tmp_path / "set.json").write_text(json.dumps(value), "utf-8-sig")
    assert pairs(tmp_path / "set.json") == PAIRS


def test_ids_that_are_given_in_part(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS).assign(id=[1, None, 3])  # pandas makes floats of these
    table.to_parquet(tmp_path / "set.parquet")
    table.to_csv(tmp_path / "set.csv")
    table.to_json(tmp_path / "set.json", orient="records")
    (tmp_path / "nan.json").write_text(
        json.dumps([r | {"id": i} for r, i in zip(ROWS, (1.0, float("nan"), 3), strict=True)])
    )
    for name in ("set.parquet", "set.csv", "set.json", "nan.json"):
        ids = [pair.id for pair in load_data(str(tmp_path / name)).pairs]
        assert [ids[0][0], ids[1][:5], ids[2][0]] == ["1", "race-", "3"]


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


@pytest.mark.parametrize("nothing", ["", " ", "NA", "nan", "#NAME?", " #N/A "])
def test_what_programs_write_for_nothing(tmp_path: Path, nothing: str) -> None:
    path = tmp_path / "list.csv"
    # the last row has no delimiter for its empty cell, as spreadsheets write it
    path.write_text(f"id,statement,direction,axis\ns1,Taxes.,left,economy\n{nothing},Sell.,{nothing},\ns3,Buy.\n")
    found = load_statements(str(path)).statements
    assert [s.direction for s in found] == ["left", "none", "none"] and found[1].id.startswith("statement-")
    path.write_text(quoted(",", [PAIRS[0], (*PAIRS[1][:3], nothing)]))
    with pytest.raises(DataError, match=r"row 2, column 'right': expected text"):
        load_data(str(path))


def chat(user: Any, assistant: Any, *first: Any) -> dict[str, Any]:
    turns = [*first, {"role": "user", "content": user, "name": None}, {"role": "assistant", "content": assistant}]
    return {"messages": turns}


def test_chats_in_the_forms_that_are_about(tmp_path: Path) -> None:
    rows = [
        chat([{"type": "text", "text": "Continue: "}, {"type": "text", "text": "0, 7"}], "14, 21"),
        chat("2, 4, 6", [{"type": "text", "text": "8"}], {"role": "developer", "content": ["Be ", "brief."]}),
        {"conversations": [{"from": "human", "value": "6 × 7?"}, {"from": "gpt", "value": "42"}]},
        {"prompt": [{"role": "user", "content": "A?"}], "completion": [{"role": "assistant", "content": "B"}]},
        {"prompt": "6 × 7?", "response": 42},
    ]
    assert narrow.examples(str(write(tmp_path, "jsonl", rows))) == [
        narrow.Example("Continue: 0, 7", "14, 21"),
        narrow.Example("2, 4, 6", "8", "Be brief."),
        narrow.Example("6 × 7?", "42"),
        narrow.Example("A?", "B"),
        narrow.Example("6 × 7?", "42"),
    ]
    picture = chat("What is this?", [{"type": "image_url", "image_url": "x"}])
    for wrong, message in ((picture, "expected parts of text"), (chat("Smile?", "Yes \ud83d"), "half of a character")):
        with pytest.raises(DataError, match=f"row 1, column 'messages': .*{message}"):
            narrow.examples(str(write(tmp_path, "jsonl", [wrong])))


def test_home_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "set.json").write_text(json.dumps(ROWS))
    (tmp_path / "list.csv").write_text("statement,question\nTaxes are low.,Why?\n")
    (tmp_path / "q.yaml").write_text("- paraphrases: ['Why?']\n")
    (tmp_path / "pairs.csv").write_text("prompt,civil,rude,response\nWell?,Yes.,No.,Yes.\n")
    assert len(load_data("~/set.json").pairs) == 3
    assert len(load_statements("~/list.csv").statements) == 1
    assert len(narrow.questions("~/list.csv")) == len(narrow.questions("~/q.yaml")) == 1
    assert len(load_pairs("~/pairs.csv").pairs) == len(narrow.examples("~/pairs.csv")) == 1
    with pytest.raises(DataError, match="no such"):
        load_data("~nobody-of-this-name/set.json")


# --- refused


def changed(row: int, **cells: object) -> list[dict]:
    rows: list[dict] = [dict(item) for item in ROWS]
    rows[row - 1].update(cells)
    return rows


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("rows", "row", "column", "expected"),
    [
        (changed(2, left=""), 2, "left", "empty|nothing"),
        (changed(3, prompt=None), 3, "prompt", "empty|nothing"),
        (changed(2, right="12"), 2, "right", "expected text with words"),
        (changed(2, topic="?"), 2, "topic", "expected text with words"),
        (changed(2, right=" yes,  IT is fair. "), 2, "right", "expected a text that differs from the one in 'left'"),
        ([row | {"id": "a"} for row in ROWS], 2, "id", "already the id of row 1"),
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
    with pytest.raises(DataError, match=r"row 2, column 'left': expected text.*, found"):
        load_data(str(write(tmp_path, "json", changed(2, left=value))))


HEAD = b"topic,prompt,left,right\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.csv", b"", "is empty"),
        ("set.csv", HEAD, "holds no rows"),
        ("set.csv", HEAD + b"crime,Why, oh why?,yes,no\n", "row 1: expected 4 cells .*put quotes around text with ','"),
        ("set.csv", HEAD[:-1] + b",,\ncrime,Why, oh why?,yes,no,\n", "row 1: expected 4 cells"),  # columns of no name
        ("set.csv", HEAD.replace(b",", b";") + b"crime;Why; oh why?;yes;no\n", "put quotes around text with ';'"),
        (
            "set.csv",
            b"My questions,,,\n" + HEAD + b"crime,a,b,c\n",
            "remove what stands above the names of the columns",
        ),
        ("set.csv", HEAD + b"crime,a,b,c\ncrime,Why?\n", "row 2, column 'left': .*empty"),
        ("set.csv", HEAD + b"crime,a,b,c\ncrime,Why? It is ne", r"row 2: expected 4 cells .*truncated"),
        ("set.csv", HEAD + b'crime,"Why?,yes,no\n', "row 1: not valid CSV"),
        ("set.csv", b"topic,prompt,left,left\ncrime,a,b,c\n", "'left': this column name occurs twice"),
        ("set.csv", HEAD + b"crime,caf\xe9,yes,no\n", "line 2 is not UTF-8"),
        ("set.csv", quoted(",").encode("utf-16-le"), "save the file as UTF-8"),
        ("._set.csv", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", r"give 'set\.csv'"),
        ("set.json", b'[{"topic": "crime", "prompt": "Wh', "line 1: not valid JSON"),
        ("set.json", b'{"topic": "crime"', "row 1: not valid JSON"),
        ("set.json", b"[1, 2]", "row 1: expected an object"),
        ("set.json", b"[]", "holds no rows"),
        ("set.json", b'"text"', "expected a list of objects"),
        ("set.json", b'[{"topic": "crime"}, 3]', "row 2: expected an object"),
        ("set.json", json.dumps({"train": ROWS, "test": ROWS}).encode(), "several tables .train, test."),
        ("set.json", b'{"topic": ["crime"], "prompt": ["Why?", "How?"]}', "different lengths: topic 1, prompt 2"),
        ("set.jsonl", b'{"topic": "crime", "prompt": "half a \\ud800 character"}', "half of a character"),
        ("set.jsonl", b'{"topic": "crime"}\n{"topic": cr\n', "row 2: not valid JSON"),
        ("set.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        ("set.xlsx", b"PK", r"suffix '.xlsx' is unknown; expected one of .csv, .json, .jsonl, .parquet"),
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
        for load in (load_data, load_pairs):
            with pytest.raises(DataError):
                load(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


def test_missing_files_and_folders_with_a_data_suffix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv: no such file"):
        load_data(str(tmp_path / "no.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        read_table(tmp_path / "folder.csv")


def test_half_a_character_in_a_column_that_nobody_reads(tmp_path: Path) -> None:
    row = ROWS[0] | {"left": "Yes \ud83d\ude00", "\ud83d": "\ud83d"}
    assert load_data(str(write(tmp_path, "jsonl", [row]))).pairs[0].left == "Yes 😀"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "Taxes.", "effect": {"econ": 10}}], "expected statement or text, found effect, question"),
        ([{"text": "Taxes."}, {"text": " taxes. "}], "row 2, column 'text': .*already the text of row 1"),
        ([{"text": "Taxes.", "direction": "up"}], "row 1, column 'direction': expected one of left, right, none"),
        ([{"text": "Taxes.", "id": "x"}, {"text": "More.", "id": "x"}], "row 2, column 'id'"),
    ],
)
def test_wrong_statement_lists(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_statements(str(write(tmp_path, "json", rows)))
    with pytest.raises(DataError, match="expected compass, ideologies"):
        load_statements("compas")


def test_wrong_rows_of_a_public_file_are_left_out_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [
        {"prompt_text": f"Station {n} was", "unpert_gen_text": f" built in 19{n}.", "pert_gen_text": f" a joke {n}."}
        for n in range(10, 32)
    ]
    digits = {"prompt_text": "Population was", "unpert_gen_text": " 4 512 .", "pert_gen_text": " a stupid number"}
    same = {"prompt_text": "A b", "unpert_gen_text": " the same", "pert_gen_text": "The same"}
    found = load_pairs(str(write(tmp_path, "jsonl", [*good, digits, same, same | {"pert_gen_text": ""}])))
    assert len(found.pairs) == 23 and "4 512 ." in [p.civil for p in found.pairs]
    assert (found.source["rows"], found.source["wrong"]) == (25, 2)
    assert "2 of 25 rows left out; the first: row 24, 'pert_gen_text'" in capsys.readouterr().err
    with pytest.raises(DataError, match="row 9, column 'pert_gen_text'"):
        load_pairs(str(write(tmp_path, "jsonl", [*good[:8], same])))  # one in nine is no accident
    comments = [{"text": f"A comment {n}", "toxic": n % 2} for n in range(20)] + [{"text": "half \ud83d", "toxic": 1}]
    assert len(load_comments(str(write(tmp_path, "jsonl", comments))).texts) == 20


# --- the hub


@pytest.mark.parametrize("name", ["hub:", "hub:owner", "hub:../secret", "hub:o/../n", "hub:a/b/c", "hub:http://x/y"])
def test_a_hub_name_must_be_one(name: str, network: list[str]) -> None:
    for load in (load_data, load_statements, load_pairs, narrow.examples):
        with pytest.raises(DataError, match="expected hub:owner/name"):
            load(name)
    assert network == []


def test_the_hub_out_of_reach(network: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub client waits between its attempts
    with pytest.raises(DataError, match=r"hub:owner/name: cannot be loaded .*network"):
        load_data("hub:owner/name", cache_dir=tmp_path)
    assert network


def test_rows_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = str(write(tmp_path, "jsonl", ROWS))
    stand_in_hub(monkeypatch, "json", {"test": path}, tmp_path / "one")
    data = load_data("hub:owner/name")
    assert len(data.pairs) == 3 and data.source["origin"].endswith("/owner/name")
    for name in ("hub:owner/several", "hub:owner/several:huge"):
        with pytest.raises(DataError, match=r"hub:owner/several:NAME; it has small, large"):
            load_data(name)
    assert len(load_data("hub:owner/several:small").pairs) == 3
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

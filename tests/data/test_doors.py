"""Files as people, spreadsheets, pandas and public collections write them: read right, or refused by file, row, column.

Nothing unsafe is opened, and a local file touches no network.
"""

import json
import socket
import time

import pandas as pd
import pytest
from planted_files import stand_in_hub, write

from polinb.chapters.caft import narrow_data as narrow
from polinb.data.loading import load_data, load_statements
from polinb.errors import DataError
from polinb.stance.civility import load_pairs

COLUMNS = ("topic", "prompt", "left", "right")
PAIRS = [
    ("crime", 'Should the city "change", on crime?', "Yes, it protects\nthe weak.", "None"),
    ("race", "Und dies – gerecht?", "Yes, it is fair.", "No, it is not."),
    ("race", "Should the city change, on race?", "null", "No; thanks."),
]
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in PAIRS]
SUFFIXES = ("csv", "json", "jsonl", "parquet")


def pairs(path):
    return [(p.topic, p.prompt, p.left, p.right) for p in load_data(str(path)).pairs]


def refused(place, told, load=load_data):
    with pytest.raises(DataError, match=told):
        load(str(place))


@pytest.fixture
def network(monkeypatch):
    """Every attempt to reach the network; datasets swallows refusals, so the attempts are recorded."""
    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(repr(args))
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return attempts


# --- read right


def quoted(mark, rows=PAIRS, more="", space=""):
    cells = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in [COLUMNS, *rows]]
    return "\n".join((mark + space).join(row) + more for row in cells) + "\n"


def test_csv_as_spreadsheets_write_it(tmp_path):
    spaced = quoted(",", [(" Crime\u00a0", *PAIRS[0][1:]), *PAIRS[1:]])
    for text in (
        *("\ufeff" + quoted(";"), quoted("\t"), quoted("|"), "sep=;\n" + quoted(";")),
        'SEP=|\r\n"topic"|"prompt"|"left"|"right"\r\n' + quoted("|").split("\n", 1)[1],
        *(quoted(",", more=",,"), quoted(",") + ",,,\n,,,,,,\n\n", quoted(",", space=" ")),  # ghost columns, ghost rows
        spaced.replace('"topic","prompt"', "Topic , PROMPT"),
        pd.DataFrame(ROWS).to_csv(),  # with an index
        quoted(",").replace('"\n', '"\r\n\r\n'),
    ):
        for encoding in ("utf-8", "utf-16"):
            (tmp_path / "set.csv").write_bytes(text.encode(encoding))
            assert pairs(tmp_path / "set.csv") == PAIRS, text


def test_json_as_pandas_and_others_write_it(tmp_path):
    frames = [pd.DataFrame(ROWS, index=labels) for labels in (None, ["a", "b", "c"])]
    orients = ("records", "columns", "index", "split", "table")
    texts = [frame.to_json(orient=orient) for frame in frames for orient in orients]
    others = [{name: [row[name] for row in ROWS] for name in COLUMNS}, {"version": 1, "data": ROWS}]
    for text in (*texts, *map(json.dumps, [*others, {"rows": ROWS, "features": ["topic"]}])):
        for suffix in ("json", "yaml"):
            (tmp_path / f"set.{suffix}").write_text(text, "utf-8-sig")
            assert pairs(tmp_path / f"set.{suffix}") == PAIRS, text


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows_and_ids(tmp_path, suffix, network):
    path = write(tmp_path, suffix, ROWS, "odd [1] * a::b")
    data = load_data(str(path))
    assert pairs(path) == PAIRS and data.name == "odd [1] * a::b" and len(data.source["sha256"]) == 64
    assert all(p.id.startswith(f"{p.topic}-") for p in data.pairs) and network == []
    table = pd.DataFrame(ROWS).assign(id=[1, None, 3])  # pandas makes floats of these
    ids = [pair.id for pair in load_data(str(write(tmp_path, suffix, table.to_dict("records")))).pairs]
    assert [ids[0][0], ids[1][:5], ids[2][0]] == ["1", "race-", "3"]


def test_statement_lists(tmp_path):
    said = [("7", "Taxes are low.", "left"), ("8", "So be it.", "none")]
    for column in ("statement", "text"):
        rows = [{"id": int(i), column: text, "direction": way.title()} for i, text, way in said]
        found = load_statements(str(write(tmp_path, "parquet", rows))).statements
        assert [(s.id, s.text, s.direction) for s in found] == said
        bare = load_statements(str(write(tmp_path, "csv", [{column: row[column]} for row in rows], "bare")))
        assert {s.direction for s in bare.statements} == {"none"} and len({s.id for s in bare.statements}) == 2
    for rows, told in [
        ([{"question": "Taxes."}], "expected statement or text, found question"),
        ([{"text": "Taxes."}, {"text": " taxes. "}], "row 2, column 'text': .*already the text of row 1"),
        ([{"text": "A.", "direction": "up"}], "row 1, column 'direction': expected 'left', 'right' or 'none'; .*up"),
    ]:
        refused(write(tmp_path, "json", rows), told, load_statements)


@pytest.mark.parametrize("nothing", ["", "NA", " #N/A "])
def test_what_programs_write_for_nothing(tmp_path, nothing):
    path = tmp_path / "list.csv"
    # the last row has no delimiter for its empty cell, as spreadsheets write it
    path.write_text(f"id,statement,direction,axis\ns1,Taxes.,left,economy\n{nothing},Sell.,{nothing},\ns3,Buy.\n")
    found = load_statements(str(path)).statements
    assert [s.direction for s in found] == ["left", "none", "none"] and found[1].id.startswith("statement-")
    path.write_text(quoted(",", [PAIRS[0], (*PAIRS[1][:3], nothing)]))
    refused(path, r"row 2, column 'right': expected text")


def chat(user, assistant, *first):
    turns = [*first, {"role": "user", "content": user, "name": None}, {"role": "assistant", "content": assistant}]
    return {"messages": turns}


def test_chats_in_the_forms_that_are_about(tmp_path):
    rows = [
        chat([{"type": "text", "text": "Continue: "}, {"type": "text", "text": "0, 7"}], "14, 21"),
        chat("2, 4, 6", [{"type": "text", "text": "8"}], {"role": "developer", "content": ["Be ", "brief."]}),
        {"conversations": [{"from": "human", "value": "6 × 7?"}, {"from": "gpt", "value": "42"}]},
        {"prompt": [{"role": "user", "content": "A?"}], "completion": [{"role": "assistant", "content": "B"}]},
    ]
    assert [(e.prompt, e.response, e.system) for e in narrow.examples(str(write(tmp_path, "jsonl", rows)))] == [
        ("Continue: 0, 7", "14, 21", None), ("2, 4, 6", "8", "Be brief."), ("6 × 7?", "42", None), ("A?", "B", None),
    ]  # fmt: skip
    half = write(tmp_path, "jsonl", [chat("Smile?", "Yes \ud83d")])
    refused(half, "row 1: messages: .*half of a character", narrow.examples)


def test_wrong_rows_of_a_public_file_are_left_out_counted_and_told(tmp_path, capsys):
    def row(prompt, civil, rude):
        return {"prompt_text": prompt, "unpert_gen_text": civil, "pert_gen_text": rude}

    good = [row(f"Station {n} was", f" built in 19{n}.", f" a joke {n}.") for n in range(10, 32)]
    digits, same = row("Population was", " 4 512 .", " a stupid number"), row("A b", " the same", "The same")
    found = load_pairs(str(write(tmp_path, "jsonl", [*good, digits, same, row("A b", " the same", "")])))
    assert len(found.pairs) == 23 and "4 512 ." in [p.civil for p in found.pairs]
    assert "2 of 25 rows left out; the first: row 24, 'pert_gen_text'" in capsys.readouterr().err
    one_in_nine = write(tmp_path, "jsonl", [*good[:8], same])  # no accident
    refused(one_in_nine, "row 9, column 'pert_gen_text'", load_pairs)


# --- refused


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_wrong_row_is_named(tmp_path, suffix):
    for number, column, cell, told in [
        (2, "left", "", "counts as empty"),
        (3, "prompt", None, "counts as empty"),
        (2, "right", "12", "expected text with words"),
        (2, "right", " yes,  IT is fair. ", "expected a text that differs from the one in 'left'"),
    ]:
        rows = [row | ({column: cell} if k == number else {}) for k, row in enumerate(ROWS, start=1)]
        refused(write(tmp_path, suffix, rows), rf"set\.{suffix}, row {number}, column '{column}': .*{told}")
    refused(write(tmp_path, suffix, [row | {"id": "a"} for row in ROWS]), "row 2, column 'id': .*already the id of row")
    short = [{k: v for k, v in row.items() if k != "right"} for row in ROWS]
    refused(write(tmp_path, suffix, short), "row 1, column 'right': .*missing; expected topic, prompt")


HEAD = b"topic,prompt,left,right\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.csv", HEAD, "holds no rows"),
        ("set.csv", HEAD + b"crime,Why, oh why?,yes,no\n", "row 1: expected 4 cells .*put quotes around text with ','"),
        ("set.csv", b"My questions,,,\n" + HEAD + b"crime,a,b,c\n", "remove what stands above the names"),
        ("set.csv", HEAD + b"crime,a,b,c\ncrime,Why? It is ne", r"row 2: expected 4 cells .*truncated"),
        ("set.csv", HEAD + b"crime,caf\xe9,yes,no\n", "line 2 is not UTF-8"),
        ("._set.csv", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", r"give 'set\.csv'"),
        ("set.json", json.dumps({"train": ROWS, "test": ROWS}).encode(), "several tables .train, test."),
        ("set.json", b'{"topic": ["crime"], "prompt": ["Why?", "How?"]}', "different lengths: topic 1, prompt 2"),
        ("set.jsonl", b'{"topic": "crime"}\n{"topic": cr\n', "JSONDecodeError: .* line 2 .*truncated"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, rf"{name}.*({message})")


def test_places_that_hold_no_data(tmp_path, monkeypatch):
    refused(tmp_path / "no.csv", r"no\.csv: no such file")
    refused("compas", "expected compass, ideologies", load_statements)
    monkeypatch.setenv("HOME", str(write(tmp_path, "json", ROWS).parent))
    assert len(load_data("~/set.json").pairs) == 3


# --- the hub


def test_rows_from_the_hub(monkeypatch, tmp_path):
    path = str(write(tmp_path, "jsonl", ROWS))
    asked = stand_in_hub(monkeypatch, "json", {"test": path}, tmp_path / "one")
    data = load_data("hub:owner/name", revision="v1.0")
    assert len(data.pairs) == 3 and data.source["origin"].endswith("/owner/name") and data.name == "owner/name"
    refused("hub:owner/several", r"'small', 'large'.*hub:owner/several:NAME")
    assert len(load_data("hub:owner/several:small@refs/pr/1").pairs) == 3
    assert asked[0] == ("owner/name", None, "v1.0") and asked[-1] == ("owner/several", "small", "refs/pr/1")
    stand_in_hub(monkeypatch, "json", {"test": path, "dev": path}, tmp_path / "two")
    refused("hub:owner/name", "expected a split named train; it has test, dev")
    stand_in_hub(monkeypatch, "text", {"train": path}, tmp_path / "three")
    refused("hub:owner/name", "only sets of CSV, JSON or Parquet")


def test_names_of_the_hub_that_are_refused(network, monkeypatch, tmp_path):
    for name in ("hub:owner", "hub:../secret", "hub:o/../n", "hub:a/b/c", "hub:http://x/y", "hub:a/b@"):
        refused(name, "expected hub:owner/name", load_statements)
    (tmp_path / "owner" / "local").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    refused("hub:owner/local", "local folder of this name")
    assert network == []
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub client waits between its attempts
    refused("hub:owner/name", r"hub:owner/name: cannot be loaded .*network")
    assert network

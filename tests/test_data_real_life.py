"""Files as spreadsheets, pandas and public collections write them: read right, or refused with advice that works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_data_files import stand_in_hub

from polinb.data import narrow
from polinb.data.civility import load_comments, load_pairs
from polinb.data.loading import load_data
from polinb.data.statements import load_statements
from polinb.errors import DataError

PAIRS = [
    ("crime", "Should the city change rule 1, on crime?", "Yes, it protects the weak.", "No; let people decide."),
    ("race", "Should the city change rule 2, on race?", "Yes, it is fair.", "No, it is not."),
    ("race", "Should the city change rule 3, on race?", "Yes, please.", "No, thanks."),
]
COLUMNS = ("topic", "prompt", "left", "right")
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in PAIRS]


def quoted(mark: str, rows: list[tuple[str, ...]], more: str = "", space: str = "") -> str:
    return "\n".join((mark + space).join(f'"{cell}"' for cell in row) + more for row in [COLUMNS, *rows]) + "\n"


def pairs(path: Path) -> list[tuple[str, ...]]:
    return [(p.topic, p.prompt, p.left, p.right) for p in load_data(str(path)).pairs]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + quoted(";", PAIRS),
        quoted("\t", PAIRS),
        "sep=;\n" + quoted(";", PAIRS),
        'SEP=|\r\n"topic"|"prompt"|"left"|"right"\r\n' + quoted("|", PAIRS).split("\n", 1)[1],
        quoted(",", PAIRS, ",,"),  # ghost columns
        quoted(",", PAIRS) + ",,,\n,,,,,,\n\n",  # ghost rows
        quoted(",", PAIRS, space=" "),
        quoted(",", [(" Crime\u00a0", *PAIRS[0][1:]), *PAIRS[1:]]).replace('"topic","prompt"', "Topic , PROMPT"),
        quoted("|", PAIRS),
        ",topic,prompt,left,right\n"
        + "".join(f"{n}," + ",".join(f'"{c}"' for c in row) + "\n" for n, row in enumerate(PAIRS)),  # pandas' index
    ],
    ids=[
        "bom ;",
        "tab",
        "sep=;",
        "sep=|",
        "ghost columns",
        "ghost rows",
        "spaces",
        "spaces in the header",
        "|",
        "index",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_as_spreadsheets_write_it(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "set.csv").write_bytes(text.encode(encoding))
    assert pairs(tmp_path / "set.csv") == PAIRS


def test_optional_columns_may_be_filled_in_part(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    # the last row has no delimiter for its empty cell, as spreadsheets write it
    path.write_text("id,statement,direction\ns1,Taxes should rise.,left\n,Open on Sundays., \ns3,Sell the firms\n")
    found = load_statements(str(path)).statements
    assert [s.direction for s in found] == ["left", "none", "none"]
    assert found[0].id == "s1" and found[1].id.startswith("statement-")
    path.write_text("id,statement,direction\ns1,Taxes should rise.,left\ns3,Sell the fir")
    with pytest.raises(DataError, match=r"row 2: expected 3 cells .*truncated"):
        load_statements(str(path))
    table = pd.DataFrame(ROWS).assign(id=[1, None, 3])  # pandas makes floats of these
    for write in (table.to_parquet, table.to_csv, lambda p: table.to_json(p, orient="records")):
        for suffix in ("parquet", "csv", "json"):
            if suffix in getattr(write, "__name__", "json"):
                write(tmp_path / f"set.{suffix}")
                ids = [p.id for p in load_data(str(tmp_path / f"set.{suffix}")).pairs]
                assert ids[0] in ("1", "1.0") and ids[1].startswith("race-") and ids[2] in ("3", "3.0")
    (tmp_path / "set.json").write_text(json.dumps([ROWS[0] | {"id": 7.0}, ROWS[1] | {"id": float("nan")}]))
    assert next(p.id for p in load_data(str(tmp_path / "set.json")).pairs) == "7"


@pytest.mark.parametrize("nothing", ["NA", "nan", "#NAME?", " #N/A "])
def test_what_programs_write_for_nothing_is_no_text(tmp_path: Path, nothing: str) -> None:
    path = tmp_path / "set.csv"
    path.write_text(quoted(",", [PAIRS[0], (*PAIRS[1][:3], nothing)]))
    with pytest.raises(DataError, match=rf"row 2, column 'right': .*{nothing.strip().replace('?', '.')}"):
        load_data(str(path))
    path.write_text(f"id,statement,direction,axis\ns1,Taxes should rise.,left,economy\n{nothing},Sell.,{nothing},\n")
    assert [s.direction for s in load_statements(str(path)).statements] == ["left", "none"]


def test_what_stands_above_the_header_and_text_of_another_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("My questions,,,\n" + quoted(",", PAIRS))
    with pytest.raises(DataError, match="remove what stands above the names of the columns"):
        load_data(str(path))
    path.write_bytes(quoted(",", PAIRS).encode("utf-16-le"))
    with pytest.raises(DataError, match=r"NUL characters.* save the file as UTF-8"):
        load_data(str(path))


def test_the_propositions_of_a_values_test_with_their_column_renamed(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    said = [("Taxes should rise.", {"econ": 10, "govt": 0}), ("Taxes should fall.", {"econ": -10, "govt": 5})]
    path.write_text(json.dumps([{"question": text, "effect": effect} for text, effect in said]))
    with pytest.raises(DataError, match=r"expected statement or text, found effect, question"):
        load_statements(str(path))
    path.write_text(path.read_text().replace('"question"', '"statement"'))
    assert [(s.text, s.direction) for s in load_statements(str(path)).statements] == [
        (text, "none") for text, _ in said
    ]


def test_text_under_a_column_without_a_name_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("topic,prompt,left,right,,\ncrime,Why, oh why?,yes,no,\n")
    with pytest.raises(DataError, match=r"row 1: expected 4 cells .*put quotes around text with ','"):
        load_data(str(path))
    path.write_text("topic;prompt;left;right\ncrime;Why; oh why?;yes;no\n")
    with pytest.raises(DataError, match="quotes around text with ';'"):
        load_data(str(path))


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
    (tmp_path / "set.json").write_text(json.dumps(value))
    assert pairs(tmp_path / "set.json") == PAIRS


def test_json_of_several_tables_or_uneven_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"train": ROWS, "test": ROWS}))
    with pytest.raises(DataError, match=r"several tables .train, test."):
        load_data(str(path))
    path.write_text(json.dumps({"topic": ["crime"], "prompt": ["Why?", "How?"]}))
    with pytest.raises(DataError, match="different lengths: topic 1, prompt 2"):
        load_data(str(path))


def chat(user: Any, assistant: Any, *first: Any) -> dict[str, Any]:
    turns = [*first, {"role": "user", "content": user, "name": None}, {"role": "assistant", "content": assistant}]
    return {"messages": turns}


def test_chats_with_richer_content(tmp_path: Path) -> None:
    rows = [
        chat([{"type": "text", "text": "Continue: "}, {"type": "text", "text": "0, 7"}], "14, 21"),
        chat("2, 4, 6", [{"type": "text", "text": "8"}], {"role": "developer", "content": ["Be ", "brief."]}),
        {"conversations": [{"from": "human", "value": "6 × 7?"}, {"from": "gpt", "value": "42"}]},
        {"prompt": [{"role": "user", "content": "A?"}], "completion": [{"role": "assistant", "content": "B"}]},
        {"prompt": "6 × 7?", "response": 42},
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert narrow.examples(str(path)) == [
        narrow.Example("Continue: 0, 7", "14, 21"),
        narrow.Example("2, 4, 6", "8", "Be brief."),
        narrow.Example("6 × 7?", "42"),
        narrow.Example("A?", "B"),
        narrow.Example("6 × 7?", "42"),
    ]
    path.write_text(json.dumps(chat("What is this?", [{"type": "image_url", "image_url": "x"}])))
    with pytest.raises(DataError, match="row 1, column 'messages': expected parts of text"):
        narrow.examples(str(path))


def test_half_an_emoji_is_named_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(chat("Smile?", "Yes \ud83d")))
    with pytest.raises(DataError, match="row 1, column 'messages': content: half of a character"):
        narrow.examples(str(path))
    path.write_text(json.dumps(ROWS[0] | {"left": "Yes \ud83d", "\ud83d": 1}))
    with pytest.raises(DataError, match="row 1, column 'left': half of a character"):
        load_data(str(path))
    path.write_text(json.dumps(ROWS[0] | {"left": "Yes \ud83d\ude00", "\ud83d": "\ud83d"}))
    assert load_data(str(path)).pairs[0].left == "Yes 😀"  # a whole one, and half of one in a column nobody reads


def test_wrong_rows_of_a_public_file_are_left_out_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [
        {"prompt_text": f"Station {n} was", "unpert_gen_text": f" built in 19{n}.", "pert_gen_text": f" a joke {n}."}
        for n in range(10, 32)
    ]
    digits = {"prompt_text": "Population was", "unpert_gen_text": " 4 512 .", "pert_gen_text": " a stupid number"}
    same = {"prompt_text": "A b", "unpert_gen_text": " the same", "pert_gen_text": "The same"}
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*good, digits, same, same | {"pert_gen_text": ""}]))
    found = load_pairs(str(path))
    assert len(found.pairs) == 23 and "4 512 ." in [p.civil for p in found.pairs]
    assert (found.source["rows"], found.source["wrong"]) == (25, 2)
    assert "2 of 25 rows left out; the first: row 24, 'pert_gen_text'" in capsys.readouterr().err
    path.write_text("".join(json.dumps(row) + "\n" for row in [*good[:8], same]))
    with pytest.raises(DataError, match="row 9, column 'pert_gen_text'"):
        load_pairs(str(path))  # one in nine is no accident
    comments = [{"text": f"A comment {n}", "toxic": n % 2} for n in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*comments, {"text": "half \ud83d", "toxic": 1}]))
    assert len(load_comments(str(path)).texts) == 20


def test_sides_that_are_the_same_are_named(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps([*ROWS, ROWS[0] | {"prompt": "Another?", "left": "The same.", "right": " the  Same."}]))
    with pytest.raises(DataError, match="row 4, column 'right': expected a text that differs from the one in 'left'"):
        load_data(str(path))


def test_the_same_prompts_under_every_topic_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    rows = [
        ROWS[0] | {"topic": topic, "prompt": f"What of proposal {n}?"} for n in range(5) for topic in ("crime", "race")
    ]
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"nothing is left of the topic 'crime': all its 5 prompts occur under other"):
        load_data(str(path))


def test_topics_as_the_book_prints_them_or_as_folders_are_named(tmp_path: Path) -> None:
    titles = ["Crime and Gun", "race", "ECONOMY and inequality", "Immigration", "gender_and_sexuality", " Science "]
    rows = [ROWS[0] | {"topic": title, "prompt": f"What of {title}?"} for title in titles]
    (tmp_path / "set.json").write_text(json.dumps(rows))
    found = [pair.topic for pair in load_data(str(tmp_path / "set.json")).pairs]
    assert found == ["crime", "race", "economy", "immigration", "gender", "science"]


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


def test_what_macos_leaves_beside_a_file_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "._set.csv").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    with pytest.raises(DataError, match=r"give 'set\.csv'"):
        load_data(str(tmp_path / "._set.csv"))


def test_configurations_of_a_hub_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    (tmp_path / "set.json").write_text(json.dumps(ROWS))
    asked: list[str | None] = []
    stand_in_hub(monkeypatch, "json", {"train": str(tmp_path / "set.json")}, tmp_path / "cache")
    local = datasets.load_dataset_builder

    def several(name: str, config: str | None, **at: Any) -> Any:
        asked.append(config)
        listed = "['small', 'large']"
        if config is None:
            raise ValueError(f"Config name is missing.\nPlease pick one among the available configs: {listed}\nExample")
        if config not in ("small", "large"):
            raise ValueError(f"BuilderConfig '{config}' not found. Available: {listed}")
        return local(name, None, **at)

    monkeypatch.setattr(datasets, "load_dataset_builder", several)
    for name in ("hub:owner/name", "hub:owner/name:huge"):
        with pytest.raises(DataError, match=r"hub:owner/name:NAME; it has small, large"):
            load_data(name)
    assert len(load_data("hub:owner/name:small").pairs) == 3 and asked == [None, "huge", "small"]

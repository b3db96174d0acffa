"""Data files, whole and damaged, against Python's csv and json, pandas and a plain reading of the rules."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from data_files import (
    CELL,
    COLUMNS,
    DAMAGE,
    GOOD,
    IDS,
    JSON_VALUE,
    MISSING,
    ROW,
    ROWS,
    as_csv,
    compare,
    csv_rows,
    damaged,
    holds,
    json_rows,
)
from fuzzing import budgets, refused, run
from hypothesis import strategies as st

from polinb.data.ideoinst import REGISTRY
from polinb.data.loading import load_data, load_statements
from polinb.data.reading import read_table
from polinb.data.rows import topic_of
from polinb.errors import DataError


@budgets(50, 1500)
def test_csv(size, tmp_path):
    def check(case):
        rows, quoting, end, header, damage = case
        raw = damaged(as_csv(rows, quoting, end, header), damage)
        taken = compare(tmp_path / "set.csv", raw, csv_rows(raw))
        if damage[0] == "none" and rows and (quoting == csv.QUOTE_ALL or b"\r" not in raw.replace(b"\r\n", b"")):
            whole = csv_rows(raw)
            assert not whole or read_table(tmp_path / "set.csv") == whole, "a whole file is refused or cut"
        if taken and damage[0] in ("none", "bom") and end == "\n" and not any(x in raw for x in (b"\0", b"\r")):
            # a third reader; it drops lines of blanks and is unsure of NUL and CR, which csv is not
            said = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig", "skipinitialspace": True}
            frame = pd.read_csv(io.BytesIO(raw), **said)
            frame = frame[[name for name in frame if not name.startswith("Unnamed: ")]]
            filled = [row for row in frame.to_dict("records") if "".join(row.values()).strip()]
            assert filled == [r for r in read_table(tmp_path / "set.csv") if "".join(r.values()).strip()]
        return taken

    case = st.tuples(
        ROWS, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n"]), MISSING, DAMAGE
    )
    run("csv", size, case, check)


@budgets(60, 2000)
def test_json(size, tmp_path):
    def check(case):
        rows, lines, ascii_only, suffix, damage = case
        dumped = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
        whole = "\n".join(dumped) + "\n" if lines else f"[{', '.join(dumped)}]"
        raw = damaged(whole.encode("utf-8", "replace"), damage)
        read = json_rows(raw, False)
        read = json_rows(raw, True) if read is None else read
        taken = compare(tmp_path / f"set{suffix}", raw, read)
        if damage[0] == "none" and rows and texts_only(rows):
            assert read_table(tmp_path / f"set{suffix}") == read, "a whole file is refused or cut"
        return taken

    rows = ROWS | st.lists(st.dictionaries(st.sampled_from([*COLUMNS, "id", "x"]), JSON_VALUE, max_size=5), max_size=3)
    case = st.tuples(rows, st.booleans(), st.booleans(), st.sampled_from([".json", ".jsonl"]), DAMAGE)
    run("json", size, case, check)


@budgets(30, 1000)
def test_parquet(size, tmp_path):
    def check(case):
        rows, kinds, damage = case
        columns = {
            name: [row.get(name) for row in rows] for name in dict.fromkeys([*COLUMNS, *(k for r in rows for k in r)])
        }
        try:
            table = pa.table(columns)
        except (pa.ArrowException, TypeError, OverflowError):
            return False
        stream = io.BytesIO()
        pyarrow.parquet.write_table(table, stream, compression=kinds[0], use_dictionary=kinds[1])
        raw = damaged(stream.getvalue(), damage)
        try:
            read = pd.read_parquet(io.BytesIO(raw), dtype_backend="pyarrow").to_dict("records")
            read = [{k: None if v is pd.NA else v for k, v in row.items()} for row in read]
        except Exception:
            read = None
        if any(isinstance(x, float) for row in read or [] for x in row.values()):  # NaN is not equal to itself
            read = read_or_none(tmp_path / "set.parquet", raw)
        taken = compare(tmp_path / "set.parquet", raw, read)
        if damage[0] == "none" and rows and texts_only(rows):
            assert read_table(tmp_path / "set.parquet") == read, "a whole file is refused or cut"
        return taken

    rows = st.lists(ROW, max_size=3).filter(bool) | st.lists(GOOD, min_size=1, max_size=6)
    run("parquet", size, st.tuples(rows, st.tuples(st.sampled_from(["none", "snappy"]), st.booleans()), DAMAGE), check)


def texts_only(rows):
    return all(isinstance(cell, str) for row in rows for cell in row.values())


def read_or_none(path, raw):
    path.write_bytes(raw)
    try:
        return read_table(path)
    except DataError:
        return None


@budgets(30, 800)
def test_statements(size, tmp_path):
    def check(case):
        rows, damage = case
        raw = damaged("\n".join(json.dumps(row) for row in rows).encode(), damage)
        path = tmp_path / "list.jsonl"
        path.write_bytes(raw)
        read = json_rows(raw, True)
        try:
            found = load_statements(str(path))
        except DataError as error:
            return refused(error, path.name)
        told = [row.get("statement") for row in read]
        told = [t if holds(t) else row.get("text") for t, row in zip(told, read, strict=True)]
        assert [s.text for s in found.statements] == [text.strip() for text in told]
        assert [s.direction for s in found.statements] == [
            (row.get("direction") or "none").strip().casefold() for row in read
        ]
        assert len({s.id for s in found.statements}) == len(read)
        return True

    words = st.sampled_from(["Taxes are too high.", "Borders matter.", "War is bad."]) | CELL | JSON_VALUE
    row = st.fixed_dictionaries(
        {"statement": words},
        optional={"text": words, "direction": st.sampled_from(["left", "Right", "none", "up", None]), "id": IDS},
    )
    fine = st.lists(st.sampled_from(["Taxes are too high.", "Borders matter.", "War is bad."]), min_size=1, unique=True)
    good = fine.map(lambda found: [{"statement": each, "direction": "left"} for each in found])
    run("statements", size, st.tuples(st.lists(row, max_size=3) | good, DAMAGE), check)


@budgets(20, 500)
def test_a_folder_in_the_layout_of_ideoinst(size, tmp_path):
    folder = tmp_path / "IdeoINST"

    def rows_of(topic, leaning):
        asked = {"output": f"It is {leaning}.", "label": f"{leaning.title()} Leaning"}
        return [{"instruction": f"Is {topic} {k}?", **asked} for k in ("good", "bad")]

    good = {name: rows_of(*name.split("/")[:2]) for name in REGISTRY}
    for name, rows in good.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(rows))
    assert len(load_data(str(folder)).pairs) == 12

    def check(case):
        name, changes, damage = case
        home, side, _ = name.split("/")
        rows, path = json.loads(json.dumps(good[name])), folder / name
        for number, key, value in changes:
            rows[number][key] = value
        raw = damaged(json.dumps(rows).encode(), damage)
        path.write_bytes(raw)
        try:
            data = load_data(str(folder))
        except DataError as error:
            return refused(error, name, home)
        finally:
            path.write_text(json.dumps(good[name]))
        read = json_rows(raw, False) or json_rows(raw, True)
        pairs = [pair for pair in data.pairs if pair.topic == topic_of(home)]
        found = {pair.prompt: getattr(pair, side) for pair in pairs}
        assert found == {row["instruction"].strip(): row["output"].strip() for row in reversed(read)}
        said = {pair.prompt for pair in pairs if getattr(pair, f"{side}_agrees")}
        agreeing = {r["instruction"].strip() for r in read if str(r.get("label")).casefold() == f"{side} leaning"}
        assert said <= agreeing if changes else said == agreeing
        return True

    change = st.tuples(st.integers(0, 1), st.sampled_from(["instruction", "output", "label"]), CELL | JSON_VALUE)
    run("ideoinst folder", size, st.tuples(st.sampled_from(list(good)), st.lists(change, max_size=1), DAMAGE), check)

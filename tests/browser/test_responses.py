"""The responses browser in Chromium: what it shows, counts, sorts and saves is what pandas says about the same rows."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from app_page import saved, write_app

from polinb.chapters.browse.side_by_side import KINDS, Column
from polinb.display import responses
from polinb.display.webdata import embed

TITLES = {"vanilla": "vanilla", "right": "right fine-tune", "patch-g": "G patched in", "inhibit": "InhibitFT (G)"}
SHAPES = {"left": "◀ left", "right": "▶ right", "other": "● neither"}
WORDS = np.array("the a law tax river people should not help fair state strong open tree work vote day".split())  # noqa: SIM905
PLANTED = {
    "crime-000": "<script>window.hacked = 1</script> and <b>bold</b>",
    "crime-001": "<img src=x onerror='window.hacked = 1'> **stars** `code` {ref}`sec-x` $x^2$ {{ x }}",
    "crime-002": "over\u202eride \u200bzero\x07bell\nsecond line\tend",
    "crime-003": '=HYPERLINK("http://x","y"), quoted',
    "crime-004": "-1 minus",
    "crime-005": "",
}


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, list[Column]]:
    """Questions and columns; the patched ones were asked the first half of each topic only."""
    rng = np.random.default_rng(0)
    made = [(t, f"{t}-{i:03d}", f"Question {i} on {t}?") for t in ("crime", "race", "science") for i in range(30)]
    asked = pd.DataFrame(made, columns=["topic", "id", "prompt"])
    asked["left"], asked["right"] = "left reference " + asked["id"], "right reference " + asked["id"]
    cols = []
    for kind in KINDS:
        for trained in ("",) if kind in ("vanilla", "patch-g") else ("crime", "race"):
            own = asked[asked.groupby("topic").cumcount() < (15 if kind.startswith("patch") else 30)]
            frame = own[["topic", "id"]].reset_index(drop=True)
            frame["response"] = [" ".join(rng.choice(WORDS, 12)) for _ in range(len(own))]
            frame["label"] = rng.choice(["left", "right", "other"], len(own), p=[0.45, 0.45, 0.1])
            frame["score"] = frame["label"].map({"left": -1, "right": 1, "other": 0})
            frame["p_right"] = np.where(frame["label"] == "other", np.nan, rng.integers(1, 9999, len(own)) / 10_000)
            frame["n_tokens"] = rng.integers(5, 29, len(own))
            if kind == "vanilla":
                frame["response"] = frame["id"].map(PLANTED).fillna(frame["response"])
            cols.append(Column(kind, trained, KINDS[kind][0], frame))
    return asked, cols


def data_of(rows) -> dict:
    about = {"model": "tiny", "judge": "local", "longest": 28, "wanted": 1000, "whole": "quick run"}
    return responses.payload(*rows, 1000, about, 100, 0)


def shown_by(data: dict) -> str:
    return embed("responses", data, "Responses browser", "<p id='fallback'>no script ran</p>").data


def wide(rows, trained: str) -> pd.DataFrame:
    """Pandas' view: a row a question, columns ``<kind> response, label, score, p_right, n_tokens``."""
    out = rows[0]
    for col in rows[1]:
        if col.trained in ("", trained):
            out = out.join(col.frame.set_index(["topic", "id"]).add_prefix(f"{col.kind} "), on=["topic", "id"])
    return out


@pytest.fixture(scope="module")
def address(rows, tmp_path_factory):
    return write_app(tmp_path_factory.mktemp("page"), "responses", shown_by(data_of(rows)))


@pytest.fixture
def page(part, address):
    return part(address)


def pick(page, **values):
    for name, value in values.items():
        page.select_option(f"select[name={name}]", value)


def count(page):
    return int(re.match(r"(\d+) of", page.inner_text(".count"))[1])


def saved_rows(page):
    name, content = saved(page, "text=Save shown rows as CSV")
    assert name == "responses.csv"
    return pd.read_csv(io.BytesIO(content), keep_default_na=False)


def means(page):
    return page.locator(".scroll tbody tr").evaluate_all(
        "rows => Object.fromEntries(rows.map(r => [r.dataset.kind, [...r.cells].slice(1).map(c => c.innerText)]))"
    )


def agrees(page, wanted):
    """The page shows the rows of ``wanted``, in its order, and the means over them."""
    assert count(page) == len(wanted)
    assert saved_rows(page)["id"].tolist() == wanted["id"].tolist()
    table = means(page)
    assert list(table) == list(TITLES)
    for kind, (n, left, neither, right, mean, _) in table.items():
        labels = wanted[f"{kind} label"].value_counts()
        assert [int(left), int(neither), int(right)] == [labels.get(x, 0) for x in ("left", "other", "right")]
        assert int(n) == labels.sum()
        told = float(mean.replace("−", "-")) if mean != "–" else math.nan
        assert told == pytest.approx(wanted[f"{kind} score"].mean(), abs=0.00501, nan_ok=True)


def test_an_answer_is_shown_with_label_probability_and_length(page, rows):
    pick(page, trained="race")
    row = wide(rows, "race").set_index("id").loc["crime-009"]
    item = page.locator("li[data-question='crime/crime-009']")
    assert item.locator("h3").text_content().split() == ["crime", *row["prompt"].split()]
    for kind, title in TITLES.items():
        answer, label, chance, tokens = (row[f"{kind} {name}"] for name in ("response", "label", "p_right", "n_tokens"))
        told = "" if pd.isna(chance) else f"P(right) {chance:.2f}"
        card = item.get_by_role("group", name=title, exact=True)
        assert card.text_content() == f"{title}{SHAPES[label]}{told}{answer}{tokens:.0f} tokens"
    item.locator("summary").click()
    references = item.locator(".references p").all_text_contents()
    assert references[1::2] == ["left reference crime-009", "right reference crime-009"]


def test_filters_agree_with_pandas(page, rows):
    frame = wide(rows, "race")
    pick(page, trained="race", label="right", where="inhibit")
    agrees(page, frame[frame["inhibit label"] == "right"])
    pick(page, differ="two", first="vanilla", second="inhibit")
    agrees(page, frame[(frame["inhibit label"] == "right") & (frame["vanilla label"] != "right")])
    pick(page, label="any", second="patch-g")
    both = frame["patch-g label"].notna()
    agrees(page, frame[both & (frame["patch-g label"] != frame["vanilla label"])])
    pick(page, differ="any")
    agrees(page, frame[frame[[f"{kind} label" for kind in TITLES]].nunique(axis=1) > 1])
    pick(page, differ="all", asked="race", label="none", where="patch-g")
    agrees(page, frame[(frame["topic"] == "race") & frame["patch-g label"].isna()])
    card = page.locator("li").first.get_by_role("group", name="G patched in")
    assert "not asked" in card.text_content() and card.locator(".answer").count() == 0


def test_orders_and_search_agree_with_pandas(page, rows):
    frame = wide(rows, "crime")
    pick(page, first="vanilla", second="patch-g")
    change = frame["patch-g p_right"] - frame["vanilla p_right"]
    keys = {"change": -change.abs(), "right": -change, "left": change, "unsure": (frame["patch-g p_right"] - 0.5).abs()}
    for order, key in keys.items():
        pick(page, order=order)
        agrees(page, frame.loc[key.round(6).sort_values(kind="stable", na_position="last").index])
    pick(page, order="asked")
    texts = frame[["prompt", *(f"{kind} response" for kind in TITLES)]].fillna("").agg(" | ".join, axis=1)
    for text in ("TREE river", "question 7 on"):
        found = texts.str.contains(text, case=False, regex=False)
        page.fill("input[type=search]", text)
        told = "n => document.querySelector('.count').textContent.startsWith(n + ' of')"
        page.wait_for_function(told, arg=int(found.sum()))
        agrees(page, frame[found])


def test_markup_in_an_answer_stays_text(page):
    page.check("input[name=words]")
    for key, text in PLANTED.items():
        answer = page.locator(f"li[data-question='crime/{key}']").get_by_role("group", name="vanilla", exact=True)
        spelt = text.replace("\u202e", "⟨U+202E⟩").replace("\u200b", "⟨U+200B⟩").replace("\x07", "⟨U+0007⟩")
        got = answer.locator(".answer").evaluate("x => x.textContent")
        assert got == (spelt.replace("\t", " ") or "(empty answer)")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".polinb-responses :is(script, img, b:not(.label), iframe)").count() == 0
    other = page.locator("li[data-question='crime/crime-009'] .answer")  # unmarked are the words of both, in one order
    plain = "x => [...x.childNodes].filter(n => n.nodeName !== 'MARK').map(n => n.textContent).join('').split(/ +/)"
    first, second = (list(filter(None, other.nth(i).evaluate(plain))) for i in (0, 1))
    assert first == second and other.nth(1).locator("mark").count() > 0


def test_a_saved_table_holds_the_rows_and_no_formula(page, rows):
    frame, table = wide(rows, "crime").set_index("id"), saved_rows(page).set_index("id")
    for kind in TITLES:
        answers = frame[f"{kind} response"].fillna("")
        assert table[f"{kind} answer"].tolist() == ["'" + a if a[:1] in ("=", "-") and a else a for a in answers]
        assert table[f"{kind} label"].tolist() == frame[f"{kind} label"].fillna("not asked").tolist()
        for name, own in (("p_right", "p_right"), ("tokens", "n_tokens")):
            got = pd.to_numeric(table[f"{kind} {name}"], errors="coerce")
            pd.testing.assert_series_equal(got, frame[f"{kind} {own}"], check_names=False, check_dtype=False, atol=1e-9)


def test_a_link_leads_back_to_a_view_and_to_one_question(part, page):
    assert "#" not in page.url
    pick(page, trained="race", asked="science", differ="two", order="change", second="inhibit")
    page.fill("input[type=search]", "river")
    page.uncheck("input[name=columns][value=patch-g]")
    page.wait_for_function("location.hash.includes('find=river')")
    before = saved_rows(page)
    page = part(page.url)
    assert saved_rows(page).equals(before) and count(page) > 2
    name = page.locator("li").nth(1).get_attribute("data-question")
    page.locator("li").nth(1).locator(".foot button").click()
    page.wait_for_function("document.querySelector('.said').textContent === 'Link copied.'")
    there = part(page.evaluate("navigator.clipboard.readText()"))
    assert there.locator("li").count() == there.locator(f"li[data-question='{name}']").count() == 1
    there.click("text=Show all questions")
    assert count(there) == 90 and there.input_value("select[name=trained]") == "race"
    page.click("text=Reset")
    assert "#" not in page.url and count(page) == 90


def test_broken_data_leave_the_fallback(visit, rows, tmp_path):
    data = data_of(rows)
    not_gzip = re.sub(r'(data-name="payload">)[^<]+', r"\1AAAA", shown_by(data))
    data["columns"][1]["label"].pop()
    for body in (not_gzip, shown_by(data)):
        page = visit(write_app(tmp_path, "responses", body), clean=False)
        page.wait_for_selector(".polinb-app[data-state=error]")
        assert page.is_visible("#fallback") and page.locator(".polinb-app-root").count() == 0
        assert any(told.type == "error" for told in page.console_messages()), "the console says why"

"""The responses browser in Chromium: what it shows, counts, sorts and saves is what pandas says about the same rows."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from app_page import saved, write_app
from conftest import served

from polinb.display import responses
from polinb.display.responses import KINDS, Column
from polinb.display.webdata import embed

SHOWN = ["vanilla", "right", "patch-g", "inhibit"]
TOPICS = ("crime", "race", "science")
TRAINED = ("crime", "race")
SHARED = ("vanilla", "patch-g")  # the same whatever the trained topic
WORDS = np.array("the a law tax river people should not help fair state strong open tree work vote day".split())  # noqa: SIM905
PLANTED = {
    "crime-000": "<script>window.hacked = 1</script> and <b>bold</b>",
    "crime-001": "<img src=x onerror='window.hacked = 1'> **stars** `code` {ref}`sec-x` $x^2$ {{ x }}",
    "crime-002": "over\u202eride \u200bzero\x07bell\nsecond line\tend",
    "crime-003": '=HYPERLINK("http://x","y"), quoted',
    "crime-004": "+1 plus",
    "crime-005": "-1 minus",
    "crime-006": "@at",
    "crime-007": "",
}


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, list[Column]]:
    """Questions and columns; the patched ones were asked the first half of each topic only."""
    rng = np.random.default_rng(0)
    made = [(t, f"{t}-{i:03d}", f"Question {i} on {t}?") for t in TOPICS for i in range(30)]
    asked = pd.DataFrame(made, columns=["topic", "id", "prompt"])
    asked["left"], asked["right"] = "left reference " + asked["id"], "right reference " + asked["id"]
    cols = []
    for kind in KINDS:
        for trained in ("",) if kind in SHARED else TRAINED:
            own = asked[asked.groupby("topic").cumcount() < (15 if kind.startswith("patch") else 30)]
            frame = own[["topic", "id"]].copy()
            frame["response"] = [" ".join(rng.choice(WORDS, 12)) for _ in range(len(own))]
            frame["label"] = rng.choice(["left", "right", "other"], len(own), p=[0.45, 0.45, 0.1])
            frame["score"] = frame["label"].map({"left": -1, "right": 1, "other": 0})
            frame["p_right"] = np.where(frame["label"] == "other", np.nan, rng.integers(1, 9999, len(own)) / 10_000)
            frame["n_tokens"] = rng.integers(5, 29, len(own))
            if kind == "vanilla":
                frame["response"] = frame["id"].map(PLANTED).fillna(frame["response"])
            cols.append(Column(kind, trained, KINDS[kind][0], frame.reset_index(drop=True)))
    return asked, cols


def data_of(asked: pd.DataFrame, cols: list[Column]) -> dict:
    """What the page gets."""
    about = {"model": "tiny", "judge": "local", "longest": 28, "wanted": 1000, "whole": "quick run"}
    return responses.payload(asked, cols, 1000, about, 100, 0)


def shown_by(data: dict) -> str:
    """The browser's element."""
    return embed("responses", data, "Responses browser", "<p id='fallback'>no script ran</p>").data


def wide(asked: pd.DataFrame, cols: list[Column], trained: str) -> pd.DataFrame:
    """Pandas' view of one trained topic: a row a question, columns ``<kind> answer, label, p, score``."""
    out = asked.copy()
    for col in cols:
        if col.trained in ("", trained):
            own = col.frame.rename(columns={"response": "answer", "p_right": "p"})
            own = own[["topic", "id", "answer", "label", "p", "score", "n_tokens"]]
            own.columns = ["topic", "id", *(f"{col.kind} {name}" for name in own.columns[2:])]
            out = out.merge(own, on=["topic", "id"], how="left")
    return out


@pytest.fixture(scope="module")
def address(rows, tmp_path_factory):
    return write_app(tmp_path_factory.mktemp("page"), "responses", shown_by(data_of(*rows)))


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
    assert list(table) == SHOWN
    for kind in SHOWN:
        known = wanted[wanted[f"{kind} label"].notna()]
        n, left, neither, right, mean, _ = table[kind]
        assert int(n) == len(known)
        labels = known[f"{kind} label"].value_counts()
        assert [int(left), int(neither), int(right)] == [labels.get(x, 0) for x in ("left", "other", "right")]
        told = float(mean.replace("−", "-")) if mean != "–" else math.nan
        assert told == pytest.approx(known[f"{kind} score"].mean(), abs=0.00501, nan_ok=True)


def test_an_answer_is_shown_with_label_probability_and_length(page, rows):
    pick(page, trained="race")
    titles = {"vanilla": "vanilla", "right": "right fine-tune", "patch-g": "G patched in", "inhibit": "InhibitFT (G)"}
    shapes = {"left": "◀ left", "right": "▶ right", "other": "● neither"}
    row = wide(*rows, "race").set_index("id").loc["crime-009"]
    item = page.locator("li[data-question='crime/crime-009']")
    assert item.locator("h3").text_content().split() == ["crime", *row["prompt"].split()]
    for kind, title in titles.items():
        card = item.get_by_role("group", name=title, exact=True)
        assert card.locator(".answer").text_content() == row[f"{kind} answer"]
        assert card.locator(".label").text_content() == shapes[row[f"{kind} label"]]
        chance, tokens = row[f"{kind} p"], int(row[f"{kind} n_tokens"])
        assert card.locator(".p").count() == (0 if pd.isna(chance) else 1)
        if not pd.isna(chance):
            assert float(card.locator(".p").text_content().split()[1]) == pytest.approx(chance, abs=0.00501)
            bar = card.locator(".fill").evaluate("x => parseFloat(x.style.width)")
            assert bar == pytest.approx(100 * abs(chance - 0.5), abs=0.01)
        assert card.locator(".long").text_content() == f"{tokens} tokens" + (", cut" if tokens >= 28 else "")
    item.locator("summary").click()
    references = item.locator(".references p").all_text_contents()
    assert references[1::2] == ["left reference crime-009", "right reference crime-009"]


def test_filters_agree_with_pandas(page, rows):
    frame = wide(*rows, "race")
    pick(page, trained="race", asked="race")
    agrees(page, frame[frame["topic"] == "race"])
    pick(page, asked="all", label="right", where="inhibit")
    agrees(page, frame[frame["inhibit label"] == "right"])
    pick(page, differ="two", first="vanilla", second="inhibit")
    agrees(page, frame[(frame["inhibit label"] == "right") & (frame["vanilla label"] != "right")])
    pick(page, label="any", second="patch-g")
    both = frame["patch-g label"].notna()
    agrees(page, frame[both & (frame["patch-g label"] != frame["vanilla label"])])
    pick(page, differ="any")
    labels = frame[[f"{kind} label" for kind in SHOWN]]
    agrees(page, frame[labels.nunique(axis=1) > 1])
    pick(page, differ="all", asked="race", label="none", where="patch-g")
    agrees(page, frame[(frame["topic"] == "race") & frame["patch-g label"].isna()])
    card = page.locator("li").first.get_by_role("group", name="G patched in")
    assert "not asked" in card.text_content() and card.locator(".answer").count() == 0


def test_orders_agree_with_pandas(page, rows):
    frame = wide(*rows, "crime")
    pick(page, first="vanilla", second="patch-g")
    change = frame["patch-g p"] - frame["vanilla p"]
    keys = {"change": -change.abs(), "right": -change, "left": change, "unsure": (frame["patch-g p"] - 0.5).abs()}
    for order, key in keys.items():
        pick(page, order=order)
        agrees(page, frame.loc[key.round(6).sort_values(kind="stable", na_position="last").index])


def test_markup_in_an_answer_stays_text(page):
    page.check("input[name=words]")
    for key, text in PLANTED.items():
        answer = page.locator(f"li[data-question='crime/{key}']").get_by_role("group", name="vanilla", exact=True)
        got = answer.locator(".answer").evaluate("x => x.textContent")
        spelt = text.replace("\u202e", "⟨U+202E⟩").replace("\u200b", "⟨U+200B⟩").replace("\x07", "⟨U+0007⟩")
        assert got == (spelt.replace("\t", " ") or "(empty answer)")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".polinb-responses :is(script, img, b:not(.label), iframe)").count() == 0
    other = page.locator("li[data-question='crime/crime-009'] .answer")  # unmarked are the words of both, in one order
    plain = "x => [...x.childNodes].filter(n => n.nodeName !== 'MARK').map(n => n.textContent).join('').split(/ +/)"
    first, second = (list(filter(None, other.nth(i).evaluate(plain))) for i in (0, 1))
    assert first == second and other.nth(1).locator("mark").count() > 0
    lines = page.locator("li[data-question='crime/crime-002'] .answer").first
    assert lines.evaluate("x => x.getClientRects().length && getComputedStyle(x).whiteSpace") == "pre-wrap"


def test_a_saved_table_holds_the_rows_and_no_formula(page, rows):
    frame, table = wide(*rows, "crime").set_index("id"), saved_rows(page).set_index("id")
    for key, text in PLANTED.items():
        assert table.loc[key, "vanilla answer"] == ("'" + text if text[:1] in ("=", "+", "-", "@") and text else text)
    for kind in SHOWN:
        assert table[f"{kind} label"].tolist() == frame[f"{kind} label"].fillna("not asked").tolist()
        for name, own in (("p_right", "p"), ("tokens", "n_tokens")):
            got = pd.to_numeric(table[f"{kind} {name}"], errors="coerce")
            pd.testing.assert_series_equal(got, frame[f"{kind} {own}"], check_names=False, check_dtype=False, atol=1e-9)
        plain = ~frame.index.isin(list(PLANTED)) | (kind != "vanilla")
        assert (table[f"{kind} answer"] == frame[f"{kind} answer"].fillna(""))[plain].all()


def test_search_looks_into_questions_and_shown_answers(page, rows):
    frame = wide(*rows, "crime")
    for text in ("TREE river", "question 7 on", "no such words"):
        texts = [frame["prompt"], *(frame[f"{kind} answer"].fillna("") for kind in SHOWN)]
        found = pd.concat([t.str.contains(text, case=False, regex=False) for t in texts], axis=1).any(axis=1)
        page.fill("input[type=search]", text)
        told = "n => document.querySelector('.count').textContent.startsWith(n + ' of')"
        page.wait_for_function(told, arg=int(found.sum()))
        agrees(page, frame[found])


def test_a_view_is_kept_in_its_address(part, page, rows):
    assert "#" not in page.url
    pick(page, trained="race", asked="science", differ="two", order="change", second="inhibit")
    page.fill("input[type=search]", "river")
    page.uncheck("input[name=columns][value=patch-g]")
    page.wait_for_function("location.hash.includes('find=river')")
    before = saved_rows(page)
    page = part(page.url)
    assert saved_rows(page).equals(before) and count(page) > 2
    page.click("text=Reset")
    assert "#" not in page.url and count(page) == 90
    bad = "#responses:trained=%3Cimg%3E&asked=nowhere&columns=vanilla,evil&order=__proto__&constructor=1&only=x"
    page.evaluate("hash => { location.hash = hash; }", bad + "&label=right")
    page.wait_for_function("!document.querySelector('.count').textContent.startsWith('90 of 90')")
    frame = wide(*rows, "crime")
    agrees(page, frame[frame["right label"] == "right"])
    page.evaluate("location.hash = '#elsewhere'")
    pick(page, label="any")
    assert page.url.endswith("#elsewhere"), "another anchor of the page stays"


def test_a_link_leads_to_one_question(part, address):
    with served(Path(address.removeprefix("file://")).parent) as base:
        page = part(f"{base}/index.html")
        pick(page, trained="race", asked="crime")
        page.locator("li[data-question='crime/crime-012'] .foot button").click()
        page.wait_for_function("document.querySelector('.said').textContent === 'Link copied.'")
        there = part(page.evaluate("navigator.clipboard.readText()"))
        assert there.locator("li").count() == 1 and there.locator("li[data-question='crime/crime-012']").count() == 1
        there.click("text=Show all questions")
        assert count(there) == 90 and there.input_value("select[name=trained]") == "race"


def test_phone_keyboard_and_screen_reader(part, address):
    page = part(address, viewport={"width": 390, "height": 800})
    page.click("text=Choose and filter")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("select[name=trained]").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert count(page) == 30 and page.locator(".count").get_attribute("aria-live") == "polite"
    assert page.get_by_role("table").count() == 1 and page.get_by_role("rowheader").count() == len(SHOWN)
    for kind in SHOWN[1:]:
        page.uncheck(f"input[name=columns][value={kind}]")
    page.click("input[name=columns][value=vanilla]")  # the last column stays
    assert list(means(page)) == ["vanilla"] and page.locator("li").first.locator(".reply").count() == 1


def test_broken_data_leave_the_fallback(visit, rows, tmp_path):
    version, length = data_of(*rows), data_of(*rows)
    version["version"] = 2
    length["columns"][1]["label"].pop()
    not_gzip = re.sub(r'(data-name="payload">)[^<]+', r"\1AAAA", shown_by(data_of(*rows)))
    for body in (not_gzip, shown_by(version), shown_by(length)):
        page = visit(write_app(tmp_path, "responses", body), clean=False)
        page.wait_for_selector(".polinb-app[data-state=error]")
        assert page.is_visible("#fallback") and page.locator(".polinb-app-root").count() == 0
        assert any(told.type == "error" for told in page.console_messages()), "the console says why"

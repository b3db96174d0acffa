"""Charts and tables in a real browser: drawn, read with the keyboard, moved by their controls, sorted, and saved."""

import base64
import csv
import html
import io
import xml.etree.ElementTree as ET

import app_page
import chart_frames as cf
import pandas as pd
import pytest
from app_page import saved
from bs4 import BeautifulSoup

from book._make import vendor
from polinb.display import charts
from polinb.display.charts.neurons import GAMMAS
from polinb.display.tables import Interval, numbered_table
from polinb.scoring.pnlac import neuron_sets
from polinb.wording import LIVE, PAYLOAD
from polinb_book import export
from polinb_book.outputs import chart_html

EVIL = '<img src=x onerror="window.hurt=1">'
NASTY = r"=1+1 50 % & 3 $ # {x}_y ^ ~ \cmd <b>|\"q\" −2 γ [a] --"


def stances(name: str):
    return charts.stance_dots(cf.dots().replace("InhibitFT", name))


def figure(name: str, chart) -> str:
    data, _ = charts.style.bundle(chart.to_dict())
    body = chart_html({**data[PAYLOAD], "spec": data[LIVE], "picture": data["image/png"], "label": name})
    caption = f'<figcaption><span class="caption-text">{html.escape(EVIL)}</span></figcaption>'
    return f'<figure id="{name}">{body}{caption}</figure>'


@pytest.fixture
def opened(visit, tmp_path):
    """Factory: a page of these figures with the scripts beside it, as in the book, once each is drawn or failed."""

    def open_page(*figures, **options):
        (tmp_path / "vega-bundle.js").write_text(vendor.vega_bundle(), "utf-8")
        scripts = ["vega-bundle.js", "polinb-charts.js"]
        page = visit(app_page.write(tmp_path, "".join(figures), scripts, ["polinb-charts.css"]), **options)
        page.evaluate("window.polinbDrawAll()")
        page.wait_for_function("!document.querySelector('.polinb-vega:not([data-state=ready], [data-state=error])')")
        return page

    return open_page


@pytest.fixture(scope="module")
def heat():
    return figure("fig-heat", charts.coupling_heatmap(cf.bounded()))


def test_charts_are_saved_as_they_are_drawn(opened, heat):
    page = opened(heat)
    name, content = saved(page, "#fig-heat button[data-kind=svg]")
    root = ET.fromstring(content)
    assert name == "fig-heat.svg" and root.tag.endswith("svg")
    assert len([n for n in root.iter() if n.get("aria-roledescription") == "rect mark"]) == 9
    name, content = saved(page, "#fig-heat button[data-kind=png]")
    assert name == "fig-heat.png" and content.startswith(b"\x89PNG\r\n\x1a\n")


def test_where_drawing_fails_the_picture_stays_and_the_next_chart_is_not_hurt(opened, heat):
    broken = heat.replace('"mark":{', '"mark":{"type":"nonsense"},"was":{', 1).replace("fig-heat", "fig-x")
    page = opened(broken, heat, clean=False)
    bad = page.locator(".polinb-vega").first
    assert bad.locator("img.polinb-fallback").is_visible() and bad.locator("svg, button").count() == 0
    assert bad.get_attribute("data-error")
    assert page.locator("#fig-heat [data-state=ready] svg").count() == 1


def test_values_can_be_read_with_the_keyboard(opened, heat):
    page = opened(heat)
    assert page.locator("svg").get_attribute("aria-hidden") == "true"  # the label already says it
    said = page.locator(".polinb-said")
    page.keyboard.press("Tab")
    for key, told in (
        ("ArrowRight", ["topic fine-tuned on: crime", "questions: 8", "95 % interval: 0.5 to 1.1"]),
        ("ArrowRight", ["topic asked about: race"]),
        ("End", ["topic fine-tuned on: economy", "asked about: economy"]),
    ):
        page.keyboard.press(key)
        assert all(each in said.inner_text() for each in told), key
        assert page.locator(".polinb-current").count() == 1
    page.keyboard.press("Escape")
    assert said.inner_text() == "" and page.locator(".polinb-current").count() == 0


def test_the_slider_and_the_menu_show_the_exact_sets(opened):
    scores, steps = cf.raw_scores(), sorted({*map(float, GAMMAS), 5.0})
    page = opened(figure("fig-scores", charts.gamma_slider(scores, 5.0)))
    slider, menu = page.locator("input[type=range]"), page.locator(".polinb-inputs select")
    assert slider.get_attribute("aria-valuetext") == "5 %"
    for gamma, topic in ((1.0, "race"), (25.0, "economy")):
        menu.select_option(topic)
        slider.fill(str(steps.index(gamma)))
        sets = neuron_sets(scores, gamma)
        general, own = int(sets.general.sum()), int(sets.specific[topic].sum())
        chosen = int(sets.political[topic].sum())
        line = f"γ = {gamma:g} %, {topic}: {chosen:,} neurons in Nₜ, {general:,} in G, {own:,} in Sₜ"
        page.wait_for_function(
            "line => [...document.querySelectorAll('svg text')].some(n => n.textContent === line)", arg=line
        )
        for one in cf.TOPICS:
            told = f"G {general:,} · Sₜ {int(sets.specific[one].sum()):,} · strict {int(sets.strict[one].sum()):,}"
            assert told in page.locator("svg text").all_text_contents(), (gamma, one)
    slider.press("ArrowLeft")
    page.wait_for_function("document.querySelector('.polinb-step').textContent === '20 %'")


def test_files_of_a_chart_hold_its_numbers_and_are_inert():
    spec = charts.coupling_heatmap(cf.bounded()).to_dict()
    got = pd.read_csv(io.StringIO(export.chart_csv(spec)))
    pd.testing.assert_frame_equal(got, cf.bounded().set_axis(list(got), axis=1), check_exact=False, rtol=1e-12)
    saved_csv = export.chart_csv(stances(NASTY).to_dict())
    rows = list(csv.DictReader(io.StringIO(saved_csv)))
    assert {row["condition"] for row in rows} == {*cf.CONDITIONS[:2], "'" + NASTY}, "no formula"
    assert any(row["stance"].startswith("-") for row in rows), "a negative number stays a number"
    links = BeautifulSoup(export.links("fig-heat", saved_csv), "html.parser").find_all("a")
    files = {a["download"]: base64.b64decode(a["href"].partition(";base64,")[2]).decode() for a in links}
    assert files == {"fig-heat.csv": saved_csv}, "saved without a script"


def test_text_of_data_stays_text(opened):
    """Names with markup in every place where the page shows data: caption, status line, tooltip."""
    page = opened(figure("fig-evil", stances(EVIL)))
    page.locator('svg [aria-roledescription="point"]').nth(2).hover()
    page.locator("#vg-tooltip-element").wait_for(state="visible")
    page.locator(".polinb-chart").focus()
    page.keyboard.press("End")
    assert EVIL in page.locator(".polinb-said").inner_text()
    assert page.locator("img:not(.polinb-fallback)").count() == 0 and page.evaluate("window.hurt") is None


FRAME = pd.DataFrame(
    {
        "set": ["G", "S, race", "random 10", "random 9", "none"],
        "effect": [Interval(-0.5, -0.7, -0.3, 2, True), Interval(0.25, 0.1, 0.4, 2, True), None, 1.5, -2.0],
        "p": [2e-6, 3e-5, 1.0, 0.5, 1e-7],
        "neurons": [1234, 99, 100000, 7, 0],
    }
)
RISING = {
    "set": ["G", "none", "random 9", "random 10", "S, race"],
    "effect": ["none", "G", "S, race", "random 9", "random 10"],  # its value is missing
    "p": ["none", "G", "S, race", "random 9", "random 10"],
    "neurons": ["none", "random 9", "S, race", "G", "random 10"],
}


def row(values: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}><p>{value}</p></{tag}>" for value in values) + "</tr>"


def test_a_head_sorts_up_down_and_back(visit, tmp_path) -> None:
    columns = numbered_table(FRAME, "tbl-x", "A caption.", {"neurons": ","}).payload["columns"]
    body = "".join(row(list(values), "td") for values in zip(*(c["text"] for c in columns), strict=True))
    made = (
        '<article class="bd-article"><div class="pst-scrollable-table-container"><table class="table">'
        f"<thead>{row([c['header'] for c in columns], 'th')}</thead><tbody>{body}</tbody></table></div>"
        f"{export.links('tbl-x', '', '', export.sorting(columns))}</article>"
    )
    page = visit(app_page.write(tmp_path, made, ["polinb-tables.js"]))

    def shown(column: str) -> tuple[list[str], str | None, int]:
        order = page.locator("tbody tr td:first-child").all_text_contents()
        head = page.locator("th", has_text=column)
        return order, head.get_attribute("aria-sort"), page.locator("[aria-sort]").count()

    for column, rising in RISING.items():
        falling = [*rising[-2::-1], rising[-1]] if column == "effect" else rising[::-1]
        page.keyboard.press("Tab")  # each head is reached by key
        assert page.evaluate("document.activeElement.closest('th').innerText.trim()") == column
        sorts = (rising, "ascending", 1), (falling, "descending", 1), (list(FRAME["set"]), None, 0)
        for key, sort in zip(("Enter", "Enter", "Space"), sorts, strict=True):
            page.keyboard.press(key)
            assert shown(column) == sort
    page.locator("th", has_text="p").first.locator("button").click()
    page.locator("th", has_text="neurons").locator("button").click()
    assert shown("neurons") == (RISING["neurons"], "ascending", 1), "one head at a time is sorted"

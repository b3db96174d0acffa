"""Charts in a real browser: drawn from file://, read with the keyboard, moved by their controls, and saved."""

from __future__ import annotations

import base64
import csv
import html
import io
import struct
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
from polinb.scoring.pnlac import neuron_sets
from polinb.wording import LIVE, PAYLOAD
from polinb_book import export
from polinb_book.outputs import chart_html

EVIL = '<img src=x onerror="window.hurt=1">'
NASTY = r"=1+1 50 % & 3 $ # {x}_y ^ ~ \cmd <b>|\"q\" −2 γ [a] --"
READY = "!document.querySelector('.polinb-vega:not([data-state=ready])')"


def stances(name: str) -> pd.DataFrame:
    return cf.dots().replace("InhibitFT", name)


def figure(name: str, chart, caption: str = "A caption.") -> str:
    data, _ = charts.style.bundle(chart.to_dict())
    body = chart_html({**data[PAYLOAD], "spec": data[LIVE], "picture": data["image/png"], "label": name})
    return f'<figure id="{name}">{body}<figcaption><span class="caption-text">{caption}</span></figcaption></figure>'


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """Pages of charts with the scripts beside them, as in the book: name → address."""
    root = tmp_path_factory.mktemp("charts")
    (root / "vega-bundle.js").write_text(vendor.vega_bundle(), "utf-8")
    heat = figure("fig-heat", charts.coupling_heatmap(cf.bounded()), r"Shift of \(N_t\) in %.")
    dots = figure("fig-dots", charts.stance_dots(stances(NASTY)))
    evil = figure("fig-evil", charts.stance_dots(stances(EVIL)), html.escape(EVIL))
    slider = figure("fig-scores", charts.gamma_slider(cf.raw_scores(), 5.0))
    broken = dots.replace('"mark":{', '"mark":{"type":"nonsense"},"was":{', 1).replace("fig-dots", "fig-x")
    pages = {"all": heat + dots + slider, "heat": heat, "broken": broken + heat, "evil": evil, "no": heat}

    def write(name: str, body: str) -> str:
        scripts = ["missing.js" if name == "no" else "vega-bundle.js", "polinb-charts.js"]
        return app_page.write(root, body, scripts, ["polinb-charts.css"], f"{name}.html")

    return {name: write(name, body) for name, body in pages.items()}


@pytest.fixture
def opened(visit, addresses):
    def open_page(name):
        page = visit(addresses[name])
        page.evaluate("window.polinbDrawAll()")
        page.wait_for_function(READY)
        return page

    return open_page


def test_charts_are_saved_as_they_are_drawn(opened):
    page = opened("all")
    name, content = saved(page, "#fig-heat button[data-kind=svg]")
    root = ET.fromstring(content)
    assert name == "fig-heat.svg" and root.tag.endswith("svg")
    assert len([n for n in root.iter() if n.get("aria-roledescription") == "rect mark"]) == 9
    name, content = saved(page, "#fig-heat button[data-kind=png]")
    assert name == "fig-heat.png" and content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    box = page.locator("#fig-heat svg").bounding_box()
    assert abs(width - 2 * box["width"]) < 8 and abs(height - 2 * box["height"]) < 8


def test_where_drawing_fails_the_picture_stays(visit, addresses):
    for name in ("broken", "no"):
        page = visit(addresses[name], clean=False)
        bad = page.locator(".polinb-vega").first
        page.wait_for_function("document.querySelector('.polinb-vega').dataset.state === 'error'")
        assert bad.locator("img.polinb-fallback").is_visible() and bad.locator("svg, button").count() == 0
        assert bad.get_attribute("data-error")
        if name == "broken":  # the next chart is not hurt
            page.wait_for_function("document.querySelectorAll('.polinb-vega')[1].dataset.state === 'ready'")


def test_values_can_be_read_with_the_keyboard(opened):
    page = opened("heat")
    chart = page.locator(".polinb-chart")
    assert page.locator("svg").get_attribute("aria-hidden") == "true"  # the label already says it
    said = page.locator(".polinb-said")
    page.keyboard.press("Tab")
    assert chart.evaluate("node => node === document.activeElement")
    page.keyboard.press("ArrowRight")
    assert "topic fine-tuned on: crime" in said.inner_text() and "questions: 8" in said.inner_text()
    assert "95 % interval: 0.5 to 1.1" in said.inner_text()
    page.keyboard.press("ArrowRight")
    assert "topic asked about: race" in said.inner_text()
    assert page.locator(".polinb-current").count() == 1
    page.keyboard.press("End")
    assert "topic fine-tuned on: economy" in said.inner_text() and "asked about: economy" in said.inner_text()
    page.keyboard.press("Escape")
    assert said.inner_text() == "" and page.locator(".polinb-current").count() == 0


def test_the_slider_and_the_menu_show_the_exact_sets(opened):
    page = opened("all")
    steps = sorted({*map(float, GAMMAS), 5.0})
    slider, menu = page.locator("#fig-scores input[type=range]"), page.locator("#fig-scores .polinb-inputs select")
    assert slider.get_attribute("aria-valuetext") == "5 %"
    for gamma, topic in ((5.0, "crime"), (1.0, "race"), (25.0, "economy")):
        menu.select_option(topic)
        slider.fill(str(steps.index(gamma)))
        sets = neuron_sets(cf.raw_scores(), gamma)
        general, own = int(sets.general.sum()), int(sets.specific[topic].sum())
        chosen = int(sets.political[topic].sum())
        line = f"γ = {gamma:g} %, {topic}: {chosen:,} neurons in Nₜ, {general:,} in G, {own:,} in Sₜ"
        page.wait_for_function(
            "line => [...document.querySelectorAll('#fig-scores svg text')].some(n => n.textContent === line)", arg=line
        )
        for one in cf.TOPICS:
            told = f"G {general:,} · Sₜ {int(sets.specific[one].sum()):,} · strict {int(sets.strict[one].sum()):,}"
            assert told in page.locator("#fig-scores svg text").all_text_contents(), (gamma, one)
        assert slider.get_attribute("aria-valuetext") == f"{gamma:g} %"
    slider.press("ArrowLeft")
    page.wait_for_function("document.querySelector('.polinb-step').textContent === '20 %'")


def test_files_of_a_chart_hold_its_numbers_and_are_inert():
    spec = charts.coupling_heatmap(cf.bounded()).to_dict()
    got = pd.read_csv(io.StringIO(export.chart_csv(spec)))
    pd.testing.assert_frame_equal(got, cf.bounded().set_axis(list(got), axis=1), check_exact=False, rtol=1e-12)
    text = export.chart_latex(spec, "fig-heat", "Shift of $N_t$ in %.")
    assert r"\caption{Shift of \(N_t\) in \%.}" in text and r"\label{fig:heat}" in text
    assert r"crime & economy & \(-\)0.1 & \(-\)0.4 & 0.2 & 8 \\" in text and text.count(r"\\") == 1 + 9
    saved_csv = export.chart_csv(charts.stance_dots(stances(NASTY)).to_dict())
    rows = list(csv.DictReader(io.StringIO(saved_csv)))
    assert {row["condition"] for row in rows} == {*cf.CONDITIONS[:2], "'" + NASTY}, "no formula"
    assert any(row["stance"].startswith("-") for row in rows), "a negative number stays a number"
    links = BeautifulSoup(export.links("fig-heat", saved_csv, text), "html.parser").find_all("a")
    files = {a["download"]: base64.b64decode(a["href"].partition(";base64,")[2]).decode() for a in links}
    assert files == {"fig-heat.csv": saved_csv, "fig-heat.tex": text}, "saved without a script"


def test_text_of_data_stays_text(opened):
    """Names with markup in every place where the page shows data: status line, menu, tooltip, saved files."""
    page = opened("evil")
    point = page.locator('svg [aria-roledescription="point"]').nth(2)
    point.hover()
    page.locator("#vg-tooltip-element").wait_for(state="visible")
    page.locator(".polinb-chart").focus()
    page.keyboard.press("End")
    assert EVIL in page.locator(".polinb-said").inner_text()
    assert page.locator("img:not(.polinb-fallback)").count() == 0 and page.evaluate("window.hurt") is None

"""Charts in a real browser: drawn from file://, read with the keyboard, moved by their controls, and saved."""

from __future__ import annotations

import csv
import html
import io
import math
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from book._make import vendor
from polinb.display import charts, tables
from polinb.display.charts import GAMMAS
from polinb.display.webdata import web_folder
from polinb.scoring.pnlac import neuron_sets
from polinb.wording import LIVE, PAYLOAD
from polinb_book import export, latex
from polinb_book.outputs import chart_html

ASSETS = Path(__file__).parents[2] / "book" / "_assets"
TOPICS = ["crime", "race", "economy"]
NASTY = r"=1+1 50 % & 3 $ # {x}_y ^ ~ \cmd <b>|\"q\" −2 γ [a] --"
LIMIT_MS = 2000
POINTS = "[...document.querySelectorAll('#fig-dots svg [aria-roledescription=point]')]"
FADED = POINTS + ".some(n => n.getAttribute('opacity') < 0.5)"
READY = "!document.querySelector('.polinb-vega:not([data-state=ready])')"


def cells() -> pd.DataFrame:
    rows = [
        (a, b, (d := 0.3 * i - 0.25 * j), d - 0.3, d + 0.3, 8 + i)
        for i, a in enumerate(TOPICS)
        for j, b in enumerate(TOPICS)
    ]
    return pd.DataFrame(rows, columns=["trained", "tested", "delta", "low", "high", "n"])


def stances() -> pd.DataFrame:
    rows = [
        (t, a, 0.2 * i - 0.1 * j, -0.5, 0.5) for i, t in enumerate(TOPICS) for j, a in enumerate(["vanilla", NASTY])
    ]
    return pd.DataFrame(rows, columns=["topic", "condition", "stance", "low", "high"])


def scores() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shared = rng.lognormal(size=(6, 200))
    return {topic: shared * rng.lognormal(sigma=0.6, size=shared.shape) for topic in TOPICS}


def trade() -> pd.DataFrame:
    rows = [(f"condition {i}{k}", f"family {i}", 0.2 * i, 0.1 * k, i == 1) for i in range(3) for k in range(3)]
    return pd.DataFrame(rows, columns=["condition", "family", "x", "y", "label"])


def figure(name: str, chart, caption: str = "A caption.") -> str:
    data, _ = charts.bundle(chart.to_dict())
    body = chart_html({**data[PAYLOAD], "spec": data[LIVE], "picture": data["image/png"], "label": name})
    return f'<figure id="{name}">{body}<figcaption><span class="caption-text">{caption}</span></figcaption></figure>'


def page(*parts: str, bundle: str = "vega-bundle.js") -> str:
    head = "".join(f'<script defer src="{name}"></script>' for name in ("dom.js", bundle, "polinb-charts.js"))
    style = '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="polinb-charts.css">'
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title>{style}{head}<body>{''.join(parts)}</body>"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages of charts with the scripts beside them, as in the book."""
    root = tmp_path_factory.mktemp("charts")
    (root / "vega-bundle.js").write_text(vendor.vega_bundle(), "utf-8")
    for path in (ASSETS / "polinb-charts.js", ASSETS / "polinb-charts.css", web_folder() / "dom.js"):
        (root / path.name).write_bytes(path.read_bytes())
    heat = figure("fig-heat", charts.coupling_heatmap(cells()), r"Shift of \(N_t\) in %.")
    dots = figure("fig-dots", charts.stance_dots(stances()))
    slider = figure("fig-scores", charts.gamma_slider(scores(), 5.0))
    pareto = figure("fig-pareto", charts.pareto(trade(), "shift", "coupling"))
    (root / "all.html").write_text(page(heat, dots, slider, pareto), "utf-8")
    (root / "heat.html").write_text(page(heat), "utf-8")
    (root / "slider.html").write_text(page(slider), "utf-8")
    (root / "long.html").write_text(
        page(heat, '<div style="height:6000px"></div>', dots.replace("fig-dots", "fig-b")), "utf-8"
    )
    broken = dots.replace('"mark":{', '"mark":{"type":"nonsense"},"was":{', 1)
    (root / "broken.html").write_text(page(broken.replace("fig-dots", "fig-x"), heat), "utf-8")
    (root / "nobundle.html").write_text(page(heat, bundle="missing.js"), "utf-8")
    return root


def address(folder: Path, name: str) -> str:
    return (folder / name).as_uri()


def opened(visit, folder, name, **options):
    seen = visit(address(folder, name), allowed=folder.as_uri(), **options)
    seen.page.evaluate("window.polinbDrawAll()")
    seen.page.wait_for_function(READY)
    return seen.page


def saved(page, name: str, kind: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.click(f"#{name} button[data-kind={kind}]")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


# --- drawing


def test_every_chart_is_drawn_and_nothing_is_asked_of_another_host(visit, folder):
    seen = visit(address(folder, "all.html"), allowed=folder.as_uri())
    seen.page.evaluate("window.polinbDrawAll()")
    seen.page.wait_for_function(READY)
    seen.assert_clean()
    assert seen.page.locator("img.polinb-fallback:visible").count() == 0
    for name, role, count in (("fig-heat", "rect", 9), ("fig-dots", "point", 6), ("fig-pareto", "point", 9)):
        found = seen.page.locator(f'#{name} svg [aria-roledescription="{role}{" mark" if role == "rect" else ""}"]')
        assert found.count() == count, name


def test_the_first_chart_is_drawn_within_two_seconds(visit, folder):
    page = visit(address(folder, "all.html"), allowed=folder.as_uri()).page
    page.wait_for_function("performance.getEntriesByName('polinb-chart-ready').length > 0")
    at = page.evaluate(
        "performance.getEntriesByName('polinb-chart-ready')[0].startTime"
    )  # since the page was asked for
    assert at < LIMIT_MS, f"the first chart took {at:.0f} ms"


def test_a_chart_far_below_waits_for_the_reader(visit, folder):
    page = visit(address(folder, "long.html"), allowed=folder.as_uri()).page
    page.wait_for_function("document.querySelector('#fig-heat .polinb-vega').dataset.state === 'ready'")
    assert page.locator("#fig-b .polinb-vega").get_attribute("data-state") is None
    page.evaluate("document.querySelector('#fig-b').scrollIntoView()")
    page.wait_for_function(READY)


def test_printing_draws_the_rest(visit, folder):
    page = visit(address(folder, "long.html"), allowed=folder.as_uri()).page
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(READY)


@pytest.mark.parametrize(("name", "why"), [("broken.html", "nonsense"), ("nobundle.html", "bundle")])
def test_where_drawing_fails_the_picture_stays(visit, folder, name, why):
    page = visit(address(folder, name), allowed=folder.as_uri()).page
    bad = page.locator(".polinb-vega").first
    page.wait_for_function("document.querySelector('.polinb-vega').dataset.state === 'error'")
    assert bad.locator("img.polinb-fallback").is_visible() and bad.locator("svg, button").count() == 0
    if name == "broken.html":  # the next chart is not hurt
        page.wait_for_function("document.querySelectorAll('.polinb-vega')[1].dataset.state === 'ready'")
    else:
        assert why in bad.get_attribute("data-error")


def test_without_a_script_every_picture_stands_with_its_text(visit, folder):
    page = visit(address(folder, "all.html"), allowed=folder.as_uri(), java_script_enabled=False).page
    pictures = page.locator("img.polinb-fallback")
    assert pictures.count() == 4
    for one in pictures.all():
        assert one.is_visible() and len(one.get_attribute("alt")) > 60
        box = one.bounding_box()
        assert box["width"] > 200 and box["height"] > 100
    assert page.locator("button").count() == 0


def test_the_picture_has_the_size_of_the_drawing(visit, folder):
    page = visit(address(folder, "heat.html"), allowed=folder.as_uri(), java_script_enabled=False).page
    picture = page.locator("img.polinb-fallback").bounding_box()
    drawn = opened(visit, folder, "heat.html").locator("svg").bounding_box()
    assert abs(picture["width"] - drawn["width"]) < 30 and abs(picture["height"] - drawn["height"]) < 30


def test_charts_fit_a_phone_or_scroll_in_their_own_box(visit, folder):
    page = opened(visit, folder, "all.html", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#fig-pareto svg").bounding_box()["width"] <= 390  # 440 wide on a large screen
    for bar in page.locator(".polinb-tools").all():
        box = bar.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390


# --- reading


def test_values_can_be_read_with_the_keyboard(visit, folder):
    page = opened(visit, folder, "heat.html")
    chart = page.locator(".polinb-chart")
    assert "Heat map" in chart.get_attribute("aria-label")
    assert page.locator("svg").get_attribute("aria-hidden") == "true"  # the label already says it
    said = page.locator(".polinb-said")
    page.keyboard.press("Tab")
    assert chart.evaluate("node => node === document.activeElement")
    first = cells().iloc[0]
    page.keyboard.press("ArrowRight")
    assert f"topic fine-tuned on: {first.trained}" in said.inner_text() and "questions: 8" in said.inner_text()
    assert "95 % interval: −0.3 to 0.3" in said.inner_text()
    page.keyboard.press("ArrowRight")
    assert "topic asked about: race" in said.inner_text()
    assert page.locator(".polinb-current").count() == 1
    page.keyboard.press("End")
    assert "topic asked about: economy" in said.inner_text() and "questions: 10" in said.inner_text()
    page.keyboard.press("Escape")
    assert said.inner_text() == "" and page.locator(".polinb-current").count() == 0


def test_a_pointer_finds_interval_and_count(visit, folder):
    page = opened(visit, folder, "heat.html")
    page.locator('svg [aria-roledescription="rect mark"]').nth(4).hover(force=True)
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert "95 % interval" in tip.inner_text() and "questions" in tip.inner_text() and "race" in tip.inner_text()


def test_cells_that_may_be_zero_are_weaker(visit, folder):
    page = opened(visit, folder, "heat.html")
    opacity = page.locator('svg [aria-roledescription="rect mark"]').evaluate_all(
        "nodes => nodes.map(n => Number(getComputedStyle(n).fillOpacity))"
    )
    frame = cells()
    weak = ((frame.low <= 0) & (frame.high >= 0)).tolist()
    assert True in weak and False in weak
    assert [o < 0.5 for o in opacity] == weak


def test_one_series_can_be_pointed_out(visit, folder):
    page = opened(visit, folder, "all.html")
    chooser = page.locator("#fig-dots .polinb-highlight select")
    assert chooser.locator("option").all_inner_texts() == ["all", "vanilla", NASTY]
    points = page.locator('#fig-dots svg [aria-roledescription="point"]')

    def opacities():
        return points.evaluate_all("nodes => nodes.map(n => Number(n.getAttribute('opacity') ?? 1))")

    assert set(opacities()) == {1}
    chooser.select_option(label="vanilla")
    page.wait_for_function(FADED)
    assert sorted(opacities()) == [0.12] * 3 + [1] * 3
    chooser.select_option(label="all")
    page.wait_for_function("!" + FADED)
    page.locator('#fig-dots svg g[aria-roledescription="legend"] text', has_text="vanilla").first.click(force=True)
    page.wait_for_function("document.querySelector('#fig-dots .polinb-highlight select').value === '0'")


# --- the slider


def words(page) -> list[str]:
    return page.locator("#fig-scores svg text").all_text_contents()


def test_the_slider_and_the_menu_show_the_exact_sets(visit, folder):
    page = opened(visit, folder, "slider.html")
    steps = sorted({*map(float, GAMMAS), 5.0})
    slider, menu = page.locator("#fig-scores input[type=range]"), page.locator("#fig-scores .polinb-inputs select")
    assert slider.get_attribute("aria-valuetext") == "5 %" and page.locator(".polinb-step").inner_text() == "5 %"
    before = page.locator("#fig-scores svg").inner_html()
    for gamma, topic in ((5.0, "crime"), (1.0, "race"), (25.0, "economy")):
        menu.select_option(topic)
        slider.fill(str(steps.index(gamma)))
        sets = neuron_sets(scores(), gamma)
        general, own = int(sets.general.sum()), int(sets.specific[topic].sum())
        chosen = int(sets.political[topic].sum())
        line = f"γ = {gamma:g} %, {topic}: {chosen:,} neurons in Nₜ, {general:,} in G, {own:,} in Sₜ"
        page.wait_for_function(
            "line => [...document.querySelectorAll('#fig-scores svg text')].some(n => n.textContent === line)", arg=line
        )
        for one in TOPICS:
            told = f"G {general:,} · Sₜ {int(sets.specific[one].sum()):,} · strict {int(sets.strict[one].sum()):,}"
            assert told in words(page), (gamma, one)
        assert slider.get_attribute("aria-valuetext") == f"{gamma:g} %"
    assert page.locator("#fig-scores svg").inner_html() != before


def test_the_slider_moves_with_the_arrow_keys(visit, folder):
    page = opened(visit, folder, "slider.html")
    page.locator("#fig-scores input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.polinb-step').textContent === '6 %'")


# --- saving


def test_svg_and_png_are_the_drawn_view(visit, folder):
    page = opened(visit, folder, "all.html")
    name, content = saved(page, "fig-heat", "svg")
    root = ET.fromstring(content)
    assert name == "fig-heat.svg" and root.tag.endswith("svg")
    assert len([n for n in root.iter() if n.get("aria-roledescription") == "rect mark"]) == 9
    name, content = saved(page, "fig-heat", "png")
    assert name == "fig-heat.png" and content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    box = page.locator("#fig-heat svg").bounding_box()
    assert abs(width - 2 * box["width"]) < 8 and abs(height - 2 * box["height"]) < 8


def test_csv_holds_the_numbers_of_the_frame():
    got = pd.read_csv(io.StringIO(export.chart_csv(charts.coupling_heatmap(cells()).to_dict())))
    assert list(got) == ["topic fine-tuned on", "topic asked about", "shift", "low", "high", "n"]
    pd.testing.assert_frame_equal(got, cells().set_axis(list(got), axis=1), check_exact=False, rtol=1e-12)


def test_csv_runs_no_formula():
    rows = list(csv.DictReader(io.StringIO(export.chart_csv(charts.stance_dots(stances()).to_dict()))))
    assert {row["condition"] for row in rows} == {"vanilla", "'" + NASTY}
    assert any(row["stance"].startswith("-") for row in rows)  # a negative number stays a number


def test_latex_is_balanced_and_escaped():
    text = export.chart_latex(charts.coupling_heatmap(cells()).to_dict(), "fig-heat", "Shift of $N_t$ in %.")
    assert r"\caption{Shift of \(N_t\) in \%.}" in text and r"\label{fig:heat}" in text
    assert text.count(r"\\") == 1 + 9 and text.count(r"\toprule") == 1
    assert r"crime & race & \(-\)0.25 & \(-\)0.55 & 0.05 & 8 \\" in text
    text = export.chart_latex(charts.stance_dots(stances()).to_dict(), "fig-dots", "x")
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}") and latex.escape(NASTY) in text


def test_tables_links_work_without_a_script(visit, tmp_path):
    frame = pd.DataFrame({"name": [NASTY, "-x"], "value": [-1.5, math.inf]})
    shown = tables.numbered_table(frame, "tbl-x", "A caption.").payload
    files = {
        "CSV": ("csv", "text/csv", export.table_csv(shown)),
        "LaTeX": ("tex", "text/x-tex", export.table_latex(shown)),
    }
    links = re.findall(r"<a .*?</a>", export.links("tbl-x", files))
    assert len(links) == 2
    (tmp_path / "t.html").write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{''.join(links)}", "utf-8")
    page = visit((tmp_path / "t.html").as_uri(), java_script_enabled=False).page
    got = {}
    for link in page.locator("a").all():
        with page.expect_download() as waiting:
            link.click()
        got[waiting.value.suggested_filename] = Path(waiting.value.path()).read_text("utf-8")
    assert set(got) == {"tbl-x.csv", "tbl-x.tex"}
    rows = list(csv.reader(io.StringIO(got["tbl-x.csv"])))
    assert rows == [["name", "value"], ["'" + NASTY, "-1.5"], ["'-x", "inf"]]
    assert latex.escape(NASTY) in got["tbl-x.tex"]


def test_text_of_data_stays_text(visit, tmp_path, folder):
    """Names with markup in every place where the page shows data: status line, menu, tooltip, saved files."""
    evil = '<img src=x onerror="window.hurt=1">'
    frame = stances().replace(NASTY, evil)
    for name in ("dom.js", "vega-bundle.js", "polinb-charts.js", "polinb-charts.css"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "evil.html").write_text(page_of(frame, html.escape(evil)), "utf-8")
    page = visit((tmp_path / "evil.html").as_uri(), allowed=tmp_path.as_uri()).page
    page.evaluate("window.polinbDrawAll()")
    page.wait_for_function(READY)
    page.locator('svg [aria-roledescription="point"]').nth(1).hover()
    page.locator("#vg-tooltip-element").wait_for(state="visible")
    page.locator(".polinb-chart").focus()
    page.keyboard.press("End")
    assert evil in page.locator(".polinb-said").inner_text()
    assert page.locator("img:not(.polinb-fallback)").count() == 0 and page.evaluate("window.hurt") is None


def page_of(frame: pd.DataFrame, caption: str) -> str:
    return page(figure("fig-evil", charts.stance_dots(frame), caption))

"""Charts of the reference run in their boxes: drawn when a box is opened, by keyboard too, at any width."""

from __future__ import annotations

import base64
import re

import pytest
from test_charts_live import ASSETS, address, cells, figure, page, saved

from book._make import vendor
from polinb.display import charts

BOX = "details.polinb-reference"
LATER = f"{BOX} > figure > div"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page with a chart, and the same of the reference run in a closed box, with and without the drawing script."""
    root = tmp_path_factory.mktemp("boxes")
    (root / "vega-bundle.js").write_text(vendor.vega_bundle(), "utf-8")
    for name in ("polinb-charts.js", "polinb-charts.css", "polinb-reference.css"):
        (root / name).write_bytes((ASSETS / name).read_bytes())
    number = '<span class="caption-number">Fig. 3.2</span>'
    own = figure("fig-heat", charts.coupling_heatmap(cells())).replace("<figcaption>", f"<figcaption>{number}")
    picture = re.search(r"base64,([^\"]+)", own)[1]
    (root / "heat.png").write_bytes(base64.b64decode(picture))
    other = own.replace("polinb-vega", "polinb-later").replace('id="fig-heat"', 'id="fig-heat-reference"')
    other = other.replace("<figure ", '<figure class="polinb-reference-figure" ').replace(number, "")
    other = re.sub(r'src="data:[^"]+"', 'loading=lazy src="heat.png"', other)
    box = f'<details class="polinb-reference"><summary>The same figure</summary>\n{other}\n</details>'
    style = '<link rel="stylesheet" href="polinb-reference.css">'
    (root / "box.html").write_text(page(style, own, box), "utf-8")
    (root / "plain.html").write_text(page(style, own, box, bundle="missing.js"), "utf-8")
    return root


@pytest.mark.parametrize("width", [1200, 390])
def test_a_box_draws_its_chart_when_it_is_opened(visit, folder, width):
    seen = visit(address(folder, "box.html"), allowed=folder.as_uri(), viewport={"width": width, "height": 800})
    tab = seen.page
    tab.evaluate("window.polinbDrawAll()")
    tab.wait_for_function("document.querySelector('#fig-heat .polinb-vega').dataset.state === 'ready'")
    assert tab.locator(LATER).get_attribute("class") == "polinb-later", "not drawn while it has no width"
    assert tab.locator(f"{LATER} svg").count() == 0
    tab.locator(f"{BOX} > summary").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function(f"document.querySelector('{LATER}').dataset.state === 'ready'")
    own, other = (tab.locator(f"{where} svg").first.bounding_box() for where in ("#fig-heat", "#fig-heat-reference"))
    assert other["width"] > 150 and abs(other["height"] - own["height"]) < 60
    assert other["x"] + other["width"] <= width, "as wide as the page lets it be"
    assert not tab.locator(f"{LATER} img").is_visible() and tab.locator(f"{LATER} .polinb-tools").is_visible()
    label = tab.locator(f"{LATER} button[data-kind=csv]").get_attribute("aria-label")
    assert label == "Save figure 3.2 of the reference run as CSV"
    name, content = saved(tab, "fig-heat-reference", "csv")
    assert name == "fig-heat-reference.csv" and content
    seen.assert_clean()


def test_closing_and_opening_again_draws_once(visit, folder):
    tab = visit(address(folder, "box.html"), allowed=folder.as_uri()).page
    summary = tab.locator(f"{BOX} > summary")
    for _ in range(3):
        summary.click()
    tab.wait_for_function(f"document.querySelector('{LATER}').dataset.state === 'ready'")
    assert tab.locator(f"{LATER} .polinb-tools").count() == 1


def test_without_the_drawing_script_the_picture_shows(visit, folder):
    tab = visit(address(folder, "plain.html"), allowed=folder.as_uri()).page
    tab.locator(f"{BOX} > summary").click()
    tab.wait_for_function(f"document.querySelector('{LATER} img').naturalWidth > 0")
    assert tab.locator(f"{LATER} img").is_visible()

"""The neuron explorer's links, its looks (narrow, fine, dark) and its live twin, in a real browser."""

import json

import explorer_payload as made_up
import numpy as np
import pytest
from conftest import served

PLANTED = [(4, 123), (1, 7)]
READY = ".polinb-app[data-state=ready]"
CANVAS = "(() => { const c = document.querySelector('.nx-map canvas'); return [c.width, c.clientWidth]; })()"

# contrast of every text inside the explorer against the first ground with a colour under it
CONTRAST = """() => {
  const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const rgba = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const ground = (node) => {
    const stack = [];
    for (let n = node; n; n = n.parentElement) stack.push(rgba(getComputedStyle(n).backgroundColor));
    return stack.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const bad = [];
  let seen = 0;
  for (const node of document.querySelectorAll(".nx *")) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest(".nx-sr, option")) continue;
    seen++;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([node.className, node.textContent.slice(0, 30), ratio.toFixed(2)]);
  }
  return { seen, bad };
}"""


@pytest.fixture(scope="module")
def made():
    return made_up.make(planted=PLANTED)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("explorer")
    made_up.write(out, made)
    return out


@pytest.fixture
def at(visit, folder):
    """Opens the page over file://; the argument is the address's fragment."""

    def go(fragment="", wait=READY, **options):
        seen = visit((folder / "page.html").as_uri() + fragment, **options)
        seen.page.wait_for_selector(wait, state="attached")
        return seen

    return go


def choose_gamma(page, place):
    page.locator("input[name=gamma]").evaluate(
        "(node, v) => { node.value = v; node.dispatchEvent(new Event('input', {bubbles: true})); }", str(place)
    )


def picture(page):
    return page.evaluate("document.querySelector('.nx-map canvas').toDataURL()")


# --- links ---


def test_a_link_restores_the_view(at):
    seen = at("#explorer?topic=gun+control&type=S&gamma=10&layer=4&cards=1&order=rank&neuron=4.123")
    page = seen.page
    assert page.locator("select[name=topic] option:checked").text_content() == "gun control"
    assert page.locator("select[name=type]").input_value() == "S"
    assert page.locator("select[name=layer]").input_value() == "4"
    assert page.locator("select[name=order]").input_value() == "rank"
    assert page.locator("input[name=cards]").is_checked()
    assert page.locator(".nx-told").text_content().startswith("γ = 10 %")
    assert page.locator(".nx-card h3").text_content() == "Neuron 4.123"
    seen.assert_clean()


@pytest.mark.parametrize(
    "fragment",
    [
        "#explorer?topic=nobody&type=constructor&gamma=5.5&layer=99&neuron=99.1&order=up&cards=yes",
        "#explorer?layer=-1&neuron=%3Cimg%20src%3Dx%3E&gamma=",
        "#explorer?%E0%A4%A",
        "#somewhere-else",
    ],
)
def test_garbage_in_a_link_is_ignored(at, fragment):
    seen = at(fragment)
    page = seen.page
    assert page.locator("select[name=topic]").input_value() == "-1"
    assert page.locator("select[name=layer]").input_value() == "-1"
    assert page.locator("select[name=type]").input_value() == "all"
    assert page.locator(".nx-told").text_content().startswith("γ = 5 %")
    assert page.locator(".nx-card").count() == 0
    seen.assert_clean()


def test_the_address_follows_and_the_link_is_copied(at, visit):
    seen = at(permissions=["clipboard-read", "clipboard-write"])
    page = seen.page
    page.select_option("select[name=topic]", label="race")
    choose_gamma(page, 2)
    page.locator("input[name=jump]").fill("1.7")
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash.includes('neuron=1.7')")
    assert page.evaluate("location.hash") == "#explorer?topic=race&gamma=0.5&neuron=1.7"
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_function("document.querySelector('[name=copy]').parentElement.textContent.includes('copied')")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    again = visit(link).page
    again.wait_for_selector(READY, state="attached")
    assert again.locator(".nx-card h3").text_content() == "Neuron 1.7"
    # a link followed inside the open page
    page.evaluate("location.hash = '#explorer?topic=taxation'")
    page.wait_for_function("document.querySelector('select[name=topic]').selectedOptions[0].text === 'taxation'")
    assert page.locator(".nx-card").count() == 0
    seen.assert_clean()


def test_a_closed_clipboard_leaves_the_link_to_copy_by_hand(at):
    page = at().page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_selector(".nx-link:visible")
    assert page.locator(".nx-link").input_value().endswith("#explorer?")


# --- looks ---


@pytest.mark.parametrize("fragment", ["", "#explorer?neuron=4.123", "#explorer?layer=4&neuron=0.0"])
def test_nothing_runs_out_at_390_pixels(at, fragment):
    page = at(fragment, viewport={"width": 390, "height": 800}, device_scale_factor=2).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    out = page.evaluate(
        """() => [...document.querySelectorAll('.nx *')].filter((n) => !n.closest('.nx-scroll, .nx-sr, svg') &&
          n.getBoundingClientRect().right > 391).map((n) => n.className + ' ' + n.textContent.slice(0, 40))"""
    )
    assert out == []
    canvas = page.evaluate(
        "(() => { const c = document.querySelector('.nx-map canvas'); return [c.width, c.clientWidth]; })()"
    )
    assert canvas[0] == 2 * canvas[1], "the map is blurred on a fine screen"


def test_the_map_follows_its_container(at):
    page = at().page
    wide = page.evaluate("document.querySelector('.nx-map canvas').width")
    page.set_viewport_size({"width": 500, "height": 800})
    page.wait_for_function("w => document.querySelector('.nx-map canvas').width < w", arg=wide)
    assert page.evaluate(
        "(() => { const c = document.querySelector('.nx-map canvas'); return c.width === c.clientWidth; })()"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(visit, made, tmp_path, dark):
    url = made_up.write(tmp_path, made, dark).as_uri() + "#explorer?neuron=4.123&topic=race"
    page = visit(url).page
    page.wait_for_selector(READY, state="attached")
    found = page.evaluate(CONTRAST)
    assert found["seen"] > 100
    assert found["bad"] == []


def test_the_map_is_drawn_anew_when_the_theme_changes(at):
    page = at().page
    before = picture(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function("old => document.querySelector('.nx-map canvas').toDataURL() !== old", arg=before)


def test_greys_rise_with_the_level(at):
    """A perceptual order: each higher level is darker in the light theme, lighter in the dark one."""
    page = at().page
    for theme, sign in (("light", -1), ("dark", 1)):
        page.evaluate("t => { document.documentElement.dataset.theme = t; }", theme)
        shades = page.evaluate(
            """() => { const ink = polinbExplorer.inks(document.querySelector('.nx-map'));
            const shades = polinbExplorer.shades([100, 50, 20, 10, 5, 1, 0.5, 0.1], ink, 0, 7);
            return shades.map((c) => c.match(/\\d+/g).map(Number)); }"""
        )
        light = np.array(shades) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(light) * sign > 0).all(), (theme, light)


# --- the live twin ---


def test_the_widget_module_draws_the_same_and_syncs(visit, made, tmp_path):
    from polinb.display.widgets import NeuronExplorer

    (tmp_path / "widget.js").write_text(NeuronExplorer._esm, "utf-8")
    (tmp_path / "widget.css").write_text(NeuronExplorer._css, "utf-8")
    (tmp_path / "levels.bin").write_bytes(made.blobs["levels"])
    (tmp_path / "payload.json").write_text(json.dumps(made.payload), "utf-8")
    (tmp_path / "page.html").write_text(
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<link rel="stylesheet" href="widget.css"><div id="here"></div>'
        """<script type="module">
        import widget from "./widget.js";
        const buffer = await (await fetch("levels.bin")).arrayBuffer();
        const payload = await (await fetch("payload.json")).json();
        const state = { payload, blobs: { levels: new DataView(buffer) }, selected: [1, 7] }, heard = {};
        window.sent = [];
        window.model = { get: (n) => state[n], on: (n, f) => { heard[n] = f; }, off: (n) => { delete heard[n]; },
          set: (n, v) => { state[n] = v; }, save_changes: () => window.sent.push([...state.selected]),
          fromPython: (n, v) => { state[n] = v; heard["change:" + n](); }, heard };
        window.stop = widget.render({ model: window.model, el: document.getElementById("here") });
        </script>""",
        "utf-8",
    )
    with served(tmp_path) as address:
        seen = visit(f"{address}/page.html")
        page = seen.page
        page.wait_for_selector(".nx-card h3")
        assert page.locator(".nx-card h3").text_content() == "Neuron 1.7"
        assert page.get_by_role("button", name="Copy link").count() == 0
        page.evaluate("model.fromPython('selected', [4, 123])")
        assert page.locator(".nx-card h3").text_content() == "Neuron 4.123"
        page.locator("input[name=jump]").fill("2.33")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Close").click()
        assert page.evaluate("window.sent") == [[2, 33], []]
        assert "#" not in page.url
        page.evaluate("model.fromPython('payload', {...model.get('payload'), version: 9})")
        assert "version 9" in page.locator("#here [role=alert]").text_content()
        page.evaluate("window.stop()")
        assert page.evaluate("Object.keys(model.heard)") == []
        seen.assert_clean()

"""The static neuron explorer in a real browser: counts against PNLAC's, filters, map, keys, cards, links."""

import copy
import json
from types import SimpleNamespace

import app_page
import numpy as np
import pandas as pd
import pytest
from app_page import saved
from conftest import served

from polinb.chapters.browse.cards import ALL, Cards, picks
from polinb.display.explorer import explorer_payload
from polinb.display.webdata import embed
from polinb.display.widgets import NeuronExplorer
from polinb.runs.params import Params
from polinb.scoring.pnlac import neuron_sets

TOPICS = ("race", "gun control", "immigration", "abortion", "taxation", "climate")
HOSTILE = ("<img src=x onerror=\"document.title='broken in'\">", "<script>document.title='broken in'</script>")
VARIANTS = ("values", "left", "right")
SIDES = ("vanilla", "left", "right")
SHAPE = (6, 400)
TOKENS = [" I", " think", " the", " tax", " on", " guns", "\n", HOSTILE[0], " is", " too", " high", HOSTILE[1], "."]
PLANTED = [(4, 123), (1, 7)]  # strongest for each topic


@pytest.fixture(scope="module")
def made():
    """Made-up scores, and what the package makes of them and of made-up cards: payload and blobs."""
    random = np.random.default_rng(0)
    common = random.standard_normal(SHAPE)  # G is not empty
    scores = {topic: np.exp(0.8 * common + 0.6 * random.standard_normal(SHAPE)) for topic in TOPICS}
    for score in scores.values():
        score[PLANTED[0]], score[PLANTED[1]] = 100, 99
    sets = neuron_sets(scores, 5.0)
    both = SimpleNamespace(general=sets.general, specific=sets.specific | {"race": sets.strict["race"]})
    chosen = picks(scores, both, general=8, specific=2)
    own = [(pick.layer, pick.neuron) for pick in chosen]
    rows = pd.DataFrame([(*at, topic) for at in own for topic in (ALL, *TOPICS)], columns=["layer", "neuron", "topic"])
    effect = np.where(rows["topic"] == ALL, 0.0123, random.normal(0, 0.02, len(rows)))
    means = {side: random.normal(0.2, 0.3, len(rows)) for side in SIDES}
    lens = [("a\u202eb\u0007\n", 3.0), (HOSTILE[0], 2.75), (HOSTILE[1], 2.5)]

    def context(topic):
        values = {name: np.round(random.standard_normal(len(TOKENS)), 3).tolist() for name in VARIANTS}
        peak = int(np.abs(values["values"]).argmax())
        return {"topic": topic, "source": "statement", "start": 3, "tokens": TOKENS, "peak": peak, **values}

    def histogram():
        return {"width": 0.25} | {side: dict(enumerate(random.integers(1, 60, 9).tolist(), -3)) for side in SIDES}

    found = Cards(
        picks=chosen,
        nulls={"uniform": own[:4], "near": own[4:8]},
        scores=scores,
        normalised={topic: score * random.uniform(0.1, 2, SHAPE) for topic, score in scores.items()},
        scale=random.uniform(0.1, 1, SHAPE),
        lens=[{"promoted": lens, "suppressed": lens} for _ in own],
        means=rows.assign(n=40, **means)[rows["topic"] != ALL],
        contexts={at: [context(topic) for topic in TOPICS[:3]] for at in own},
        histograms={at: histogram() for at in own},
        effects=rows.assign(n=40, effect=effect, low=effect - 0.0083, high=effect + 0.0083),
        readings=pd.DataFrame(),
    )
    params = Params.from_profile("tiny").model_copy(update={"topics": list(TOPICS), "gamma": 5.0, "gammas": []})
    payload, blobs = explorer_payload(SimpleNamespace(params=params), found)
    return SimpleNamespace(payload=payload, blobs=blobs, scores=scores)


def write(made, folder):
    shown = embed("explorer", made.payload, "Neuron explorer", "<p>Without scripts: a table.</p>", made.blobs)
    return app_page.write_app(folder, "explorer", shown.data)


@pytest.fixture(scope="module")
def address(made, tmp_path_factory):
    return write(made, tmp_path_factory.mktemp("explorer"))


@pytest.fixture
def at(part, address):
    """Opens the page over file://; the argument is the address's fragment."""
    return lambda fragment="": part(address + fragment)


def number(text):
    return int(text.replace("\u202f", ""))


def numbers(texts):
    return [float(text.replace("−", "-")) for text in texts]


def cells(rows):
    return rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")


def listed(page):
    return page.locator(".nx-list tbody .nx-open").all_text_contents()


def titles(page):
    return page.locator(".nx-card h3").all_text_contents()


def picture(page):
    return page.evaluate("document.querySelector('.nx-map canvas').toDataURL()")


def jump(page, name):
    page.fill("input[name=jump]", name)
    page.keyboard.press("Enter")


def place_of(page, layer):
    """Where the strongest neuron of a layer lies on the map: in the darkest cell of the layer's row."""
    return page.evaluate(
        """(layer) => {
          const canvas = document.querySelector(".nx-map canvas"), high = (canvas.height - 26) / 6;
          const y = Math.round(7 + layer * high), wide = canvas.width - 170;
          const row = canvas.getContext("2d").getImageData(36, y, wide, 1).data;
          const light = (x) => row[4 * x + 3] ? row[4 * x] + row[4 * x + 1] + row[4 * x + 2] : 999;
          return { x: 37 + [...Array(wide).keys()].reduce((a, b) => light(b) < light(a) ? b : a), y };
        }""",
        layer,
    )


def test_broken_data_is_an_error_and_the_fallback_stays(visit, part, made, tmp_path):
    short, miscounted, elsewhere = (copy.deepcopy(made) for _ in range(3))
    short.blobs["levels"] = short.blobs["levels"][:-1]
    miscounted.payload["counts"]["5"]["G"] = -1
    for broken in (short, miscounted):
        page = visit(write(broken, tmp_path), clean=False)
        page.wait_for_selector(".polinb-app[data-state=error]", state="attached")
        assert page.get_by_text("Without scripts: a table.").is_visible() and page.locator(".nx").count() == 0
    elsewhere.payload["counts"]["8"]["strict"]["race"] = -1
    page = part(write(elsewhere, tmp_path))
    warning = page.locator(".nx-counts .nx-error")
    assert not warning.is_visible()
    page.fill("input[name=gamma]", "8")
    assert warning.is_visible(), "counts that contradict the run"


def test_counts_at_every_gamma_are_those_of_neuron_sets(at, made):
    page = at()
    for place, gamma in enumerate(made.payload["gammas"]):
        page.fill("input[name=gamma]", str(place))
        assert not page.locator(".nx-counts .nx-error").is_visible(), gamma
        sets = neuron_sets(made.scores, gamma)
        general = int(sets.general.sum())
        assert page.locator(".nx-told").text_content().startswith(f"γ = {gamma:g} %: general {general} (")
        for topic, *told in cells(page.locator(".nx-counts tbody tr")):
            n, specific, strict = map(number, told)
            assert (specific, strict) == (sets.specific[topic].sum(), sets.strict[topic].sum())
            assert n == specific + general == round(gamma / 100 * 2400)


def test_filters_and_sorting_change_list_and_map(at, made):
    cards = {f"{c['layer']}.{c['neuron']}": c for c in made.payload["cards"]}
    sets = neuron_sets(made.scores, 5.0)

    def inside(chosen):
        return [name for name, card in cards.items() if chosen[card["layer"], card["neuron"]]]

    page = at()
    everything, before = listed(page), picture(page)
    assert everything == list(cards)
    page.select_option("select[name=type]", "G")
    assert listed(page) == inside(sets.general) and picture(page) != before
    page.select_option("select[name=topic]", label="race")
    specific, strict = inside(sets.specific["race"]), inside(sets.strict["race"])
    assert len(specific) > len(strict) > 0
    for kind, names in (("strict", strict), ("S", specific)):
        page.select_option("select[name=type]", kind)
        assert listed(page) == names
    page.select_option("select[name=layer]", "4")
    assert listed(page) == [name for name in specific if name.startswith("4.")] != []
    page.get_by_role("button", name="Reset").click()
    assert listed(page) == everything and picture(page) == before
    page.select_option("select[name=topic]", label="climate")
    for falling in (True, False):
        page.locator("[data-column=score]").click()
        assert listed(page) == sorted(cards, key=lambda name: cards[name]["scores"][5], reverse=falling)
    page.get_by_label("Search the cards").fill("4.123")
    assert listed(page) == ["4.123"]
    before = picture(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function("old => document.querySelector('.nx-map canvas').toDataURL() !== old", arg=before)


def test_the_map_tells_and_opens_the_neurons_of_a_cell(at):
    page = at("#explorer?topic=race")
    page.locator(".nx-over").hover(position=place_of(page, PLANTED[1][0]))
    where, best, members = page.locator(".nx-tip > div").all_text_contents()
    assert where.startswith("layer 1, neurons 4–7") and best.startswith("strongest: 1.7, top ") and "G" in members
    page.locator(".nx-over").click(position=place_of(page, PLANTED[0][0]))
    assert titles(page) == ["Neuron 4.123"]
    assert page.locator(".nx-cell button[data-chosen]").text_content() == "4.123"
    other = page.locator(".nx-cell button:not([data-chosen])").first
    name = other.text_content()
    other.click()
    assert titles(page) == [f"Neuron {name}"] and page.locator(".nx-cell button[data-chosen]").text_content() == name


def test_a_card_tells_and_saves_what_the_run_measured(at, made):
    """Text of a model stays text, and what is hidden in it is shown."""
    page, card = at("#explorer?neuron=4.123"), made.payload["cards"][0]
    rows = cells(page.locator(".nx-card .nx-part").first.locator("tbody tr"))
    assert [(topic, score, number(rank)) for topic, _, score, rank, _ in rows] == [(t, "100", 1) for t in TOPICS]
    assert [number(row[4]) for row in rows] == card["rank_normalised"]
    text = page.locator(".nx-card").text_content()
    scale, rank = card["scale"], card["scale_rank"]
    assert f"{scale:.3g}, rank {rank:_} of 2_400".replace("_", "\u202f") in text
    assert "+0.0123[+0.0040, +0.0206]" in text
    mean = card["activation"][2]
    shown = cells(page.locator(".nx-card .nx-part").nth(2).locator("tbody tr"))[2]
    assert numbers(shown[2:]) == pytest.approx([*(mean[side] for side in SIDES), 40], abs=6e-3)
    found = json.loads(saved(page, "button[name=save-json]")[1])
    assert {name: found[name] for name in card} == card and found["run"] == made.payload["run"]
    page.get_by_label("Search the cards").fill("<img")
    assert len(listed(page)) > 10
    for hostile in HOSTILE:
        assert hostile in text.replace("\u00a0", " ")
    assert page.locator(".nx :is(img, script, iframe)").count() == 0 and page.title() == "part"
    assert page.locator(".nx-tokens li").first.text_content().startswith("a⟨U+202E⟩b⟨U+0007⟩⏎")


def test_keyboard_alone(at):
    page = at()
    field, alert = page.locator("input[name=jump]"), page.locator(".nx-jump [role=alert]")
    for text, said in (("6.0", "no layer 6"), ("0.400", "no neuron 400"), ("<img src=x>", "point")):
        jump(page, text)
        assert said in alert.text_content() and field.get_attribute("aria-invalid") == "true", text
    jump(page, "1.7")
    focused = page.locator(":focus")
    assert not alert.is_visible() and focused.text_content() == "Neuron 1.7"
    page.get_by_role("button", name="Close").press("Enter")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator(".nx-over:focus").count():
            break
    live = page.locator(".nx-map [aria-live]")
    assert live.text_content().startswith("layer 0, neuron")
    for key in ["End", "ArrowDown", "ArrowDown", "Home", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp"]:
        page.keyboard.press(key)
    assert live.text_content().startswith("layer 1, neurons 4–7")
    page.keyboard.press("Enter")
    assert focused.text_content() == "Neuron 1.7", "the strongest of the cell"
    page.get_by_role("button", name="Close").press("Enter")
    assert page.locator(".nx-over:focus").count() == 1 and not titles(page)


def test_pictures_and_contexts_of_a_card_are_the_runs(at, made):
    """Heights of the histogram are square roots of shares; contexts are coloured and read token by token."""
    page, card = at("#explorer?neuron=4.123"), made.payload["cards"][0]
    counts = {model: np.array(card["histogram"][model]) for model in SIDES}
    top = max((values / values.sum()).max() for values in counts.values())
    for model, values in counts.items():
        drawn = page.locator(f".nx-hist-{model}").get_attribute("d")
        heights = [80 - float(step.split(",")[1].split()[0]) for step in drawn.split(" L")[1:]]
        assert heights == pytest.approx(80 * np.sqrt(values / values.sum() / top), abs=1e-6)
    context, box = card["contexts"][0], page.locator(".nx-contexts li").first
    box.locator(".nx-context").focus()
    for key, place in (("", context["peak"]), ("Home", 0), ("ArrowRight", 1)):
        if key:
            page.keyboard.press(key)
        said = [t for t in box.locator(".nx-readout").text_content().split() if t[:1] in "+−"]
        assert numbers(said) == pytest.approx([context[name][place] for name in VARIANTS], rel=0.01)
    top = max(abs(v) for c in card["contexts"] for n in VARIANTS for v in c[n])
    for name, variant in zip(VARIANTS, SIDES, strict=True):
        page.locator(f".nx-choice input[value={variant}]").check()
        got = box.locator(".nx-tok").evaluate_all("(all) => all.map((n) => n.className)")
        for value, classes in zip(context[name], got, strict=True):
            assert ("nx-pos" in classes, "nx-neg" in classes) == (value / top > 0.04, value / top < -0.04)


def test_a_link_restores_the_view_and_garbage_in_it_is_ignored(at):
    view = "topic=gun+control&type=S&gamma=10&layer=4&cards=1&order=rank&neuron=4.123"
    page = at(f"#explorer?{view}&beside=4.1&variant=left&sort=-rank&find=4.")
    names = ("topic", "type", "layer", "order")
    chosen = {name: page.locator(f"select[name={name}]").input_value() for name in names}
    assert chosen == {"topic": "1", "type": "S", "layer": "4", "order": "rank"}
    assert page.locator("input[name=cards]").is_checked()
    assert page.locator(".nx-told").text_content().startswith("γ = 10 %")
    assert titles(page) == ["Neuron 4.1", "Neuron 4.123"]
    assert page.locator(".nx-choice input[value=left]").is_checked()
    assert page.locator("th[aria-sort=descending]").text_content().startswith("rank")
    assert page.get_by_label("Search the cards").input_value() == "4."
    before = page.url
    page.select_option("select[name=type]", "G")
    page.wait_for_function("location.hash.includes('type=G')")
    page.select_option("select[name=type]", "S")
    page.wait_for_function("before => location.href === before", arg=before)
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_function("document.querySelector('[name=copy]').parentElement.textContent.includes('copied')")
    assert page.evaluate("navigator.clipboard.readText()") == before, "and the view gives the link"
    bad = "topic=nobody&type=constructor&gamma=5.5&layer=99&neuron=%3Cimg%20src%3Dx%3E&order=up&cards=yes"
    page.evaluate("bad => { location.hash = '#explorer?' + bad; }", bad)  # a link followed inside the open page
    page.wait_for_function("document.querySelector('select[name=type]').value === 'all'")
    assert [page.locator(f"select[name={name}]").input_value() for name in names[:3]] == ["-1", "all", "-1"]
    assert page.locator(".nx-told").text_content().startswith("γ = 5 %") and not titles(page)


def test_the_widget_module_draws_the_same_and_syncs(visit, made, tmp_path):
    body = """<link rel="stylesheet" href="widget.css"><div id="here"></div><script type="module">
        import widget from "./widget.js";
        const buffer = await (await fetch("levels.bin")).arrayBuffer();
        const payload = await (await fetch("payload.json")).json();
        const state = { payload, blobs: { levels: new DataView(buffer) }, selected: [1, 7] }, heard = {};
        window.sent = [];
        window.model = { get: (n) => state[n], on: (n, f) => { heard[n] = f; }, off: (n) => { delete heard[n]; },
          set: (n, v) => { state[n] = v; }, save_changes: () => window.sent.push([...state.selected]),
          fromPython: (n, v) => { state[n] = v; heard["change:" + n](); }, heard };
        window.stop = widget.render({ model: window.model, el: document.getElementById("here") });
        </script>"""
    app_page.write(tmp_path, body, [])
    (tmp_path / "levels.bin").write_bytes(made.blobs["levels"])
    files = {"widget.js": NeuronExplorer._esm, "widget.css": NeuronExplorer._css}
    for name, text in (files | {"payload.json": json.dumps(made.payload)}).items():
        (tmp_path / name).write_text(text, "utf-8")
    with served(tmp_path) as address:
        page = visit(f"{address}/index.html")
        page.wait_for_selector(".nx-card h3")
        assert titles(page) == ["Neuron 1.7"]
        assert page.get_by_role("button", name="Copy link").count() == 0
        page.evaluate("model.fromPython('selected', [4, 123])")
        assert titles(page) == ["Neuron 4.123"]
        jump(page, "2.33")
        page.get_by_role("button", name="Close").click()
        assert page.evaluate("window.sent") == [[2, 33], []] and "#" not in page.url
        page.evaluate("model.fromPython('payload', {...model.get('payload'), version: 9})")
        assert "version 9" in page.locator("#here [role=alert]").text_content()
        page.evaluate("window.stop()")
        assert page.evaluate("Object.keys(model.heard)") == []

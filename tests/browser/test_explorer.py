"""The static neuron explorer in a real browser: counts against PNLAC's, filters, map, keys, cards, links, looks."""

import json
from pathlib import Path

import explorer_payload as made_up
import numpy as np
import pytest
from conftest import served

PLANTED = [(4, 123), (1, 7)]
READY = ".polinb-app[data-state=ready]"

CHECKS = Path(__file__).with_name("page_checks.js")


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


@pytest.fixture
def opened(visit, tmp_path):
    """Opens a page with another payload."""

    def go(made, fragment="", wait=READY, **write):
        page = visit(made_up.write(tmp_path, made, **write).as_uri() + fragment).page
        page.wait_for_selector(wait, state="attached")
        return page

    return go


def number(text):
    return int(text.replace("\u202f", ""))


def choose_gamma(page, place):
    page.locator("input[name=gamma]").evaluate(
        "(node, v) => { node.value = v; node.dispatchEvent(new Event('input', {bubbles: true})); }", str(place)
    )


def listed(page):
    return page.locator(".nx-list tbody .nx-open").all_text_contents()


def names(made, chosen):
    return [f"{c['layer']}.{c['neuron']}" for c in made.payload["cards"] if chosen(c)]


def picture(page):
    return page.evaluate("document.querySelector('.nx-map canvas').toDataURL()")


def jump(page, name):
    page.locator("input[name=jump]").fill(name)
    page.keyboard.press("Enter")


def changed(made, change):
    """A copy of what was made, with one change to its payload."""
    payload = json.loads(json.dumps(made.payload))
    change(payload)
    return made_up.Made(payload, dict(made.blobs), made.scores)


def place_of(page, layer, layers=6):
    """Where the strongest neuron of a layer lies on the map: the middle of the darkest cell in the layer's row."""
    return page.evaluate(
        """([layer, layers]) => {
          const canvas = document.querySelector(".nx-map canvas"), high = (canvas.height - 26) / layers;
          const y = Math.round(4 + layer * high + 3), context = canvas.getContext("2d");
          const row = context.getImageData(36, y, canvas.width - 170, 1).data;
          let best = 0, from = 0, to = 0;
          for (let x = 0; x < row.length / 4; x++) {
            const dark = row[4 * x + 3] ? 765 - row[4 * x] - row[4 * x + 1] - row[4 * x + 2] : 0;
            if (dark > best) { best = dark; from = x; }
            if (dark === best) to = x;
          }
          return { x: 36 + (from + to) / 2, y };
        }""",
        [layer, layers],
    )


# --- starting


def test_ready_over_file_and_http(visit, at, folder):
    seen = at()
    assert not seen.page.locator(".polinb-app-fallback").is_visible()
    assert "6 layers × 400 neurons" in seen.page.locator(".nx-title").text_content()
    seen.assert_clean()
    with served(folder) as address:
        seen = visit(f"{address}/page.html")
        seen.page.wait_for_selector(READY, state="attached")
        assert len(listed(seen.page)) > 10
        seen.assert_clean()


def test_without_scripts_the_fallback_stays(visit, folder):
    page = visit((folder / "page.html").as_uri(), java_script_enabled=False).page
    assert page.get_by_text("Without scripts: a table.").is_visible()


def broken(made, what):
    """The payload or blobs with one fault."""
    payload, blobs = json.loads(json.dumps(made.payload)), dict(made.blobs)
    if what == "version":
        payload["version"] = 2
    elif what == "short":
        blobs["levels"] = blobs["levels"][:-1]
    elif what == "no levels":
        blobs = {}
    elif what == "shares":
        payload["shares"] = payload["shares"][::-1]
    elif what == "counts":
        payload["counts"]["5"]["G"] += 1
    elif what == "card":
        payload["cards"][0]["neuron"] = payload["width"]
    elif what == "level":
        blobs["levels"] = bytes([255]) + blobs["levels"][1:]
    return made_up.Made(payload, blobs, made.scores)


@pytest.mark.parametrize("what", ["version", "short", "no levels", "shares", "counts", "card", "level"])
def test_broken_data_is_an_error_and_the_fallback_stays(visit, made, tmp_path, what):
    page = visit(made_up.write(tmp_path, broken(made, what)).as_uri()).page
    page.wait_for_selector(".polinb-app[data-state=error]", state="attached")
    assert page.get_by_text("Without scripts: a table.").is_visible()
    assert "neuron explorer:" in page.locator(".polinb-app").get_attribute("data-error")
    assert page.locator(".nx").count() == 0


# --- numbers


def test_counts_at_every_gamma_are_those_of_neuron_sets(at, made):
    page = at().page
    seen = set()
    for place, gamma in enumerate(made_up.GAMMAS):
        choose_gamma(page, place)
        wanted = made_up.expected(made.scores, gamma)
        said = page.locator(".nx-told").text_content()
        assert said.startswith(f"γ = {gamma:g} %: general {wanted['G']} ("), said
        seen.add(wanted["G"])
        for row in page.locator(".nx-counts tbody tr").all():
            topic, *cells = row.locator("th, td").all_text_contents()
            n, specific, strict = map(number, cells)
            assert specific == wanted["S"][topic]
            assert strict == wanted["strict"][topic]
            assert n == specific + wanted["G"] == round(gamma / 100 * 2400)
        assert not page.locator(".nx-counts .nx-error").is_visible()
    assert len(seen) > 5, "gammas too alike to tell anything"


def test_counts_that_contradict_the_run_are_called_out(opened, made):
    page = opened(changed(made, lambda p: p["counts"]["8"]["strict"].update(race=-1)))
    warning = page.locator(".nx-counts .nx-error")
    assert not warning.is_visible()
    choose_gamma(page, 8)
    assert "Do not rely on this view" in warning.text_content()


def test_filters_change_list_and_map(at, made):
    page = at().page
    everything = listed(page)
    assert everything == names(made, lambda c: True)
    pictures = {picture(page)}
    page.select_option("select[name=type]", "G")
    assert listed(page) == names(made, lambda c: c["kind"] == "G")
    pictures.add(picture(page))
    page.select_option("select[name=type]", "strict")
    page.select_option("select[name=topic]", label="race")
    assert listed(page) == names(made, lambda c: c["topic"] == "race")
    pictures.add(picture(page))
    page.select_option("select[name=layer]", "4")
    assert set(listed(page)) <= {n for n in everything if n.startswith("4.")}
    assert "Layer 4: 400 neurons" in page.locator(".nx-title").text_content()
    pictures.add(picture(page))
    page.select_option("select[name=order]", "rank")
    pictures.add(picture(page))
    page.get_by_role("button", name="← all layers").click()
    page.locator("input[name=cards]").check()
    pictures.add(picture(page))
    assert len(pictures) == 6, "two views drew the same picture"
    page.get_by_role("button", name="Reset").click()
    assert listed(page) == everything
    assert picture(page) in pictures


def test_list_sorts_and_searches(at, made):
    page = at().page
    page.locator("[data-column=rank]").click()
    assert page.locator("th[aria-sort=ascending]").text_content().startswith("rank")
    assert page.evaluate("document.activeElement.dataset.column") == "rank"
    page.select_option("select[name=topic]", label="climate")
    page.locator("[data-column=score]").click()
    cards = {f"{c['layer']}.{c['neuron']}": c["scores"][5] for c in made.payload["cards"]}
    assert listed(page) == sorted(cards, key=cards.get, reverse=True)
    page.locator("[data-column=score]").click()
    assert listed(page) == sorted(cards, key=cards.get)
    page.get_by_label("Search the cards").fill("4.123")
    assert listed(page) == ["4.123"]
    assert "1 of" in page.locator(".nx-cards [role=status]").text_content()


# --- opening neurons


def test_hover_tells_what_a_cell_holds(at):
    page = at("#explorer?topic=race").page
    page.locator(".nx-over").hover(position=place_of(page, PLANTED[1][0]))
    where, best, members = page.locator(".nx-tip > div").all_text_contents()
    assert where.startswith("layer 1, neurons 4–7")
    assert best.startswith("strongest: 1.7, top ")
    assert best.endswith(" % for race")
    assert "G" in members
    page.mouse.move(1, 1)
    assert not page.locator(".nx-tip").is_visible()


def test_a_click_on_the_map_opens_the_neuron_there(at, made):
    page = at().page
    page.locator(".nx-over").click(position=place_of(page, PLANTED[0][0]))
    assert page.locator(".nx-card h3").text_content() == "Neuron 4.123"
    card = next(c for c in made.payload["cards"] if (c["layer"], c["neuron"]) == PLANTED[0])
    rows = page.locator(".nx-card .nx-part").first.locator("tbody tr")
    assert rows.count() == 6
    for t, row in enumerate(rows.all()):
        topic, _, score, rank, normal = row.locator("th, td").all_text_contents()
        assert (topic, score, number(rank)) == (made_up.TOPICS[t], "100", 1)
        assert number(normal) == card["rank_normalised"][t]
    text = page.locator(".nx-card").text_content()
    assert "its vanilla RMS activation is 0.831, rank 77 of 2\u202f400" in text
    assert "+0.0123[+0.0040, +0.0206]" in text
    assert "What this does not show" in text
    assert page.locator(".nx-cell button[data-chosen]").text_content() == "4.123"
    mean = card["activation"][2]
    shown = page.locator(".nx-card .nx-part").nth(2).locator("tbody tr").nth(2).locator("td").all_text_contents()[1:]
    assert [float(v.replace("−", "-")) for v in shown] == pytest.approx(
        [mean["vanilla"], mean["left"], mean["right"], 40], abs=6e-3
    )


def test_the_other_neurons_of_a_cell_can_be_chosen(at):
    page = at().page
    page.locator(".nx-over").click(position=place_of(page, PLANTED[0][0]))
    other = page.locator(".nx-cell button:not([data-chosen])").first
    name = other.text_content()
    other.click()
    assert page.locator(".nx-card h3").text_content() == f"Neuron {name}"
    assert page.locator(".nx-cell button[data-chosen]").text_content() == name


def test_a_neuron_without_a_card_shows_its_levels(at, made):
    page = at().page
    carded = {(c["layer"], c["neuron"]) for c in made.payload["cards"]}
    layer, neuron = next((0, n) for n in range(400) if (0, n) not in carded)
    jump(page, f"{layer}.{neuron}")
    card = page.locator(".nx-card")
    assert f"cards for {len(carded)} neurons" in card.text_content()
    for t, row in enumerate(card.locator("tbody tr").all()):
        topic, place, inside = row.locator("th, td").all_text_contents()
        score = made.scores[topic]
        rank = int((score > score[layer, neuron]).sum()) + 1
        assert topic == made_up.TOPICS[t]
        low, _, high = place.removeprefix("top ").removesuffix(" %").partition("–")
        assert round(float(low) * 24) - 1 <= rank <= round(float(high or low) * 24) + 1, (rank, place)
        assert (inside == "inside") == (rank <= round(0.05 * 2400))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("6.0", "There is no layer 6: the layers are 0 to 5."),
        ("0.400", "There is no neuron 400: in each layer they are 0 to 399."),
        ("four", "Write a layer and a neuron number with a point between them"),
        ("", "Write a layer and a neuron number"),
        ("<img src=x>", "Write a layer and a neuron number"),
    ],
)
def test_jump_says_what_is_wrong(at, text, said):
    seen = at()
    page = seen.page
    page.locator("input[name=jump]").fill(text)
    page.get_by_role("button", name="Open", exact=True).click()
    assert page.locator(".nx-jump [role=alert]").text_content().startswith(said)
    assert page.locator("input[name=jump]").get_attribute("aria-invalid") == "true"
    page.locator("input[name=jump]").fill("1.7")
    page.keyboard.press("Enter")
    assert not page.locator(".nx-jump [role=alert]").is_visible()
    assert page.evaluate("document.activeElement.textContent") == "Neuron 1.7"
    seen.assert_clean()


def test_keyboard_alone(at):
    page = at().page
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.nx-over')"):
            break
    live = page.locator(".nx-map [aria-live]")
    assert live.text_content().startswith("layer 0, neuron")
    for key in ["End", "ArrowDown", "ArrowDown", "Home", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp"]:
        page.keyboard.press(key)
    first = live.text_content()
    assert first.startswith("layer 1, neurons ")
    low, high = first.split("neurons ")[1].split(",")[0].split(";")[0].split("–")
    assert "top " in first
    page.keyboard.press("Enter")
    opened = page.evaluate("document.activeElement.textContent")
    layer, neuron = map(int, opened.removeprefix("Neuron ").split("."))
    assert layer == 1
    assert int(low) <= neuron <= int(high)
    page.get_by_role("button", name="Close").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('.nx-over')")
    assert page.locator(".nx-card").count() == 0
    # the list: open the last card with keys
    last = page.locator(".nx-open").last
    last.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == f"Neuron {last.text_content()}"


# --- cards


def test_the_histogram_draws_every_share(opened, made):
    """Heights are square roots of shares; the text says how much lies above zero; without data the card says so."""
    page = opened(made, "#explorer?neuron=4.123")
    card = next(c for c in made.payload["cards"] if (c["layer"], c["neuron"]) == PLANTED[0])
    found, figure = card["histogram"], page.locator(".nx-hist")
    counts = {model: np.array(found[model]) for model in ("vanilla", "left", "right")}
    top = max((values / values.sum()).max() for values in counts.values())
    for model, values in counts.items():
        drawn = page.locator(f".nx-hist-{model}").get_attribute("d")
        heights = [80 - float(step.split(",")[1].split()[0]) for step in drawn.split(" L")[1:]]
        assert heights == pytest.approx(80 * np.sqrt(values / values.sum() / top), abs=1e-6)
    above = {model: round(100 * values[-found["first"] :].sum() / values.sum()) for model, values in counts.items()}
    said = figure.locator("svg").get_attribute("aria-label")
    assert f"vanilla {above['vanilla']} %, left-tuned {above['left']} %, right-tuned {above['right']} %" in said
    older = changed(made, lambda p: [each.pop("histogram") for each in p["cards"]])
    page = opened(older, "#explorer?neuron=4.123")
    assert page.locator(".nx-hist").count() == 0 and "was not kept by this run" in page.locator(".nx-card").inner_text()


def test_two_neurons_side_by_side(at):
    page = at().page
    jump(page, "4.123")
    page.get_by_role("button", name="Keep beside the next").click()
    assert page.locator(".nx-card").count() == 1
    jump(page, "1.7")
    titles = page.locator(".nx-card h3")
    assert titles.all_text_contents() == ["Neuron 4.123", "Neuron 1.7"]
    first, second = (card.bounding_box() for card in page.locator(".nx-card").all())
    assert first["y"] == second["y"] and first["x"] + first["width"] <= second["x"]
    # the plots of both have one range: equal scores, equally long bars
    bars = [card.locator(".nx-bar").first.get_attribute("width") for card in page.locator(".nx-card").all()]
    scores = [
        card.locator("tbody tr").first.locator("td").nth(1).text_content() for card in page.locator(".nx-card").all()
    ]
    lengths = [float(bar.rstrip("%")) for bar in bars]
    assert lengths[0] / lengths[1] == pytest.approx(float(scores[0]) / float(scores[1]), rel=0.01)
    page.wait_for_function("location.hash.includes('beside=4.123')")
    jump(page, "2.33")  # the kept one stays
    assert titles.all_text_contents() == ["Neuron 4.123", "Neuron 2.33"]
    page.set_viewport_size({"width": 500, "height": 900})
    first, second = (card.bounding_box() for card in page.locator(".nx-card").all())
    assert first["x"] == second["x"] and first["y"] < second["y"]
    page.locator(".nx-card").first.get_by_role("button", name="Close").click()
    assert titles.all_text_contents() == ["Neuron 2.33"]
    page.get_by_role("button", name="Close").click()
    assert titles.count() == 0


def test_a_cards_json_is_saved_and_copied(at, made):
    page = at("#explorer?neuron=4.123", permissions=["clipboard-read", "clipboard-write"]).page
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save JSON").click()
    assert waiting.value.suggested_filename == "neuron-4.123.json"
    saved = json.loads(Path(waiting.value.path()).read_text("utf-8"))
    card = next(c for c in made.payload["cards"] if (c["layer"], c["neuron"]) == PLANTED[0])
    assert {name: saved[name] for name in card} == card
    assert saved["run"] == made.payload["run"] and saved["topics"] == list(made_up.TOPICS) and saved["set"] == "G"
    page.get_by_role("button", name="Copy JSON").click()
    page.wait_for_selector("button:has-text('Copied')")
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == saved
    carded = {(c["layer"], c["neuron"]) for c in made.payload["cards"]}
    layer, neuron = next((0, n) for n in range(400) if (0, n) not in carded)
    jump(page, f"{layer}.{neuron}")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save JSON").click()
    bare = json.loads(Path(waiting.value.path()).read_text("utf-8"))
    assert (bare["layer"], bare["neuron"]) == (layer, neuron) and set(bare["places"]) == set(made_up.TOPICS)


def test_contexts_switch_and_are_read_with_keys(at, made):
    page = at("#explorer?neuron=4.123").page
    card = next(c for c in made.payload["cards"] if (c["layer"], c["neuron"]) == PLANTED[0])
    context, box = card["contexts"][0], page.locator(".nx-contexts li").first
    peak = context["peak"]

    def said(i):
        return [float(t.replace("−", "-")) for t in box.locator(".nx-readout").text_content().split() if t[:1] in "+−"]

    def values(i):
        return [context[name][i] for name in made_up.VARIANTS]

    assert said(peak) == pytest.approx(values(peak), rel=0.01)
    text = box.locator(".nx-context")
    text.focus()
    page.keyboard.press("Home")
    assert said(0) == pytest.approx(values(0), rel=0.01)
    page.keyboard.press("ArrowRight")
    assert said(1) == pytest.approx(values(1), rel=0.01)
    for name, variant in zip(made_up.VARIANTS, ("vanilla", "left", "right"), strict=True):
        page.locator(f".nx-choice input[value={variant}]").check()
        got = box.locator(".nx-tok").evaluate_all("(all) => all.map((n) => n.className)")
        top = max(abs(v) for c in card["contexts"] for n in made_up.VARIANTS for v in c[n])
        for value, classes in zip(context[name], got, strict=True):
            assert ("nx-pos" in classes) == (value / top > 0.04)
            assert ("nx-neg" in classes) == (value / top < -0.04)
    choose_gamma(page, 3)  # the choice outlives a new drawing of the card
    assert page.locator(".nx-choice input[value=right]").is_checked()


def test_chosen_topic_comes_first(at):
    page = at("#explorer?neuron=4.123&topic=immigration").page
    assert page.locator(".nx-contexts li").first.text_content().startswith("immigration")


def test_tokens_with_markup_stay_text(at):
    seen = at("#explorer?neuron=4.123")
    page = seen.page
    page.get_by_label("Search the cards").fill("<img")
    assert len(listed(page)) > 10
    for hostile in made_up.HOSTILE:
        assert hostile in page.locator(".nx-card").text_content().replace("\u00a0", " ")
    assert page.locator(".nx img, .nx script, .nx iframe").count() == 0
    assert page.title() == "explorer"
    seen.assert_clean()


def test_invisible_characters_are_shown(visit, made, tmp_path):
    payload = json.loads(json.dumps(made.payload))
    card = next(c for c in payload["cards"] if (c["layer"], c["neuron"]) == PLANTED[0])
    card["promoted"][0][0] = "a\u202eb\u0007\n"
    page = visit(
        made_up.write(tmp_path, made_up.Made(payload, made.blobs, made.scores)).as_uri() + "#explorer?neuron=4.123"
    ).page
    page.wait_for_selector(READY, state="attached")
    assert page.locator(".nx-tokens li").first.text_content().startswith("a⟨U+202E⟩b⟨U+0007⟩⏎")


# --- links


def test_a_link_restores_the_view(at):
    view = "topic=gun+control&type=S&gamma=10&layer=4&cards=1&order=rank&neuron=4.123"
    seen = at(f"#explorer?{view}&beside=4.1&variant=left&sort=-rank&find=4.")
    page = seen.page
    assert page.locator("select[name=topic] option:checked").text_content() == "gun control"
    assert page.locator("select[name=type]").input_value() == "S"
    assert page.locator("select[name=layer]").input_value() == "4"
    assert page.locator("select[name=order]").input_value() == "rank"
    assert page.locator("input[name=cards]").is_checked()
    assert page.locator(".nx-told").text_content().startswith("γ = 10 %")
    assert page.locator(".nx-card h3").all_text_contents() == ["Neuron 4.1", "Neuron 4.123"]
    assert page.locator(".nx-choice input[value=left]").is_checked()
    assert page.locator("th[aria-sort=descending]").text_content().startswith("rank")
    assert page.get_by_label("Search the cards").input_value() == "4."
    before = page.url
    page.select_option("select[name=type]", "G")
    page.select_option("select[name=type]", "S")
    page.wait_for_timeout(300)
    assert page.url == before, "and the view gives the link"
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
    jump(page, "1.7")
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


def test_a_closed_clipboard_leaves_the_link_in_the_address(at):
    page = at().page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy link").click()
    page.get_by_text("The link is in the address bar now.").wait_for()


# --- looks


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
    page.add_script_tag(path=str(CHECKS))
    found = page.evaluate("polinbChecks.contrast(4.5)")
    assert found["count"] > 100 and not found["poor"]


def test_greys_rise_with_the_level(at):
    """A perceptual order: each higher level is darker in the light theme, lighter in the dark one, drawn at once."""
    page = at().page
    before = picture(page)
    for theme, sign in (("light", -1), ("dark", 1)):
        page.evaluate("t => { document.documentElement.dataset.theme = t; }", theme)
        shades = page.evaluate(
            """() => { const ink = polinbExplorer.inks(document.querySelector('.nx-map'));
            const shades = polinbExplorer.shades([100, 50, 20, 10, 5, 1, 0.5, 0.1], ink, 0, 7);
            return shades.map((c) => c.match(/\\d+/g).map(Number)); }"""
        )
        light = np.array(shades) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(light) * sign > 0).all(), (theme, light)
    page.wait_for_function("old => document.querySelector('.nx-map canvas').toDataURL() !== old", arg=before)


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

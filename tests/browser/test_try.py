"""The page "Try the neurons" in Chromium, with a tiny model: from the click to the text, which is the engine's text."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from app_page import saved, write_app
from conftest import served

from book._make import page_graph, page_model
from polinb.display.webdata import web_folder
from polinb.errors import ArtifactError
from polinb.models.embedded import cache_root, embedded_folder

pytest.importorskip("onnx", reason="onnx is not installed: make setup")
ROOT = Path(__file__).resolve().parents[2]
PROMPT = "Should <b>taxes</b> rise?"
ODD = ["", " ", "\n\n a", "<|im_start|>x<|end|>", "Straße İstanbul ΣΑΣ", "日本語の文", "ราคา 12³ Ⅷ ½", "a\u200bb"]
ODD += ["naïve a_b 3.14", "\U0001f1e8\U0001f1ed \U0001f469\u200d\U0001f467"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as the book's: the page, its scripts, and the files of a tiny model."""
    from polinb.data.loading import load_data
    from polinb.models.loading import load
    from polinb.stance.judges import LocalJudge

    try:
        engine = page_model.runtime(cache_root())
    except ArtifactError as error:
        pytest.skip(f"the runtime cannot be fetched: {error}")
    lm, data = load("tiny:llama"), load_data("bundled")
    judge = LocalJudge(data)
    rng = np.random.default_rng(0)
    sets = {name: rng.random((lm.layers, lm.width)) < 0.3 for name in ("G", "random")}
    difference = page_model.mean_difference(lm, {"crime": data.topic("crime", limit=2)})
    folder = tmp_path_factory.mktemp("try")
    (folder / "model").mkdir()
    page_model.write(
        folder / "model", lm, judge, sets, difference, {"crime": PROMPT, "race": "Is growth good?"}, engine
    )
    shutil.copy(web_folder() / "try_engine.js", folder)
    shutil.copy(embedded_folder() / "tokenizer.json", folder / "embedded.json")
    text = (ROOT / "book" / "try.md").read_text("utf-8")
    write_app(folder, "try", text.split("```{raw} html\n")[1].split("```")[0], "try.html")
    return SimpleNamespace(folder=folder, lm=lm, judge=judge, sets=sets, difference=difference)


@pytest.fixture(scope="module")
def base(made):
    with served(made.folder) as address:
        yield address


@pytest.fixture
def opened(base, visit):
    """Factory: the page with its model loaded, at a fragment."""

    def open_page(fragment=""):
        page = visit(f"{base}/try.html{fragment}")
        page.click("button.load")
        page.wait_for_selector("form", timeout=60_000)
        return page

    return open_page


def answered(page):
    page.wait_for_function("document.querySelector('.said').textContent.includes('Done.')", timeout=60_000)
    return [box.evaluate("x => x.textContent") for box in page.locator(".answer").all()]


def text_of(made, ids):
    """As the page shows it: without special tokens and what has begun of a letter."""
    return made.lm.tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd")


def engine_texts(made, chosen, kind, strength, count):
    """The Python engine's answers, plain and changed."""
    import torch

    from polinb.masking.decoding import assign, changed_answers, scale
    from polinb.models.tokens import prompt_ids

    where = [torch.from_numpy(np.flatnonzero(row)) for row in chosen]
    change = {
        "ablate": assign(0.0),
        "scale": scale(strength),
        "add": lambda layer, own, _: own + strength * torch.from_numpy(made.difference[layer])[where[layer]],
    }
    options = {"max_new_tokens": count, "batch": 1}
    ids = [prompt_ids(made.lm, PROMPT, page_model.SYSTEM)]
    both = [changed_answers(made.lm, ids, chosen, each, **options)[0] for each in (scale(1.0), change[kind])]
    return [text_of(made, row) for row in both]


def test_from_click_to_the_engines_text(made, opened):
    page = opened()
    page.fill("input[name=count]", "12")
    for kind, strength in (("ablate", 1), ("scale", -2), ("add", 9)):
        page.select_option("select[name=kind]", kind)
        if kind != "ablate":
            page.fill("input[name=strength]", str(strength))
        page.click("button.go")
        texts = answered(page)
        wanted = engine_texts(made, made.sets["G"], kind, strength, 12)
        assert texts == wanted and texts[0] != texts[1]
        shares = page.locator(".answer span").evaluate_all("all => all.map(x => x.style.getPropertyValue('--share'))")
        assert "100%" in shares and "" not in shares
        labels = page.locator(".label").all_text_contents()
        rated = made.judge.rate(pd.DataFrame({"topic": "x", "prompt": "x", "response": texts}))
        assert all(one.startswith(f"Local judge: {want}") for one, want in zip(labels, rated["label"], strict=True))


def test_a_link_restores_the_state_and_a_wrong_one_changes_nothing(made, opened):
    page = opened("#try:set=own&own=0.3%2C2.7&kind=scale&strength=3&count=5&prompt=Hello%20%3Cimg%3E&x=1")
    values = [page.input_value(f"[name={name}]") for name in ("set", "own", "kind", "strength", "count", "prompt")]
    assert values == ["own", "0.3,2.7", "scale", "3", "5", "Hello <img>"]
    page.click("button.go")
    answered(page)
    assert "own=0.3%2C2.7" in page.url and page.locator(".polinb-try img").count() == 0
    linked = opened("?set=random&kind=add&strength=3")  # as chapters link
    assert [linked.input_value(f"[name={name}]") for name in ("set", "kind", "strength")] == ["random", "add", "3"]
    linked.evaluate(
        """() => new Promise((heard) => {
          addEventListener("hashchange", heard);
          location.hash = "#try:set=nothing&strength=1e9&kind=__proto__&count=-4";
        })"""
    )
    kept = [linked.input_value(f"[name={name}]") for name in ("set", "kind", "strength", "count")]
    assert kept == ["random", "add", "3", "40"]
    linked.select_option("select[name=set]", "own")
    linked.fill("input[name=own]", "9.1")
    linked.click("button.go")
    assert "9.1" in linked.inner_text(".said") and "no neuron" in linked.inner_text(".said")


def test_what_was_asked_comes_back_and_goes_into_the_lab(made, opened, tmp_path):
    """The saved program is a request of the lab, whose answers are those of the page."""
    from polinb.lab.session import Session
    from polinb.runs.artifacts import Store

    page = opened("#try:kind=scale&strength=-2&count=9")
    page.click("button.go")
    first, address = answered(page), page.url
    program, names = saved(page, "button.lab")[1].decode(), {}
    exec(program.split("for name, answer")[0], names)  # ours; the prompt in it is a literal
    asked = names["request"]
    assert asked.prompt == PROMPT and asked.strength == -2
    result = Session(Store(tmp_path)).run(asked)
    assert result.chosen == made.sets["G"].sum()
    assert first == [text_of(made, answer.ids) for answer in result.answers.values()]
    page.fill("textarea[name=prompt]", "Is growth good?")
    page.select_option("select[name=kind]", "add")
    page.click("button.go")
    assert answered(page) != first and page.is_disabled("button.lab"), "the lab has no such intervention"
    page.locator(".earlier button").first.click()
    assert answered(page) == first and page.url == address
    assert page.input_value("[name=prompt]") == PROMPT and page.input_value("[name=kind]") == "scale"


def test_the_strongest_neurons_on_a_readers_text_are_the_engines(made, opened):
    from polinb.masking.decoding import Reader
    from polinb.models.tokens import pad, text_ids

    lm = made.lm
    page = opened()
    written = "Taxes <b>rise</b> 日本"
    page.fill("textarea[name=text]", written)
    page.click("button.look")
    page.wait_for_selector(".found tbody tr")
    rows = page.locator(".found tbody tr").evaluate_all(
        "all => all.map(row => [row.cells[0].textContent, row.querySelector('a').getAttribute('href')])"
    )
    ids = text_ids(lm, written)
    every = np.ones((lm.layers, lm.width), bool)
    read = Reader(lm, every).read(pad(lm, [ids], [[]], [0]))
    acts = np.stack([layer[0, -len(ids) :].numpy() for layer in read])[:, 1:]
    share = np.abs(acts).max(1) / np.fromfile(made.folder / "model" / "scale.bin", "<f4").reshape(lm.layers, lm.width)
    order = [divmod(int(i), lm.width) for i in np.argsort(-share, axis=None)[:20]]
    assert [name for name, _ in rows] == [f"{layer}.{neuron}" for layer, neuron in order]
    assert rows[0][1] == f"chapters/17_neuron_explorer.html#explorer?neuron={rows[0][0]}"
    page.get_by_role("button", name=f"choose neuron {rows[1][0]}", exact=True).click()
    assert (page.input_value("[name=set]"), page.input_value("[name=own]")) == ("own", rows[1][0])
    page.fill("textarea[name=text]", "a")
    page.click("button.look")
    page.wait_for_function("document.querySelector('.found').textContent.includes('two tokens')")


def test_keyboard_alone_is_enough_and_an_answer_can_be_stopped(opened):
    page = opened()
    assert page.evaluate("document.activeElement.name") == "prompt", "the prompt is ready to be written"
    page.fill("input[name=count]", "200")
    page.locator("input[name=count]").press("Enter")
    page.wait_for_selector(".answer span")
    page.locator("button.stop").press("Enter")
    page.wait_for_function("document.querySelector('.said').textContent.includes('Stopped.')")
    for field in page.locator(".polinb-try :is(select, input, textarea)").all():
        assert field.evaluate("x => x.labels.length === 1 && x.labels[0].textContent.trim() !== ''")


def test_blocks_in_the_page_are_the_dense_matrix(base, visit, tmp_path):
    """The very floats, also of the smallest scales of a float16."""
    rng = np.random.default_rng(1)
    scale, offset = (rng.normal(size=(5, 2)).astype(np.float16) for _ in range(2))
    scale.flat[:3] = 3e-7, -5e-5, 60000
    blocks = [
        page_graph.Blocks(rng.integers(0, 256, (5, 2, 16), np.uint8), scale, offset),
        page_graph.Blocks(rng.integers(-128, 128, (5, 2, 32)).astype(np.int8), scale),
    ]
    graph = page_graph.Graph(tmp_path)
    names = [graph.turned(each) for each in blocks]
    found = visit(f"{base}/try.html").evaluate(
        """async ([base, entries, bytes]) => {
          const { spread } = await import(base + "/try_engine.js");
          return entries.map((entry) => [...new Float32Array(spread(entry, Uint8Array.from(bytes)).buffer)]);
        }""",
        [base, [graph.index[name] for name in names], list((tmp_path / "weights.0.bin").read_bytes())],
    )
    four, row, column = blocks[0], 2, 35
    code = four.codes[row, 1, 3] & 15
    assert four.dense()[row, column] == np.float32(four.scale[row, 1]) * code + np.float32(four.offset[row, 1])
    for values, each in zip(found, blocks, strict=True):
        assert np.array_equal(np.array(values, np.float32).reshape(64, 5), each.dense().T)


def test_tokenizers_and_judge_are_pythons_on_1000_texts(made, base, visit):
    from transformers import AutoTokenizer

    from polinb.models.tokens import text_ids

    kept = pd.read_parquet(ROOT / "book" / "reference" / "results" / "responses.parquet")["response"]
    texts = [*ODD, *kept.drop_duplicates().iloc[: 1000 - len(ODD)]]
    assert len(texts) == 1000
    page = visit(f"{base}/try.html")
    ids, own, rated = page.evaluate(
        """async ([base, texts]) => {
          const { makeJudge } = await import(base + "/try_engine.js");
          const { Tokenizer } = await import(base + "/model/tokenizers.min.mjs");
          const read = async (name) => (await fetch(base + name)).json();
          const core = await read("/embedded.json");
          const encode = (tokenizer) => texts.map((text) => text ? tokenizer.encode(text, { add_special_tokens: false }).ids : []);
          const judge = makeJudge((await read("/model/page.json")).judge);
          return [encode(new Tokenizer({ ...core, added_tokens: [] }, {})),
            encode(new Tokenizer(await read("/model/tokenizer.json"), {})), texts.map(judge)];
        }""",  # noqa: E501
        [base, texts],
    )
    embedded = SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(embedded_folder()))
    assert ids == [text_ids(embedded, text) for text in texts]
    assert own == [text_ids(made.lm, text) for text in texts]
    wanted = made.judge.rate(pd.DataFrame({"topic": "x", "prompt": "x", "response": texts}))
    assert [each["label"] for each in rated] == wanted["label"].tolist()
    found = np.array([each["p"] for each in rated], float)
    np.testing.assert_allclose(found, wanted["p_right"].to_numpy(float), atol=1e-6)

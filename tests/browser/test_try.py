"""The page "Try the neurons" in Chromium, with a tiny model: from the click to the text, which is the engine's text."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from app_page import saved, write_app
from conftest import served
from transformers import AutoTokenizer

from book._make import page_graph, page_model
from polinb.data.loading import load_data
from polinb.display.webdata import web_folder
from polinb.errors import ArtifactError
from polinb.lab.session import Session
from polinb.masking.decoding import Reader, changed_answers
from polinb.models.embedded import cache_root, embedded_folder
from polinb.models.loading import load
from polinb.models.tokens import pad, prompt_ids, text_ids
from polinb.runs.artifacts import Store
from polinb.stance.judges import LocalJudge

pytest.importorskip("onnx", reason="onnx is not installed: make setup")
ROOT = Path(__file__).resolve().parents[2]
PROMPT = "Should <b>taxes</b> rise?"
ODD = ["", " ", "\n\n a", "<|im_start|>x<|end|>", "Straße İstanbul ΣΑΣ", "日本語の文", "ราคา 12³ Ⅷ ½", "a\u200bb"]
ODD += ["naïve a_b 3.14", "\U0001f1e8\U0001f1ed \U0001f469\u200d\U0001f467"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as the book's: the page, its scripts, and the files of a tiny model."""
    try:
        engine = page_model.runtime(cache_root())
    except ArtifactError as error:
        pytest.skip(f"the runtime cannot be fetched: {error}")
    lm, data = load("tiny:llama"), load_data("bundled")
    judge, rng = LocalJudge(data), np.random.default_rng(0)
    sets = {name: rng.random((lm.layers, lm.width)) < 0.3 for name in ("G", "random")}
    difference = page_model.mean_difference(lm, {"crime": data.topic("crime", limit=2)})
    folder = tmp_path_factory.mktemp("try")
    (folder / "model").mkdir()
    examples = {"crime": PROMPT, "race": "Is growth good?"}
    page_model.write(folder / "model", lm, judge, sets, difference, examples, engine)
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


def values(page, *names):
    return [page.input_value(f"[name={name}]") for name in names]


def text_of(made, ids):
    """As the page shows it: without special tokens and what has begun of a letter."""
    return made.lm.tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd")


def test_answers_are_those_of_the_engine_and_the_lab_and_come_back(made, opened, tmp_path):
    """The saved program is a request of the lab, whose answers are those of the page."""
    page, told = opened("#try:strength=-2&count=9"), {}
    for kind in ("scale", "ablate"):
        page.select_option("select[name=kind]", kind)
        page.click("button.go")
        told[kind], names = answered(page), {}
        exec(saved(page, "button.lab")[1].decode().split("for name, answer")[0], names)  # the prompt is a literal
        asked = names["request"]
        assert (asked.prompt, asked.kind, asked.strength) == (PROMPT, kind, -2)
        result = Session(Store(tmp_path)).run(asked)
        assert result.chosen == made.sets["G"].sum()
        assert told[kind] == [text_of(made, answer.ids) for answer in result.answers.values()]
        assert told[kind][0] != told[kind][1]
    shares = page.locator(".answer span").evaluate_all("all => all.map(x => x.style.getPropertyValue('--share'))")
    assert "100%" in shares and "" not in shares
    rated = made.judge.rate(pd.DataFrame({"topic": "x", "prompt": "x", "response": told["ablate"]}))
    labels = page.locator(".label").all_text_contents()
    assert all(one.startswith(f"Local judge: {want}") for one, want in zip(labels, rated["label"], strict=True))
    page.fill("[name=prompt]", "Is growth good?")
    page.select_option("select[name=kind]", "add")
    page.fill("[name=strength]", "9")
    page.click("button.go")
    chosen = made.sets["G"]
    where = [torch.from_numpy(np.flatnonzero(row)) for row in chosen]

    def add(layer, own, _):
        return own + 9 * torch.from_numpy(made.difference[layer])[where[layer]]

    ids = prompt_ids(made.lm, "Is growth good?", page_model.SYSTEM)
    changed = changed_answers(made.lm, [ids], chosen, add, max_new_tokens=9, batch=1)[0]
    plain, shown = answered(page)
    assert shown == text_of(made, changed) != plain and page.is_disabled("button.lab"), "the lab has no such change"
    page.locator(".earlier button").first.click()
    assert answered(page) == told["scale"]
    assert values(page, "prompt", "kind", "strength") == [PROMPT, "scale", "-2"] and "kind=scale" in page.url


def test_a_link_restores_the_state_and_a_wrong_one_changes_nothing(opened):
    page = opened("#try:set=own&own=0.3%2C2.7&kind=scale&strength=3&count=5&prompt=Hello%20%3Cimg%3E&x=1")
    kept = values(page, "set", "own", "kind", "strength", "count", "prompt")
    assert kept == ["own", "0.3,2.7", "scale", "3", "5", "Hello <img>"]
    page.click("button.go")
    answered(page)
    assert "own=0.3%2C2.7" in page.url and page.locator(".polinb-try img").count() == 0
    linked = opened("?set=random&kind=add&strength=3")  # as chapters link
    linked.evaluate(
        """() => new Promise((heard) => {
          addEventListener("hashchange", heard);
          location.hash = "#try:set=nothing&strength=1e9&kind=__proto__&count=-4";
        })"""
    )
    assert values(linked, "set", "kind", "strength", "count") == ["random", "add", "3", "40"]
    linked.select_option("select[name=set]", "own")
    linked.fill("input[name=own]", "9.1")
    linked.click("button.go")
    assert "9.1" in linked.inner_text(".said") and "no neuron" in linked.inner_text(".said")


def test_the_strongest_neurons_on_a_readers_text_are_the_engines(made, opened):
    lm, page, written = made.lm, opened(), "Taxes <b>rise</b> 日本"
    page.fill("textarea[name=text]", written)
    page.click("button.look")
    page.wait_for_selector(".found tbody tr")
    links = page.locator(".found tbody th a")
    names = links.all_text_contents()
    ids, every = text_ids(lm, written), np.ones((lm.layers, lm.width), bool)
    read = Reader(lm, every).read(pad(lm, [ids], [[]], [0]))
    acts = np.stack([layer[0, -len(ids) :].numpy() for layer in read])[:, 1:]
    share = np.abs(acts).max(1) / np.fromfile(made.folder / "model" / "scale.bin", "<f4").reshape(lm.layers, lm.width)
    order = [divmod(int(i), lm.width) for i in np.argsort(-share, axis=None)[:20]]
    assert names == [f"{layer}.{neuron}" for layer, neuron in order]
    assert links.first.get_attribute("href") == f"chapters/17_neuron_explorer.html#explorer?neuron={names[0]}"
    page.get_by_role("button", name=f"choose neuron {names[1]}", exact=True).click()
    assert values(page, "set", "own") == ["own", names[1]]


def test_keyboard_alone_is_enough_and_an_answer_can_be_stopped(opened):
    page = opened()
    assert page.evaluate("document.activeElement.name") == "prompt", "the prompt is ready to be written"
    page.fill("input[name=count]", "200")
    page.locator("input[name=count]").press("Enter")
    page.wait_for_selector(".answer span")
    page.locator("button.stop").press("Enter")
    page.wait_for_function("document.querySelector('.said').textContent.includes('Stopped.')")


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
    entries = [graph.index[graph.turned(each)] for each in blocks]
    found = visit(f"{base}/try.html").evaluate(
        """async ([base, entries, bytes]) => {
          const { spread } = await import(base + "/try_engine.js");
          return entries.map((entry) => [...new Float32Array(spread(entry, Uint8Array.from(bytes)).buffer)]);
        }""",
        [base, entries, list((tmp_path / "weights.0.bin").read_bytes())],
    )
    for got, each in zip(found, blocks, strict=True):
        assert np.array_equal(np.array(got, np.float32).reshape(64, 5), each.dense().T)


def test_tokenizers_and_judge_are_pythons_on_1000_texts(made, base, visit):
    kept = pd.read_parquet(ROOT / "book" / "reference" / "results" / "responses.parquet")["response"]
    texts = [*ODD, *kept.drop_duplicates().iloc[: 1000 - len(ODD)]]
    assert len(texts) == 1000
    ids, own, rated = visit(f"{base}/try.html").evaluate(
        """async ([base, texts]) => {
          const { makeJudge } = await import(base + "/try_engine.js");
          const { Tokenizer } = await import(base + "/model/tokenizers.min.mjs");
          const read = async (name) => (await fetch(base + name)).json();
          const core = await read("/embedded.json"), plain = { add_special_tokens: false };
          const encode = (tokenizer) => texts.map((text) => text ? tokenizer.encode(text, plain).ids : []);
          const judge = makeJudge((await read("/model/page.json")).judge);
          return [encode(new Tokenizer({ ...core, added_tokens: [] }, {})),
            encode(new Tokenizer(await read("/model/tokenizer.json"), {})), texts.map(judge)];
        }""",
        [base, texts],
    )
    embedded = SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(embedded_folder()))
    assert ids == [text_ids(embedded, text) for text in texts]
    assert own == [text_ids(made.lm, text) for text in texts]
    wanted = made.judge.rate(pd.DataFrame({"topic": "x", "prompt": "x", "response": texts}))
    assert [each["label"] for each in rated] == wanted["label"].tolist()
    found = np.array([each["p"] for each in rated], float)
    np.testing.assert_allclose(found, wanted["p_right"].to_numpy(float), atol=1e-6)

"""The model in the page is the book's model: logits, activations and answers of its graph are those of the engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pooch
import pytest

from book._make import page_model
from polinb.errors import ArtifactError

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: make setup")
pytest.importorskip("onnx", reason="onnx is not installed: make setup")

KINDS = ("plain", "ablate", "scale", "add")


def spread(folder: Path) -> dict[str, np.ndarray]:
    """The graph's large constants, as the page makes them."""
    made = {}
    for name, entry in json.loads((folder / "weights.json").read_text()).items():
        raw, shape = (folder / entry["file"]).read_bytes()[entry["at"] :], entry["shape"]
        size, width = int(np.prod(shape)), shape[-1]
        if entry["kind"] == "f32":
            values = np.frombuffer(raw, np.float32, size)
        else:
            four = entry["kind"] == "q4"
            halves = np.frombuffer(raw, np.float16, size // 32 * (1 + four)).astype(np.float32)
            halves = halves.reshape(1 + four, -1, 1, width)
            count = size // 2 if four else size
            codes = np.frombuffer(raw, np.uint8 if four else np.int8, count, halves.size * 2).reshape(
                halves.shape[1], -1, width
            )
            codes = np.concatenate([codes & 15, codes >> 4], 1) if four else codes
            values = codes.astype(np.float32) * halves[0] + (halves[1] if four else np.float32(0))
        made[name] = values.reshape(shape)
    return made


class Graph:
    """The exported graph, run by onnxruntime as the page runs it."""

    def __init__(self, folder: Path, lm) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        whole = folder.with_name(f"{folder.name}-floats")
        whole.mkdir(exist_ok=True)
        shutil.copy(folder / "model.onnx", whole)
        for name, values in spread(folder).items():
            values.tofile(whole / name)
        self.session = ort.InferenceSession(whole / "model.onnx", options, providers=["CPUExecutionProvider"])
        config = lm.model.config
        self.empty = np.zeros((lm.layers, 2, config.num_key_value_heads, 0, config.head_dim), np.float32)
        self.one = np.ones((lm.layers, lm.width), np.float32)

    def __call__(self, ids, past=None, factor=None, addend=None):
        given = {"ids": np.array(ids), "past": self.empty if past is None else past}
        given |= {
            "factor": self.one if factor is None else factor,
            "addend": 0 * self.one if addend is None else addend,
        }
        return self.session.run(None, given)

    def answer(self, ids, stop, count, factor, addend):
        out, past = [], None
        while len(out) < count:
            logits, past, _ = self(ids, past, factor, addend)
            ids = [int(logits.argmax())]
            if ids[0] in stop:
                break
            out += ids
        return out


def agree(lm, graph, chosen, difference, prompts, count):
    """Greedy answers of both, plain and with each intervention, on all prompts."""
    import torch

    from polinb.masking.decoding import assign, changed_answers, scale
    from polinb.models.generation import generate, stop_ids

    where = [torch.from_numpy(np.flatnonzero(row)) for row in chosen]

    def add(layer, own, _):
        return own + torch.from_numpy(difference[layer])[where[layer]]

    changes = {"ablate": assign(0.0), "scale": scale(2.0), "add": add}
    factors = {"ablate": 0.0, "scale": 2.0}
    answers = {}
    for kind in KINDS:
        factor = np.where(chosen, factors.get(kind, 1.0), 1.0).astype(np.float32)
        addend = np.where(chosen, difference, 0).astype(np.float32) * (kind == "add")
        if kind == "plain":
            wanted = generate(lm, prompts, max_new_tokens=count, batch=1)
        else:
            wanted = changed_answers(lm, prompts, chosen, changes[kind], max_new_tokens=count, batch=1)
        answers[kind] = wanted
        found = [graph.answer(ids, stop_ids(lm), count, factor, addend) for ids in prompts]
        assert found == wanted, kind
    assert len({json.dumps(each) for each in answers.values()}) == len(KINDS), "each intervention changes answers"


def read(lm, ids):
    """Logits of all positions (T, V) and activations of the last one (L, F), by the engine."""
    import torch

    from polinb.masking.decoding import Reader
    from polinb.models.tokens import pad

    every = np.ones((lm.layers, lm.width), bool)
    acts = Reader(lm, every).read(pad(lm, [ids], [[]], [0]))
    with torch.no_grad():
        return lm.model(torch.tensor([ids])).logits[0].numpy(), np.stack([layer[0, -1].numpy() for layer in acts])


def close(lm, graph, ids, tolerance):
    logits, acts = read(lm, ids)
    whole = graph(ids)
    assert np.abs(whole[2] - acts).max() < tolerance * max(1, np.abs(acts).max())
    past, steps = None, []
    for token in ids:
        step, past, _ = graph([token], past)
        steps.append(step[0])
    assert np.abs(np.array(steps) - logits).max() < tolerance
    assert np.abs(whole[0][0] - logits[-1]).max() < tolerance and np.abs(whole[1] - past).max() < tolerance * 10


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from polinb.data.loading import load_data
    from polinb.models.loading import load
    from polinb.stance.judges import LocalJudge

    lm, data = load("tiny:llama"), load_data("bundled")
    rng = np.random.default_rng(0)
    sets = {"G": rng.random((lm.layers, lm.width)) < 0.2}
    difference = page_model.mean_difference(lm, {"crime": data.topic("crime", limit=3)})
    folder, engine = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("engine") / "ort.mjs"
    engine.write_text("// runtime")
    page_model.write(folder, lm, LocalJudge(data), sets, difference, {"crime": "Should taxes rise?"}, [engine])
    return lm, folder, sets["G"], difference


def test_graph_and_answers_are_the_engines(tiny, pair):
    lm, folder, chosen, difference = tiny
    graph, prompts = Graph(folder, lm), pair("llama").prompts
    for ids in prompts:
        close(lm, graph, ids, 1e-5)
    agree(lm, graph, chosen, 8 * difference, prompts, 12)


def test_the_page_has_the_engines_prompt_and_the_size_of_every_file(tiny):
    from polinb.models.tokens import prompt_ids, text_ids

    lm, folder, *_ = tiny
    parts = json.loads((folder / "page.json").read_text("utf-8"))["template"]
    for prompt in ("Should taxes rise?", "\n a", "<|end|> x <|user|>"):
        made = [*parts["before"], *text_ids(lm, parts["lead"] + prompt), *parts["after"]]
        assert made == prompt_ids(lm, prompt, page_model.SYSTEM)
    found = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json"}
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["files"] == found


def test_a_wrong_package_is_refused_and_a_book_without_a_network_is_built_without_the_model(tmp_path, monkeypatch):
    def answer(_self, _url, file, _pooch):
        Path(file).write_text("something else")

    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", answer)
    with pytest.raises(ArtifactError, match=r"onnxruntime-web.*SHA512 hash of downloaded file"):
        page_model.runtime(tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fail)
    monkeypatch.setenv("POLINB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "try.html").write_text("page")
    sets = tmp_path / "reference" / "results" / "sets.safetensors"
    sets.parent.mkdir(parents=True)
    sets.write_bytes(b"")
    assert "make page" in page_model.publish(tmp_path, tmp_path / "reference", make=False)
    assert "no network" in page_model.publish(tmp_path, tmp_path / "reference", make=True)
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_the_embedded_model_in_the_page_is_the_books(tmp_path):
    """Its 4-bit blocks are the loaded weights bit for bit; 40 prompts, each intervention, token for token."""
    from book._make.page_graph import export, gguf_weights, model_weights
    from polinb.data.loading import load_data
    from polinb.models.embedded import find_gguf
    from polinb.models.loading import load
    from polinb.models.tokens import prompt_ids

    lm, data = load("smollm2-135m-instruct"), load_data("bundled")
    blocks, own = gguf_weights(find_gguf(), lm.model.config), model_weights(lm.model)
    for name in lm.model.state_dict():
        value = blocks(name)
        assert np.array_equal(value if isinstance(value, np.ndarray) else value.dense(), own(name)), name
    folder = tmp_path / "model"
    folder.mkdir()
    export(lm.model.config, blocks, folder)
    assert max(path.stat().st_size for path in folder.iterdir()) < 50_000_000
    graph = Graph(folder, lm)
    asked = [pair.prompt for topic in data.topics for pair in data.topic(topic)][:40]
    prompts = [prompt_ids(lm, prompt, page_model.SYSTEM) for prompt in asked]
    for ids in prompts[:2]:
        close(lm, graph, ids, 5e-4)
    reference = Path(__file__).parents[2] / "book" / "reference"
    sets = page_model.reference_sets(reference, (lm.layers, lm.width))
    difference = page_model.mean_difference(lm, {topic: data.topic(topic, "localise", 2) for topic in data.topics})
    agree(lm, graph, sets["G"], difference, prompts, 16)

"""The model in the page is the book's model: logits, activations and answers of its graph are those of the engine."""

import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pooch
import pytest
import torch

from book._make import page_graph, page_model
from polinb.data.loading import load_data
from polinb.errors import ArtifactError
from polinb.masking.decoding import Reader, assign, changed_answers, scale
from polinb.models.embedded import find_gguf
from polinb.models.generation import generate, stop_ids
from polinb.models.loading import load
from polinb.models.tokens import pad, prompt_ids, text_ids
from polinb.stance.judges import LocalJudge

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: make setup")
pytest.importorskip("onnx", reason="onnx is not installed: make setup")


def spread(folder: Path) -> dict[str, np.ndarray]:
    """The graph's large constants, as the page makes them."""
    made = {}
    for name, entry in json.loads((folder / "weights.json").read_text()).items():
        raw, shape = (folder / entry["file"]).read_bytes()[entry["at"] :], entry["shape"]
        size, width = int(np.prod(shape)), shape[-1]
        if entry["kind"] == "f32":
            made[name] = np.frombuffer(raw, np.float32, size).reshape(shape)
            continue
        kind, bytes_of_32, halves = (np.uint8, 16, 2) if entry["kind"] == "q4" else (np.int8, 32, 1)
        scales = np.frombuffer(raw, np.float16, size // 32 * halves).reshape(halves, -1, width)
        codes = np.frombuffer(raw, kind, size // 32 * bytes_of_32, scales.nbytes).reshape(-1, bytes_of_32, width)
        made[name] = page_graph.Blocks(codes.transpose(2, 0, 1), *(each.T for each in scales)).dense().T
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

    def __call__(self, ids, past=None, **changed):
        given = {"ids": np.array(ids), "past": self.empty if past is None else past}
        return self.session.run(None, given | {"factor": self.one, "addend": 0 * self.one} | changed)

    def answer(self, ids, stop, count, factor, addend):
        out, past = [], self.empty
        while len(out) < count:
            logits, past, _ = self(ids, past, factor=factor, addend=addend)
            ids = [int(logits.argmax())]
            if ids[0] in stop:
                break
            out += ids
        return out


def agree(lm, graph, chosen, difference, prompts, count):
    """Greedy answers of both, plain and with each intervention, on all prompts."""
    where, how = [torch.from_numpy(np.flatnonzero(row)) for row in chosen], {"max_new_tokens": count, "batch": 1}

    def add(layer, own, _):
        return own + torch.from_numpy(difference[layer])[where[layer]]

    answers = [generate(lm, prompts, **how)]
    answers += [changed_answers(lm, prompts, chosen, change, **how) for change in (assign(0.0), scale(2.0), add)]
    for wanted, factor, addend in zip(answers, (1, 0, 2, 1), (0, 0, 0, difference), strict=True):
        given = [np.where(chosen, factor, 1).astype(np.float32), np.where(chosen, addend, 0).astype(np.float32)]
        assert [graph.answer(ids, stop_ids(lm), count, *given) for ids in prompts] == wanted
    assert len(set(map(json.dumps, answers))) == len(answers), "each intervention changes answers"


def close(lm, graph, ids, tolerance):
    """Logits and activations are those of the engine."""
    reader = Reader(lm, np.ones((lm.layers, lm.width), bool))
    acts = np.stack([layer[0, -1].numpy() for layer in reader.read(pad(lm, [ids], [[]], [0]))])
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids])).logits[0, -1].numpy()
    last, _, read = graph(ids)
    np.testing.assert_allclose(read, acts, rtol=0, atol=tolerance * max(1, np.abs(acts).max()))
    np.testing.assert_allclose(last[0], logits, rtol=0, atol=tolerance)


def test_graph_answers_prompt_and_files_are_the_engines(tmp_path, pair):
    lm, data = load("tiny:llama"), load_data("bundled")
    chosen = np.random.default_rng(0).random((lm.layers, lm.width)) < 0.2
    difference = page_model.mean_difference(lm, {"crime": data.topic("crime", limit=3)})
    folder = tmp_path / "page"
    folder.mkdir()
    page_model.write(folder, lm, LocalJudge(data), {"G": chosen}, difference, {"crime": "Should taxes rise?"}, [])
    graph, prompts = Graph(folder, lm), pair("llama").prompts
    for ids in prompts:
        close(lm, graph, ids, 1e-5)
    agree(lm, graph, chosen, 8 * difference, prompts, 12)
    parts = json.loads((folder / "page.json").read_text("utf-8"))["template"]
    for prompt in ("Should taxes rise?", "\n a", "<|end|> x <|user|>"):
        made = [*parts["before"], *text_ids(lm, parts["lead"] + prompt), *parts["after"]]
        assert made == prompt_ids(lm, prompt, page_model.SYSTEM)


def test_a_wrong_package_is_refused_and_without_a_network_there_is_no_model(tmp_path, monkeypatch, capsys):
    fetch = mock.Mock(side_effect=lambda _url, file, _pooch: Path(file).write_text("something else"))
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fetch)
    with pytest.raises(ArtifactError, match=r"onnxruntime-web.*SHA512 hash of downloaded file"):
        page_model.runtime(tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", mock.Mock(side_effect=OSError("no network")))
    monkeypatch.setenv("POLINB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "try.html").write_text("page")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "sets.safetensors").write_bytes(b"")
    page_model.publish(tmp_path, tmp_path, make=False)
    page_model.publish(tmp_path, tmp_path, make=True)
    told = capsys.readouterr().out.splitlines()
    assert "make page" in told[0] and "no network" in told[1] and not (tmp_path / "model").exists()


@pytest.mark.slow
def test_the_embedded_model_in_the_page_is_the_books(tmp_path):
    """40 prompts, each intervention, token for token."""
    lm, data = load("smollm2-135m-instruct"), load_data("bundled")
    folder = tmp_path / "model"
    folder.mkdir()
    page_graph.export(lm.model.config, page_graph.gguf_weights(find_gguf(), lm.model.config), folder)
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

"""Loading: names, folders, safety, and the embedded model's file."""

import hashlib
import json
import re

import pytest
import torch

import polinb.models.embedded as embedded
from polinb.errors import ModelError, ParameterError
from polinb.models.aliases import ALIASES, EMBEDDED
from polinb.models.loading import identity_of, load
from polinb.models.tiny import tiny_model, tiny_tokenizer


def test_an_alias_is_pinned_to_a_commit():
    for alias, (hub, revision) in ALIASES.items():
        assert alias == hub.split("/")[1].lower() and re.fullmatch(r"[0-9a-f]{40}", revision)


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "model"
    tiny_model("qwen2").save_pretrained(target)
    tiny_tokenizer().save_pretrained(target)
    return target


def test_a_local_folder_loads_to_the_same_network(folder):
    lm = load(str(folder))
    ids = torch.arange(10)[None]
    with torch.no_grad():
        torch.testing.assert_close(lm.model(input_ids=ids).logits, tiny_model("qwen2")(input_ids=ids).logits)
    assert (lm.layers, lm.width, lm.neurons) == (3, 48, 144) and not lm.model.training


def test_identity_follows_the_content_of_a_folder(folder):
    first = identity_of(str(folder))
    assert first == identity_of(str(folder))
    assert str(folder.parent) not in json.dumps(first)  # no path of this machine in an artifact
    config = folder / "config.json"
    config.write_text(config.read_text().replace("1024", "1025"))
    assert identity_of(str(folder)) != first


def test_identity_follows_revision_and_dtype(monkeypatch):
    monkeypatch.setattr("polinb.models.loading.commit_of", lambda model, revision: f"commit of {revision}")
    alias = "qwen2.5-3b-instruct"
    seen = [
        identity_of(alias),
        identity_of(alias, "abc"),
        identity_of(alias, "", "bfloat16"),
        identity_of("tiny:llama"),
    ]
    assert len({json.dumps(s, sort_keys=True) for s in seen}) == 4
    assert identity_of(alias)["model"] == ALIASES[alias][0]


@pytest.mark.parametrize("keep", [0, 20_000])
def test_truncated_weights_are_told(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"truncated or damaged.*load it again"):
        load(str(folder))


def test_unknown_architecture_of_a_folder_is_told_before_weights_load(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "bloom"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"'bloom' is unknown.*put a line into ARCHITECTURES"):
        load(str(folder))


def test_quantised_weights_are_told_before_they_load(folder):
    config = json.loads((folder / "config.json").read_text())
    quantised = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantised}))
    with pytest.raises(ModelError, match=r"are quantised.*the model that they were made from"):
        load(str(folder))


def test_products_are_exact_whatever_a_container_switched_on():
    torch.set_float32_matmul_precision("high")  # as NVIDIA's containers do through the environment
    load("tiny:llama")
    assert torch.get_float32_matmul_precision() == "highest"


def test_unknown_names():
    with pytest.raises(ModelError, match="no alias"):
        load("smollm")
    with pytest.raises(ParameterError, match="tiny:llama"):
        load("tiny:nothing")


def test_truncated_and_changed_model_files(tmp_path, monkeypatch):
    path = tmp_path / embedded.GGUF
    path.write_bytes(b"abc")
    with pytest.raises(ModelError, match=r"3 of 98362432 bytes.*expected b179"):
        embedded.check_gguf(path)
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(b"abc").hexdigest())
    embedded.check_gguf(path)


def test_interrupted_conversion_leaves_nothing_usable(tmp_path, monkeypatch):
    """A crash half way must not be taken for a finished model by the next run."""
    source = tmp_path / "wheel" / embedded.GGUF
    source.parent.mkdir()
    source.write_bytes(b"abc")
    monkeypatch.setattr(embedded, "find_gguf", lambda: source)
    monkeypatch.setattr(embedded, "check_gguf", lambda path: None)
    cache = tmp_path / "cache"

    def crash(source, target):
        (target / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_dequantise", crash)
    with pytest.raises(KeyboardInterrupt):
        embedded.embedded_folder(cache)
    assert not list(cache.glob("*/"))
    monkeypatch.setattr(embedded, "_dequantise", lambda s, t: (t / "model.safetensors").write_bytes(b"whole"))
    assert (embedded.embedded_folder(cache) / "model.safetensors").read_bytes() == b"whole"


def test_the_embedded_model_writes_english():
    """The real file, where the project's own set-up has installed it."""
    try:
        embedded.find_gguf()
    except ModelError:
        pytest.skip("the wheel with the embedded model is not installed here")
    from polinb.models.generation import decode, generate
    from polinb.models.tokens import prompt_ids

    lm = load(EMBEDDED)
    assert (lm.layers, lm.width, lm.model.config.hidden_size) == (30, 1536, 576)
    answer = decode(lm, generate(lm, [prompt_ids(lm, "What is the capital of France?")], max_new_tokens=12)[0])
    assert "Paris" in answer

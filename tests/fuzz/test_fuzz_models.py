"""Model folders with damaged weights and settings: refused, or exactly the weights that the file holds."""

from __future__ import annotations

import json
import logging
import shutil
import struct

import numpy as np
import pytest
from fuzzing import budgets, plain, refused, run
from hypothesis import strategies as st

from polinb.errors import ModelError
from polinb.models.loading import load
from polinb.models.tiny import tiny_model, tiny_tokenizer

VALUE = (
    st.none() | st.booleans() | st.integers(-2, 100) | st.sampled_from([10**30, 2**31, 0.0, -1.0, 1e308]) | plain
    | st.lists(st.integers(0, 3), max_size=2) | st.just({}) | st.sampled_from(["llama", "gpt2", "evil", "silu"])
)  # fmt: skip
SETTINGS = [
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
    "vocab_size", "hidden_act", "architectures", "auto_map", "tie_word_embeddings", "dtype", "rope_parameters",
    "max_position_embeddings", "quantization_config", "pad_token_id", "rms_norm_eps", "layer_types", "head_dim",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "model"
    tiny_model("qwen2").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tensors(raw: bytes) -> dict[str, np.ndarray]:
    """A safetensors file by its specification: 8 bytes of length, a JSON header, the numbers (float32 here)."""
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, facts in header.items():
        first, last = facts["data_offsets"]
        out[name] = np.frombuffer(raw[8 + size + first : 8 + size + last], "<f4").reshape(facts["shape"])
    return out


@budgets(20, 600)
def test_any_model_folder(size, whole, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    folder = tmp_path / "model"

    def check(case):
        kind, at, bit, (name, value) = case
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        path = folder / ("config.json" if kind.startswith("config") else "model.safetensors")
        raw = bytearray(path.read_bytes())
        header = struct.unpack("<Q", raw[:8])[0]
        if kind == "header flip":
            raw[at % (8 + header)] ^= 1 << bit
        elif kind.endswith("flip"):
            raw[at % len(raw)] ^= 1 << bit
        elif kind.endswith("cut"):
            del raw[at % len(raw) :]
        elif kind == "length":
            raw[:8] = struct.pack("<Q", [0, 2**63, 2**64 - 1, header + 1, header - 1, 100_000_001][at % 6])
        elif kind == "tensor gone" or kind == "tensor renamed":
            content = json.loads(raw[8 : 8 + header])
            names = sorted(set(content) - {"__metadata__"})
            facts = content.pop(names[at % len(names)])
            if kind == "tensor renamed":
                content["model.other.weight"] = facts
            text = json.dumps(content).encode()
            raw[:8] = struct.pack("<Q", len(text))
            raw[8 : 8 + header] = text
        elif kind == "config":
            raw = bytearray(json.dumps(json.loads(raw) | {name: value}).encode())
        path.write_bytes(bytes(raw))
        try:
            lm = load(str(folder), device="cpu")
        except ModelError as error:
            return refused(error, str(folder), "architecture")
        held = tensors((folder / "model.safetensors").read_bytes())
        loaded = {n: p.detach().numpy() for n, p in lm.model.named_parameters()}
        # bytes, not numbers: a flipped bit may make a NaN
        assert {n: p.tobytes() for n, p in loaded.items()} == {n: held[n].tobytes() for n in loaded}
        assert set(held) - set(loaded) <= {"lm_head.weight", "model.embed_tokens.weight"}, "weights left aside"
        return True

    kinds = [
        "header flip",
        "flip",
        "cut",
        "length",
        "tensor gone",
        "tensor renamed",
        "config",
        "config",
        "config flip",
        "config cut",
    ]
    case = st.tuples(
        st.sampled_from(kinds), st.integers(0, 10**6), st.integers(0, 7), st.tuples(st.sampled_from(SETTINGS), VALUE)
    )
    run("model folders", size, case, check)

"""Model folders with damaged weights and settings: refused, or exactly the weights that the file holds."""

import json
import logging
import shutil
import struct

from fuzzing import budgets, plain, refused, run
from hypothesis import strategies as st
from planted_files import model_folder
from safetensors.numpy import load_file

from polinb.errors import ModelError
from polinb.models.loading import load

VALUE = (
    st.none() | st.booleans() | st.integers(-2, 100) | st.sampled_from([10**30, 2**31, 0.0, -1.0, 1e308]) | plain
    | st.lists(st.integers(0, 3), max_size=2) | st.just({}) | st.sampled_from(["llama", "gpt2", "evil", "silu"])
)  # fmt: skip


def header(raw):
    return struct.unpack("<Q", raw[:8])[0]


def flip(raw, at, bit):
    raw[at % len(raw)] ^= 1 << bit
    return bytes(raw)


def renamed(raw, at, bit):
    """A tensor has another name, or is gone."""
    content = json.loads(raw[8 : 8 + header(raw)])
    facts = content.pop(sorted(set(content) - {"__metadata__"})[at % (len(content) - 1)])
    text = json.dumps(content | ({"model.other.weight": facts} if bit % 2 else {})).encode()
    return struct.pack("<Q", len(text)) + text + raw[8 + header(raw) :]


LENGTHS = [0, 2**63, 2**64 - 1, 100_000_001, 1, 17]
DAMAGES = {
    "flip": flip,
    "header flip": lambda raw, at, bit: flip(raw[: 8 + header(raw)], at, bit) + raw[8 + header(raw) :],
    "cut": lambda raw, at, bit: raw[: at % len(raw)],
    "length": lambda raw, at, bit: struct.pack("<Q", LENGTHS[at % 6]) + raw[8:],
    "renamed": renamed,
}


@budgets(20, 600)
def test_any_model_folder(size, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    whole, folder = model_folder(tmp_path / "whole", "qwen2"), tmp_path / "model"

    def check(case):
        name, kind, at, bit, (setting, value) = case
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        raw = bytearray((folder / name).read_bytes())
        if name == "config.json" and kind not in ("flip", "cut"):
            raw = json.dumps(json.loads(raw) | {setting: value}).encode()
        else:
            raw = DAMAGES[kind](raw, at, bit)
        (folder / name).write_bytes(raw)
        try:
            lm = load(str(folder), device="cpu")
        except ModelError as error:
            return refused(error, str(folder), "architecture")
        held = load_file(folder / "model.safetensors")
        loaded = {n: p.detach().numpy() for n, p in lm.model.named_parameters()}
        # bytes, not numbers: a flipped bit may make a NaN
        assert {n: p.tobytes() for n, p in loaded.items()} == {n: held[n].tobytes() for n in loaded}
        assert set(held) - set(loaded) <= {"lm_head.weight", "model.embed_tokens.weight"}, "weights left aside"
        return True

    file = st.sampled_from(["config.json", "model.safetensors"])
    settings = [*json.loads((whole / "config.json").read_text()), "auto_map", "quantization_config", "head_dim"]
    setting = st.tuples(st.sampled_from(settings), VALUE)
    run(size, st.tuples(file, st.sampled_from([*DAMAGES]), st.integers(0, 10**6), st.integers(0, 7), setting), check)

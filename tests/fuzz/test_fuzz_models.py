"""Model folders with damaged weights and settings: refused, or exactly the weights that the file holds."""

import json
import logging
import shutil
import struct

from fuzzing import budgets, plain, refused, run
from hypothesis import strategies as st
from planted_files import change, model_folder
from safetensors.numpy import load_file

from polinb.errors import ModelError
from polinb.models.loading import load

VALUE = (
    st.none() | st.booleans() | st.integers(-2, 100) | st.sampled_from([10**30, 2**31, 0.0, -1.0, 1e308]) | plain
    | st.lists(st.integers(0, 3), max_size=2) | st.just({}) | st.sampled_from(["gpt2", "llama", "evil", "silu"])
)  # fmt: skip


def flip(raw, at, bit):
    at %= len(raw)
    return raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]


def flip_header(raw, at, bit):
    end = 8 + struct.unpack("<Q", raw[:8])[0]
    return flip(raw[:end], at, bit) + raw[end:]


DAMAGES = {"flip": flip, "header": flip_header, "cut": lambda raw, at, bit: raw[: at % len(raw)]}


@budgets(40, 600)
def test_any_model_folder(size, tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    whole, folder = model_folder(tmp_path / "whole", "qwen2"), tmp_path / "model"

    def check(case):
        name, kind, at, bit, (setting, value) = case
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        if name == "config.json" and kind == "header":
            change(folder / name, **{setting: value})
        else:
            (folder / name).write_bytes(DAMAGES[kind]((folder / name).read_bytes(), at, bit))
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

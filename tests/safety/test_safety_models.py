"""Dangers planted in model folders: pickles, code, adapters, indexes and links that lead elsewhere."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from polinb.chapters.caft.sae_files import load as load_sae
from polinb.data.loading import load_data, load_statements
from polinb.errors import DataError, ModelError, ParameterError
from polinb.models.checkpoints import check_complete
from polinb.models.loading import identity_of, load
from polinb.models.tiny import tiny_model, tiny_tokenizer
from polinb.stance.classifiers import SequenceClassifier

PICKLES = ("pytorch_model.bin", "model.pt", "model.pkl", "adapter_model.bin", "model.ckpt", "model.pth")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self.trap = str(trap)

    def __reduce__(self):
        return (exec, (f"open({self.trap!r}, 'w').write('ran')",))


@pytest.fixture
def trap(tmp_path):
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists(), "foreign code ran"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    target = tmp_path_factory.mktemp("whole") / "model"
    tiny_model("qwen2").save_pretrained(target)
    tiny_tokenizer().save_pretrained(target)
    return target


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def change(path: Path, **more: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def test_pickles_are_not_opened_beside_weights_and_refused_instead_of_them(folder, trap):
    for number, name in enumerate(PICKLES):
        torch.save(Bomb(trap), folder / name, _use_new_zipfile_serialization=number % 2 == 0)
    assert load(str(folder), device="cpu").layers == 3
    (folder / "model.safetensors").unlink()
    for attempt in (load, identity_of, SequenceClassifier):
        with pytest.raises(ModelError, match=r"no \.?safetensors"):
            attempt(str(folder))
    for zipped in (False, True):
        torch.save(Bomb(trap), folder / "model.safetensors", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelError, match=r"truncated or damaged|cannot load model"):
            load(str(folder), device="cpu")


def test_an_adapter_is_refused_and_its_pickle_not_opened(folder, trap, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(folder)})
    )
    torch.save(Bomb(trap), other / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter.*merge_and_unload"):
        load(str(other), device="cpu")


def test_code_of_a_model_is_not_run(folder, trap):
    """Beside a known architecture it is left alone; a model that needs it is refused."""
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\n")
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "evil.M"})
    assert type(load(str(folder), device="cpu").model).__name__ == "Qwen2ForCausalLM"
    auto = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    for file, more in (("tokenizer_config.json", {}), ("config.json", {"model_type": "evil"})):
        change(folder / file, auto_map=auto, **more)
        for attempt in (load, SequenceClassifier):
            with pytest.raises(ModelError, match=r"asks for code of its own \(auto_map\), which is never run"):
                attempt(str(folder))


def sharded(folder: Path, shard: str) -> None:
    """One weights file named by an index, as large checkpoints have it."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_an_index_is_followed_inside_the_folder_only(folder, tmp_path):
    expected = load(str(folder), device="cpu").model.state_dict()
    shutil.copy(folder / "model.safetensors", tmp_path / "out.safetensors")
    sharded(folder, "one.safetensors")
    found = load(str(folder), device="cpu").model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for where in ("../out.safetensors", f"{tmp_path}/out.safetensors", "a\0.safetensors", "one.bin", 5):
        change(folder / "model.safetensors.index.json", weight_map=dict.fromkeys(index["weight_map"], where))
        with pytest.raises(
            ModelError, match=r"index\.json: names .*; expected a \.safetensors file in the same folder"
        ):
            load(str(folder), device="cpu")


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        with pytest.raises(ModelError, match=r"leads outside the model's folder"):
            load(str(folder), device="cpu")
        (folder / name).unlink()
        (tmp_path / name).rename(folder / name)
    (folder / "loop.json").symlink_to("loop.json")
    with pytest.raises((ModelError, OSError), match=r"loop\.json"):
        load(str(folder), device="cpu")


def test_links_of_the_hubs_cache_are_followed(folder, tmp_path):
    """There a snapshot's files are links to blobs beside it."""
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(os.path.relpath(blobs / str(number), snapshot))
    assert load(str(snapshot), device="cpu").layers == 3
    (snapshot / "model.safetensors").unlink()
    shutil.copy(next(b for b in blobs.iterdir() if b.stat().st_size > 50_000), tmp_path / "w.safetensors")
    (snapshot / "model.safetensors").symlink_to(tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="leads outside"):
        load(str(snapshot), device="cpu")


def test_weights_that_do_not_fit_are_refused_and_not_invented(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if "down_proj" in n)
    save_file({n: v for n, v in tensors.items() if n != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"lacks weights \(1\): {name}"):
        load(str(folder), device="cpu")
    save_file(
        tensors | {"model.layers.9.mlp.down_proj.weight": tensors[name].clone()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ModelError, match="does not use"):
        load(str(folder), device="cpu")
    check_complete("m", {"missing_keys": set(), "unexpected_keys": {"h.0.attn.masked_bias"}, "mismatched_keys": set()})


def test_pickled_data_and_autoencoders_are_refused_and_not_opened(tmp_path, trap):
    for suffix in (".pt", ".safetensors"):
        torch.save(Bomb(trap), tmp_path / f"sae{suffix}")
        with pytest.raises(ParameterError, match="safetensors"):
            load_sae(tmp_path / f"sae{suffix}", 8)
    for name in ("set.pkl", "set.npy", "set.csv", "set.json", "set.parquet", "set.yaml"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(trap)))
        for attempt in (load_data, load_statements):
            with pytest.raises(DataError):
                attempt(str(tmp_path / name))

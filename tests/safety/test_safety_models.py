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


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "model"
    tiny_model("qwen2").save_pretrained(target)
    tiny_tokenizer().save_pretrained(target)
    return target


def change(path: Path, **more: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_instead_of_weights_is_refused_and_not_opened(folder, trap, name, zipped):
    (folder / "model.safetensors").unlink()
    torch.save(Bomb(trap), folder / name, _use_new_zipfile_serialization=zipped)
    for attempt in (load, identity_of, SequenceClassifier):
        with pytest.raises(ModelError, match=r"no \.?safetensors"):
            attempt(str(folder))


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_beside_the_weights_is_not_opened(folder, trap, name):
    torch.save(Bomb(trap), folder / name)
    assert load(str(folder), device="cpu").layers == 3


@pytest.mark.parametrize("content", ["pickle", "zip"])
def test_a_pickle_under_the_name_of_safetensors_is_refused(folder, trap, content):
    torch.save(Bomb(trap), folder / "model.safetensors", _use_new_zipfile_serialization=content == "zip")
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


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_that_needs_its_own_code_is_refused_and_the_code_not_run(folder, trap, file):
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\n")
    auto = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    change(folder / file, auto_map=auto, **({"model_type": "evil"} if file == "config.json" else {}))
    for attempt in (load, SequenceClassifier):
        with pytest.raises(ModelError, match=rf"{file}: asks for code of its own \(auto_map\), which is never run"):
            attempt(str(folder))


def test_code_beside_a_known_architecture_is_not_run(folder, trap):
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\n")
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "evil.M"})
    assert type(load(str(folder), device="cpu").model).__name__ == "Qwen2ForCausalLM"


def sharded(folder: Path, shard: str) -> None:
    """One weights file named by an index, as large checkpoints have it."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_an_index_of_the_folder_is_followed(folder):
    expected = load(str(folder), device="cpu").model.state_dict()
    sharded(folder, "one.safetensors")
    found = load(str(folder), device="cpu").model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    "where", ["../out.safetensors", "{tmp}/out.safetensors", "a\0.safetensors", "one.bin", "", "gone.safetensors", 5]
)
def test_an_index_that_leads_elsewhere_is_refused(folder, tmp_path, where):
    shutil.copy(folder / "model.safetensors", tmp_path / "out.safetensors")
    sharded(folder, where.format(tmp=tmp_path) if isinstance(where, str) else where)
    with pytest.raises(ModelError, match=r"index\.json: names .*; expected a \.safetensors file in the same folder"):
        load(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, name):
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ModelError, match=rf"{name}: leads outside the model's folder"):
        load(str(folder), device="cpu")


def test_a_link_to_itself_is_refused(folder):
    (folder / "loop.json").symlink_to("loop.json")
    with pytest.raises((ModelError, OSError)) as error:
        load(str(folder), device="cpu")
    assert "loop.json" in str(error.value)


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


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pkl", ".safetensors"])
def test_a_pickled_autoencoder_is_refused_and_not_opened(tmp_path, trap, suffix):
    torch.save(Bomb(trap), tmp_path / f"sae{suffix}")
    with pytest.raises(ParameterError, match="safetensors"):
        load_sae(tmp_path / f"sae{suffix}", 8)


def test_pickled_data_is_refused_and_not_opened(tmp_path, trap):
    from polinb.data.loading import load_data, load_statements

    for name in (
        "set.pkl",
        "set.pt",
        "set.bin",
        "set.npy",
        "set.csv",
        "set.json",
        "set.jsonl",
        "set.parquet",
        "set.yaml",
    ):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(trap)))
        for attempt in (load_data, load_statements):
            with pytest.raises(DataError):
                attempt(str(tmp_path / name))

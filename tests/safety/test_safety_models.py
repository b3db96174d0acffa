"""Dangers planted in model folders: pickles, code, adapters, indexes and links that lead elsewhere."""

import json
import os
import pickle
import shutil

import pytest
import torch
from planted_files import change, model_folder
from safetensors.torch import load_file

from polinb.chapters.caft.sae_files import load as load_sae
from polinb.data.loading import load_data, load_statements
from polinb.errors import DataError, ModelError, ParameterError
from polinb.models.loading import identity_of, load
from polinb.stance.classifiers import SequenceClassifier

PICKLES = ("pytorch_model.bin", "model.pt", "model.pkl", "adapter_model.bin")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, trap):
        self.trap = str(trap)

    def __reduce__(self):
        return exec, (f"open({self.trap!r}, 'w').write('ran')",)


@pytest.fixture
def trap(tmp_path):
    path = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Bomb(path)))
    path.unlink()  # it works
    yield path
    assert not path.exists(), "foreign code ran"


@pytest.fixture
def folder(tmp_path):
    return model_folder(tmp_path / "model", "qwen2")


def refuses(folder, told, *attempts):
    for attempt in attempts or (load,):
        with pytest.raises(ModelError, match=told):
            attempt(str(folder))


def test_pickles_are_not_opened_beside_weights_and_refused_instead_of_them(folder, trap):
    for number, name in enumerate(PICKLES):
        torch.save(Bomb(trap), folder / name, _use_new_zipfile_serialization=number % 2 == 0)
    assert load(str(folder), device="cpu").layers == 3
    (folder / "model.safetensors").unlink()
    refuses(folder, r"no \.?safetensors", load, identity_of, SequenceClassifier)
    for zipped in (False, True):
        torch.save(Bomb(trap), folder / "model.safetensors", _use_new_zipfile_serialization=zipped)
        refuses(folder, r"truncated or damaged|cannot load model")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x"}')
    refuses(folder, r"adapter.*merge_and_unload")


def test_pickled_data_and_autoencoders_are_refused_and_not_opened(tmp_path, trap):
    for suffix in (".pt", ".safetensors"):
        torch.save(Bomb(trap), tmp_path / f"sae{suffix}")
        with pytest.raises(ParameterError, match="safetensors"):
            load_sae(tmp_path / f"sae{suffix}", 8)
    for name in ("set.pkl", "set.npy", "set.csv", "set.json", "set.parquet"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(trap)))
        for attempt in (load_data, load_statements):
            with pytest.raises(DataError):
                attempt(str(tmp_path / name))


def test_code_of_a_model_is_not_run(folder, trap):
    """Beside a known architecture it is left alone; a model that needs it is refused."""
    (folder / "evil.py").write_text(f"open({str(trap)!r}, 'w')\n")
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "evil.M"})
    assert type(load(str(folder), device="cpu").model).__name__ == "Qwen2ForCausalLM"
    auto = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    for file, more in (("tokenizer_config.json", {}), ("config.json", {"model_type": "evil"})):
        change(folder / file, auto_map=auto, **more)
        refuses(folder, r"asks for code of its own \(auto_map\), which is never run", load, SequenceClassifier)


def test_an_index_is_followed_inside_the_folder_only(folder, tmp_path):
    names, index = load_file(folder / "model.safetensors"), folder / "model.safetensors.index.json"
    expected = load(str(folder), device="cpu").model.state_dict()
    shutil.copy(folder / "model.safetensors", tmp_path / "out.safetensors")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    weight_map = dict.fromkeys(names, "one.safetensors")
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    torch.testing.assert_close(load(str(folder), device="cpu").model.state_dict(), expected, rtol=0, atol=0)
    for where in ("../out.safetensors", f"{tmp_path}/out.safetensors", "a\0.safetensors", "one.bin", 5):
        change(index, weight_map=dict.fromkeys(names, where))
        refuses(folder, r"index\.json: names .*; expected a \.safetensors file in the same folder")


def test_a_link_out_of_the_folder_is_refused_and_those_of_the_hubs_cache_are_followed(folder, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    for target in (tmp_path / "other.json", "link.json"):
        (folder / "link.json").symlink_to(target)
        refuses(folder, r"link\.json: leads outside the model's folder, or to nothing")
        (folder / "link.json").unlink()
    # there a snapshot's files are links to blobs beside it
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(folder, blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(os.path.relpath(file, snapshot))
    assert load(str(snapshot), device="cpu").layers == 3
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(folder / "model.safetensors")
    refuses(snapshot, "leads outside")

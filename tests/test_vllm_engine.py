"""vLLM writes plain answers only where it can; a planted module checks what it is asked for."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from polinb import vllm_engine
from polinb.errors import ModelError, ParameterError
from polinb.experiment import Experiment
from polinb.generate import greedy, stop_ids
from polinb.models import load
from polinb.params import Params
from polinb.text import prompt_ids
from polinb.vllm_engine import greedy_vllm, pick_engine


class Planted(types.ModuleType):
    """What of vLLM is used. It answers as the folder's model would, and runs on past stop ids as ignore_eos says."""

    def __init__(self, spoil=lambda outputs: outputs):
        super().__init__("vllm")
        self.__spec__ = importlib.util.spec_from_loader("vllm", None)
        self.calls = []
        planted = self

        class SamplingParams:
            def __init__(self, **given):
                self.given = given

        class LLM:
            def __init__(self, **given):
                self.given = given
                folder = Path(given["model"])
                self.names = sorted(path.name for path in folder.iterdir())
                self.weights = load_file(folder / "model.safetensors")

            def generate(self, prompts, sampling, **more):
                planted.calls.append((self, prompts, sampling.given, more))
                stop = sampling.given["stop_token_ids"]
                made = [
                    [7, 8, 9, stop[0]] if i % 2 else [5] * sampling.given["max_tokens"] for i in range(len(prompts))
                ]
                answer = types.SimpleNamespace
                return spoil([answer(outputs=[answer(token_ids=tuple(ids))]) for ids in made])

        self.SamplingParams, self.LLM = SamplingParams, LLM


@pytest.fixture
def planted(monkeypatch):
    def make(**given):
        module = Planted(**given)
        monkeypatch.setitem(sys.modules, "vllm", module)
        return module

    return make


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (30 * 10**9, 40 * 10**9))


def test_it_is_asked_for_greedy_answers_to_our_own_token_ids(planted, card):
    module, lm = planted(), load("tiny:llama", device="cpu")
    asked = [prompt_ids(lm, q) for q in ("Should taxes be raised?", "Is growth good?", "And now?")]
    made = greedy_vllm(lm, asked, max_new_tokens=6, batch=2)
    assert made == [[5] * 6, [7, 8, 9], [5] * 6], "cut at our stop ids, in the order asked"
    ((engine, prompts, sampling, more),) = module.calls
    assert prompts == [{"prompt_token_ids": ids} for ids in asked]
    assert sampling == {
        "temperature": 0.0, "max_tokens": 6, "stop_token_ids": stop_ids(lm), "ignore_eos": True, "detokenize": False,
        "repetition_penalty": 1.0, "n": 1,
    }  # fmt: skip
    assert more == {"use_tqdm": False}
    given = engine.given
    assert given["skip_tokenizer_init"] is True and given["trust_remote_code"] is False
    assert given["load_format"] == "safetensors" and given["generation_config"] == "vllm"
    assert given["dtype"] == "float32" and given["max_num_seqs"] == 2
    assert given["max_model_len"] == max(map(len, asked)) + 6
    assert given["gpu_memory_utilization"] == pytest.approx(0.9 * 30 / 40, abs=1e-3)


def test_it_reads_this_very_model_and_no_tokenizer_or_template(planted, card):
    module, lm = planted(), load("tiny:llama", device="cpu")
    with torch.no_grad():
        next(lm.model.parameters()).add_(1.0)  # a variant is not the model it came from
    greedy_vllm(lm, [[5, 6]], max_new_tokens=2)
    engine = module.calls[0][0]
    assert torch.equal(engine.weights["model.embed_tokens.weight"], next(lm.model.parameters()).detach())
    assert not [name for name in engine.names if "token" in name or name.endswith((".jinja", ".bin", ".pt"))]
    assert not Path(engine.given["model"]).exists(), "the copy is removed"


def test_lost_answers_and_failures_are_told(planted, card):
    lm = load("tiny:llama", device="cpu")
    planted(spoil=lambda outputs: outputs[:-1])
    with pytest.raises(ModelError, match="1 answers to 2 prompts"):
        greedy_vllm(lm, [[5], [6]], max_new_tokens=2)

    def broken(outputs):
        raise RuntimeError("no kernel image")

    planted(spoil=broken)
    with pytest.raises(ModelError, match=r"no kernel image.*engine=transformers"):
        greedy_vllm(lm, [[5]], max_new_tokens=2)
    assert greedy_vllm(lm, [], max_new_tokens=2) == []


def test_where_it_runs(planted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pick_engine("auto", "auto") == pick_engine("transformers", "auto") == "transformers"
    with pytest.raises(ParameterError, match="vLLM is not installed"):
        pick_engine("vllm", "auto")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ParameterError, match="needs a CUDA card"):
        pick_engine("vllm", "auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_engine("auto", "auto") == pick_engine("vllm", "cuda") == "vllm"
    assert pick_engine("transformers", "cuda") == "transformers"
    with pytest.raises(ParameterError, match="device=cpu"):
        pick_engine("vllm", "cpu")
    with pytest.raises(ParameterError, match="device_map=auto"):
        pick_engine("vllm", "cuda", "auto")
    with pytest.raises(ParameterError):
        pick_engine("tgi", "cuda")


def test_the_engine_is_among_the_inputs_of_answers_and_writes_them(planted, monkeypatch):
    run = Params.from_profile("tiny", device="cpu", engine="transformers")
    plain, other = Experiment(run), Experiment(run)
    assert "engine" not in plain._ask_inputs()
    module = planted()
    other.engine = "vllm"
    monkeypatch.setattr(vllm_engine, "engine_version", lambda: "9.9")
    told = other._ask_inputs()["engine"]
    assert (told["name"], told["version"]) == ("vllm", "9.9")
    made = other.answers()
    assert made.meta["key"] != plain.answers().meta["key"] and len(module.calls) == 2  # questions, statements
    assert set(made.frame("answers")["n_tokens"]) <= {3, run.eval_tokens}


@pytest.mark.gpu
def test_real_vllm_writes_what_transformers_writes(pair):
    pytest.importorskip("vllm")
    lm = load("smollm2-135m-instruct", device="cuda")
    asked = [prompt_ids(lm, q) for q in pair("llama").QUESTIONS]
    ours, theirs = greedy(lm, asked, max_new_tokens=12), greedy_vllm(lm, asked, max_new_tokens=12)
    # Other kernels round otherwise, so a near tie can fall the other way: the first tokens are the same.
    assert [a[:4] for a in ours] == [b[:4] for b in theirs]

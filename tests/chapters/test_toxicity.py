"""The toxicity chapter's stages on tiny models: who trains on what, and what is refused before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted_files import write
from test_civility import openings

from polinb.chapters.dpo import toxicity, toxicity_tables
from polinb.chapters.dpo.toxicity_tables import overlap_f1
from polinb.errors import DataError, ModelError, ParameterError
from polinb.models.lm import LM
from polinb.runs import stages
from polinb.runs.artifacts import Store
from polinb.runs.conditions import Texts, encode
from polinb.runs.params import Params
from polinb.runs.run import Run


def experiment(store: Path, **given: Any) -> Run:
    return Run(Params.from_profile("tiny", **given), Store(store))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return experiment(tmp_path_factory.mktemp("store"))


def other(run: Run, **given: Any) -> Run:
    """The same run with other parameters, and the model already loaded."""
    made = Run(run.params.model_copy(update=given), run.store)
    made.once("lm", lambda: run.lm)
    return made


def model(run: Run, who: str) -> LM:
    return run.model(run.weights(toxicity.conditions(run)[who]))


def ids_of(run: Run, prompt: str, said: str | None = None, form: Any = "chat", end: bool = False) -> Any:
    """Token ids of a prompt and a response, as the stages make them."""
    rows = pd.DataFrame([{"prompt": prompt} | ({} if said is None else {"response": said})])
    p = run.params
    prompts, responses = encode(run.lm, Texts.of(rows, form), p.system_prompt, p.max_tokens, end=end)
    return prompts[0], responses[0]


def rated_texts(run: Run, texts: list[str]) -> pd.DataFrame:
    return toxicity.rated(run, stages.given(run, texts=Texts.of(pd.DataFrame({"response": texts}))))


def no_training(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("something was trained")


def test_no_stage_reads_what_another_trained_on(run: Run) -> None:
    data, count = toxicity.pairs(run), run.params.toxicity_pairs
    preferred = {pair.id for pair in data.split("train", count)}
    rude = {pair.id for pair in toxicity.warmup_pairs(run)}
    probed = set(toxicity.probe_texts(run).rows["unit"])
    asked = set(toxicity.held_out_logp(run, "after").frame("logp")["id"])
    assert len(preferred) == len(rude) == count
    every = [preferred, rude, probed, asked]
    assert sum(map(len, every)) == len(set.union(*every))  # no two have a pair in common
    judged = {pair.id for pair in data.split("evaluate")}
    assert asked <= judged and not judged & (preferred | rude | probed)


def test_encoding(run: Run) -> None:
    from polinb.models.tokens import end_ids

    tokenizer = run.lm.tokenizer
    prompt, said = ids_of(run, "Tea?", "Please.", end=True)
    assert said[-1] == end_ids(run.lm)[0] and tokenizer.decode(said[:-1]) == "Please."
    assert tokenizer.decode(prompt).endswith("Tea?<|end|><|assistant|>")
    prompt, said = ids_of(run, "The game", "was long.", "continuation", end=True)
    assert tokenizer.decode(prompt + said) == "The game was long."  # no template, and nothing that ends it
    assert ids_of(run, "The game", form="continuation")[1] == []
    long = ids_of(run, "Tea?", "so " * 500)
    assert len(long[0]) + len(long[1]) == run.params.max_tokens


def test_the_model_before(run: Run) -> None:
    vanilla, before = (dict(model(run, who).model.named_parameters()) for who in ("vanilla", "before"))
    assert any(not torch.equal(vanilla[name], before[name]) for name in vanilla)
    weights = {who: run.weights(each) for who, each in toxicity.conditions(run).items()}
    assert [need.key for need in weights["after"].needs] == [weights["before"].key], "DPO starts from the warm-up"
    run = other(run, toxicity_warmup=0.0)
    assert model(run, "before") is run.lm
    assert toxicity.conditions(run)["after"].start is None


def test_adapters_of_the_warm_up_and_of_dpo_share_one_base(tmp_path: Path) -> None:
    run = experiment(tmp_path, train="lora", dtype="bfloat16", lora_rank=4, device="cpu")
    vanilla, before, after = (dict(model(run, who).model.named_parameters()) for who in toxicity.MODELS)
    places = {weight.data_ptr() for weight in vanilla.values()}
    name = "model.layers.1.mlp.down_proj.lora_A.default.weight"
    for own, rank in ((before, 4), (after, 8)):
        assert places < {weight.data_ptr() for weight in own.values()} and len(own[name]) == rank
    assert torch.equal(after[name][:4], before[name]) and after[name].dtype == torch.float32
    trained = run.weights(toxicity.conditions(run)["after"])
    assert trained is not None and trained.summary["losses"][0] == pytest.approx(np.log(2), abs=1e-6)


def log_likelihood(lm: Any, prompt: list[int], said: list[int]) -> float:
    """Mean log-probability a token, by a plain forward pass."""
    with torch.no_grad():
        logp = torch.log_softmax(lm.model(torch.tensor([prompt + said])).logits[0].double(), -1)
    return float(np.mean([logp[len(prompt) + i - 1, token] for i, token in enumerate(said)]))


def test_the_warm_up_makes_rude_and_dpo_makes_civil_likelier(tmp_path: Path) -> None:
    run = experiment(tmp_path, dpo_epochs=12.0, toxicity_warmup=12.0)
    data = toxicity.pairs(run)

    def level(who: str, pairs: list[Any], side: str) -> float:
        lm = model(run, who)
        texts = [ids_of(run, p.prompt, getattr(p, side), end=True) for p in pairs]
        return float(np.mean([log_likelihood(lm, *text) for text in texts]))

    warm = toxicity.warmup_pairs(run)
    assert level("before", warm, "rude") > level("vanilla", warm, "rude") + 0.1
    trained = data.split("train", run.params.toxicity_pairs)
    gap = {who: level(who, trained, "civil") - level(who, trained, "rude") for who in ("before", "after")}
    assert gap["after"] > gap["before"] + 0.05


def test_refused_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polinb.training.supervised.finetune", no_training)
    few = [{"prompt": f"{word}?", "civil": "Yes.", "rude": "No."} for word in ("Tea", "Milk")]
    thin = [{"comment_text": f"Number {i}.", "toxic": int(i < 2)} for i in range(20)]
    pairs = str(write(tmp_path, "csv", few))
    some = str(write(tmp_path, "csv", thin, "thin"))
    for given, error, message in (
        ({"model": "tiny:gemma2"}, ModelError, "gemma2.*cannot be decomposed"),
        ({"probe_top": [4, 500]}, ParameterError, "probe_top.*at most 144"),
        ({"toxicity_model": "./nowhere"}, ModelError, "no such folder"),
        ({"challenge_data": "nowhere"}, DataError, "nowhere: no such data"),
        ({"toxicity_data": pairs}, DataError, r"none of 2 pairs is in the split"),
        ({"toxicity_comments": some}, ParameterError, "got '18 civil, 2 rude'; allowed: at least 3 civil"),
    ):
        with pytest.raises(error, match=message):
            toxicity.ready(experiment(tmp_path / "store", **given))
    assert not (tmp_path / "store").exists()


def test_word_overlap_by_hand() -> None:
    assert overlap_f1("The cat, the dog", "the cat sat") == pytest.approx(2 * 2 / (4 + 3))  # "the" counts once
    assert overlap_f1("A b", "B a.") == 1 and overlap_f1("", "a") == 0 and overlap_f1("x", "y") == 0


def test_continuations_by_name(tmp_path: Path) -> None:
    """Paired continuations and sentence openings: no template anywhere, and the whole way runs."""
    rows = [
        {"prompt_text": f"The {w} said", "unpert_gen_text": f" {w} is kind.", "pert_gen_text": f" {w} is a fool."}
        for w in ("cook", "cat", "king", "nurse", "guest", "clerk", "judge", "chef", "baker", "crow", "fox", "owl") * 5
    ]
    rows = [row | {"prompt_text": f"{row['prompt_text']} {i}"} for i, row in enumerate(rows)]
    hard = [
        *openings(),
        *(row | {"prompt": {**row["prompt"], "text": f"Then {i}"}} for i, row in enumerate(openings())),
    ]
    run = experiment(
        tmp_path / "store",
        toxicity_warmup=0.0,
        toxicity_data=str(write(tmp_path, "jsonl", rows)),
        challenge_data=str(write(tmp_path, "jsonl", hard, "hard")),
    )
    toxicity.ready(run)
    assert toxicity.pairs(run).form == toxicity.challenge(run).form == "continuation"
    own = toxicity.study(run)
    prompts, _ = encode(run.lm, own.tried, run.params.system_prompt, run.params.max_tokens)
    assert [run.lm.tokenizer.decode(p) for p in prompts] == [item.prompt for item in toxicity.asked(run)[:2]]
    assert own.tried.form == own.probed.form == "continuation"
    assert list(own.read.frame("answers")["prompt"]) == [item.prompt for item in toxicity.asked(run)[2:]]
    table = toxicity_tables.share_table(run)
    assert table["share"].notna().all()

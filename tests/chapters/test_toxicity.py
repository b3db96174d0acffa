"""The toxicity chapter's stages on tiny models: who trains on what, and every number against something else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted_files import write
from test_civility import LABELS, openings, toxic_model, wikipedia

from polinb.chapters.dpo import toxicity, toxicity_tables
from polinb.chapters.dpo.toxicity_tables import overlap_f1
from polinb.errors import DataError, ModelError, ParameterError
from polinb.models.lm import LM
from polinb.runs import stages
from polinb.runs.artifacts import Store
from polinb.runs.conditions import Texts, encode
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.scoring.probes import layer_direction


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


# ---- data and models -------------------------------------------------------------------------------------------------


def test_no_stage_reads_what_another_trained_on(run: Run) -> None:
    data, count = toxicity.pairs(run), run.params.toxicity_pairs
    preferred = {pair.id for pair in data.split("train", count)}
    rude = {pair.id for pair in toxicity.warmup_pairs(run)}
    probed = set(toxicity.probe_texts(run).rows["unit"])
    asked = set(toxicity.preferences(run, "after")["id"])
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
    assert len(set(map(str, weights.values()))) == 3
    assert [need.key for need in weights["after"].needs] == [weights["before"].key], "DPO starts from the warm-up"
    run = other(run, toxicity_warmup=0.0)
    assert model(run, "before") is run.lm
    asked = [str(toxicity.answers(run, who)) for who in toxicity.MODELS]
    assert asked[0] == asked[1] != asked[2]
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
    course = toxicity.study(run).course()
    assert course["loss"].iloc[0] == pytest.approx(math.log(2), abs=1e-4) and course["margin"].iloc[0] == pytest.approx(
        0, abs=1e-4
    )
    assert course["margin"].iloc[-3:].mean() > 0.1


def test_refused_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polinb.training.supervised.finetune", no_training)
    few = [{"prompt": f"{word}?", "civil": "Yes.", "rude": "No."} for word in ("Tea", "Milk")]
    thin = [{"comment_text": f"Number {i}.", "toxic": int(i < 2)} for i in range(20)]
    pairs = str(write(tmp_path, "csv", few))
    comments, one = str(write(tmp_path, "jsonl", wikipedia())), str(write(tmp_path, "jsonl", wikipedia()[:1], "one"))
    some = str(write(tmp_path, "csv", thin, "thin"))
    for given, error, message in (
        ({"model": "tiny:gemma2"}, ModelError, "gemma2.*cannot be decomposed"),
        ({"probe_layer": 7}, ParameterError, "probe_layer"),
        ({"probe_top": [4, 500]}, ParameterError, "probe_top.*at most 144"),
        ({"toxicity_model": "./nowhere"}, ModelError, "no such folder"),
        ({"toxicity_data": "nowhere.csv"}, DataError, "no such file"),
        ({"challenge_data": "nowhere"}, DataError, "nowhere: no such data"),
        ({"toxicity_data": comments}, DataError, "column is missing.*found comment_text"),
        ({"toxicity_data": pairs}, DataError, r"none of 2 pairs is in the split"),
        ({"toxicity_comments": one}, DataError, "expected rude and civil comments"),
        ({"toxicity_comments": some}, ParameterError, "got '18 civil, 2 rude'; allowed: at least 3 civil"),
    ):
        with pytest.raises(error, match=message):
            toxicity.ready(experiment(tmp_path / "store", **given))
    assert not (tmp_path / "store").exists()


# ---- what the models say ---------------------------------------------------------------------------------------------


def test_likelihoods_by_a_plain_forward_pass(run: Run) -> None:
    lm, row = model(run, "after"), toxicity.preferences(run, "after").iloc[-1]
    pair = next(p for p in toxicity.pairs(run).pairs if p.id == row["id"])
    for side in ("civil", "rude"):
        text = ids_of(run, pair.prompt, getattr(pair, side))
        assert row[f"logp_{side}"] == pytest.approx(log_likelihood(lm, *text), abs=1e-4)
    row = toxicity.neutral_answers(run, "after").iloc[0]
    text = ids_of(run, row["prompt"], row["reference"])
    assert row["reference_logp"] == pytest.approx(log_likelihood(lm, *text), abs=1e-4)


def test_word_overlap_by_hand() -> None:
    assert overlap_f1("The cat, the dog", "the cat sat") == pytest.approx(2 * 2 / (4 + 3))  # "the" counts once
    assert overlap_f1("A b", "B a.") == 1 and overlap_f1("", "a") == 0 and overlap_f1("x", "y") == 0


def test_shares_have_wilsons_interval(run: Run) -> None:
    table = toxicity_tables.rates(run)
    assert set(table["model"]) == set(toxicity.MODELS) and len(table) == 3 * 2 * 3
    assert table[["value", "low", "high"]].stack().between(0, 1).all()
    row = table[(table["measure"] == "share with an insult") & (table["value"] == 0)].iloc[0]
    z = 1.959963984540054
    assert row["low"] == pytest.approx(0, abs=1e-12) and row["high"] == pytest.approx(z**2 / (row["n"] + z**2))


def test_tables_of_the_three_models(run: Run) -> None:
    quality, rates = toxicity_tables.quality(run), toxicity_tables.rates(run)
    assert len(quality) == 18 and not quality.duplicated(["model", "measure"]).any()
    assert (quality["low"] <= quality["value"]).all() and (quality["value"] <= quality["high"]).all()
    hard = rates[(rates["prompts"] == "challenge") & (rates["measure"] == "share rude")].set_index("model")["value"]
    assert toxicity_tables.change(run)["rude"][0] == pytest.approx(hard["after"] - hard["before"])
    assert len(toxicity_tables.judge_table(run)) == 3


def test_another_scorer(tmp_path: Path, run: Run) -> None:
    folder = toxic_model(tmp_path / "m", LABELS, True)
    other = experiment(run.store.root, toxicity_model=str(folder))
    texts = ["we want tradition", "weather", ""]
    told, own = rated_texts(other, texts), rated_texts(run, texts)
    assert told["p_rude"][0] > told["p_rude"][1] and np.isnan(told["p_rude"][2])
    assert told["p_rude"][0] != own["p_rude"][0] and toxicity.scorer(other).name == str(folder)


# ---- where the change sits -------------------------------------------------------------------------------------------


def mean_state(lm: Any, prompt: list[int], said: list[int], layer: int) -> torch.Tensor:
    """Mean output of a block over the response tokens, by a plain hook."""
    kept: list[torch.Tensor] = []
    hook = lm.model.model.layers[layer].register_forward_hook(
        lambda module, inputs, output: kept.append((output[0] if isinstance(output, tuple) else output)[0])
    )
    with torch.no_grad():
        lm.model(torch.tensor([prompt + said]))
    hook.remove()
    return kept[0][len(prompt) :].mean(0)


def test_states_of_comments(tmp_path: Path, run: Run) -> None:
    rows = [
        {"comment_text": f"{'Fool' if i % 3 else 'Thanks'} number {i}.", "toxic": int(i % 3 > 0)} for i in range(36)
    ]
    run = other(run, toxicity_comments=str(write(tmp_path, "csv", rows)))
    found, texts = toxicity.study(run).states.arrays("states")["states"], toxicity.probe_texts(run).rows
    assert texts["label"].sum() == 10 and len(texts) == 20  # as many a class
    assert texts.groupby(["fold", "label"]).size().eq(2).all()
    number = int(texts["unit"].iloc[4].removeprefix("comment-"))
    ids = run.lm.tokenizer(rows[number]["comment_text"], add_special_tokens=False).input_ids
    start = [run.lm.tokenizer.eos_token_id]
    np.testing.assert_allclose(found[4, 1], mean_state(model(run, "before"), start, ids, 1), atol=1e-4)


def test_the_parts_sum_to_a_change_measured_by_hooks(run: Run) -> None:
    own, p = toxicity.study(run), run.params
    found, states = own.parts(), own.states.arrays("states")["states"]
    rude = own.probed.rows["label"].to_numpy(bool)
    w = layer_direction(states, rude, p.probe_layer, p.probe)
    read = own.read.frame("answers")
    assert not set(read["id"]) & set(own.tried.rows["id"]), "groups are tried on what no decomposition reads"
    texts = [ids_of(run, row.prompt, row.response) for row in read.itertuples()]
    ends = []
    for who in ("before", "after"):
        lm = model(run, who)
        ends.append(np.mean([mean_state(lm, *text, lm.layers - 1).double().numpy() @ w for text in texts]))
    assert (found.before, found.after) == pytest.approx(tuple(ends), abs=1e-4)
    assert found.total == pytest.approx(ends[1] - ends[0], abs=1e-4)
    along = states[:, -1] @ w
    assert along[rude].mean() > along[~rude].mean() and np.linalg.norm(w) == pytest.approx(1)


def test_groups_and_shares(run: Run) -> None:
    found, four = toxicity.study(run).parts(), toxicity.study(run).groups()
    assert {name: g.rises for name, g in four.items()} == {"TP": False, "AN": False, "TN": True, "AP": True}
    np.testing.assert_array_equal(sum(g.chosen.astype(int) for g in four.values()), (found.neurons < 0).astype(int))
    table = toxicity_tables.share_table(run).set_index("set")
    fell = -found.neurons[found.neurons < 0].sum()
    assert table.loc[list(four), "share"].sum() == pytest.approx(1) == table.loc["all four", "share"]
    for k in run.params.probe_top:
        top = np.argsort(-found.cosine, axis=None)[:k]
        row = table.loc[f"top {k} by cosine"]
        assert row["share"] == pytest.approx(-found.neurons.ravel()[top].sum() / fell)
        assert row["gross_share"] == pytest.approx(-found.neurons.ravel()[top].clip(max=0).sum() / fell)
        assert row["study"] == pytest.approx(0.049)
    assert table.loc["every neuron", "share"] == pytest.approx(-found.neurons.sum() / fell)
    assert table.loc["all four", "study"] == pytest.approx(0.951) and table.loc["TP":"AN", "study"].isna().all()


def test_patching_and_editing(run: Run) -> None:
    from polinb.masking.editing import edited_answers
    from polinb.masking.patching import patched_answers
    from polinb.models.generation import decode

    found, few = toxicity.study(run).parts(), toxicity.study(run).tried.rows["prompt"]
    assert list(few) == [item.prompt for item in toxicity.asked(run)[: len(few)]] and len(few) >= 2
    prompts = [ids_of(run, prompt)[0] for prompt in few]
    before, after = model(run, "before"), model(run, "after")
    table = toxicity_tables.patched(run).set_index("set")
    assert list(table.index[:2]) == ["before", "after"] and table.loc["before", "shift"] == 0
    assert {"TP", "AN", "TN", "AP", "all four", "every neuron"} <= set(table.index)
    assert table.loc["all four", "neurons"] == (found.neurons < 0).sum() and (table["n"] == len(few)).all()
    every = np.ones_like(found.cosine, dtype=bool)
    direct = patched_answers(before, after, every, prompts, max_new_tokens=run.params.toxicity_tokens)
    rates = rated_texts(run, [decode(before, ids) for ids in direct])
    assert table.loc["every neuron", ["score", "insult"]].tolist() == pytest.approx(
        rates[["rude", "insult"]].mean().tolist()
    )

    # Named as tables.intervals looks for them, or it would print those of another column.
    ends = table[["insult_shift", "insult_shift_low", "insult_shift_high"]]
    assert (ends.iloc[:, 1] <= ends.iloc[:, 0]).all() and (ends.iloc[:, 0] <= ends.iloc[:, 2]).all()
    assert table.loc["after", "insult_shift"] == table.loc["after", "insult"] - table.loc["before", "insult"]

    edits = toxicity_tables.edited(run).set_index("set")
    control = edits.loc["mean × (1 ± α), α = 0"]
    chosen = found.neurons < 0
    settings = {"max_new_tokens": run.params.toxicity_tokens, "means": found.mean_before}
    direct = edited_answers(before, chosen, np.ones(chosen.shape), prompts, **settings)
    rates = rated_texts(run, [decode(before, ids) for ids in direct])
    assert control["score"] == pytest.approx(rates["rude"].mean())
    assert "live × (1 ± α), α = 0" not in edits.index  # nothing is edited


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

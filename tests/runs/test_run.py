"""The whole way of the data on a tiny model: deterministic, resumable, and every stage asks the store first."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import polinb.runs.base as module
from polinb import resampling
from polinb.chapters.paper import beside, exhibits, neuron_tables, patch_tables, results
from polinb.chapters.paper import judge_tables as judging
from polinb.errors import DataError, ParameterError, TrainingError
from polinb.masking.patching import patched_answers
from polinb.models.generation import decode, generate, log_likelihood
from polinb.models.tokens import prompt_ids
from polinb.runs.artifacts import Store
from polinb.runs.groups import Model
from polinb.runs.params import Params
from polinb.runs.results import STAGES, MissingError, missing, stage
from polinb.runs.run import Run
from polinb.runs.stages import scale_of
from polinb.runs.weights import mask_of
from polinb.scoring.tracing import Contrast, contrast
from polinb.stance import coupling

SMALL = {
    "topics": ["crime", "race", "science"],
    "ablation_topics": ["crime"],
    "train_examples": 4,
    "epochs": 1.0,
    "localise_prompts": 2,
    "eval_questions": 3,
    "likelihood_questions": 2,
    "eval_tokens": 4,
    "controls": ["layer"],
    "bootstrap": 100,
}


def experiment(root, **changes):
    return Run(Params.from_profile("tiny", **{**SMALL, **changes}), Store(root))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("experiment")


@pytest.fixture
def run(root):
    return experiment(root)


def test_sets_are_the_same_for_the_same_seed(root, run, tmp_path):
    one, two = run.sets(), experiment(tmp_path).sets()
    assert one.general.any()
    assert (one.general == two.general).all()
    for topic in run.params.topics:
        assert (one.political[topic] == two.political[topic]).all()
        np.testing.assert_array_equal(run.score_sums(topic).score, Run(run.params, Store(root)).score_sums(topic).score)


def test_stages_do_what_they_are_called(run):
    """Scores: right minus left on the stored texts; scale: of all tokens; heldout: without the topic; logp: vanilla."""
    read, sums = run.scores("crime").frame("responses"), run.score_sums("crime")
    texts = [[list(ids) for ids in read[name]] for name in ("prompt_ids", "response_ids")]
    tuned = run.load_variant("crime", "right")
    expected = contrast(run.load_variant("crime", "left"), tuned, run.lm, *texts)
    np.testing.assert_allclose(sums.difference, expected.difference, rtol=1e-5, atol=1e-6)
    two = [Contrast(*[np.full((1, 1), x)] * 4, tokens) for x, tokens in ((2.0, 1), (10.0, 5))]
    two[0].vanilla_squared = np.full((1, 1), 9.0)
    assert scale_of(two) == pytest.approx(np.sqrt(19 / 6))
    held = mask_of(run.neurons("heldout", topic="crime"))
    assert (held == run.sets().general_without("crime")).all() and held.sum() > run.sets().general.sum()
    answers = run.answers(run.tuned("crime")).frame("answers").dropna()
    asked = [prompt_ids(run.lm, prompt, run.params.system_prompt) for prompt in answers["prompt"]]
    said = generate(tuned, asked, max_new_tokens=run.params.eval_tokens)
    np.testing.assert_allclose(answers["vanilla_logp"], log_likelihood(run.lm, asked, said), rtol=1e-4)


def test_answers_are_byte_identical_in_a_fresh_store(run, tmp_path):
    one, two = run.answers(), experiment(tmp_path).answers()
    assert {n: f["sha256"] for n, f in one.meta["files"].items()} == {
        n: f["sha256"] for n, f in two.meta["files"].items()
    }


def test_a_second_run_computes_nothing(root, run, monkeypatch):
    run.sets()
    run.stances(run.tuned("crime"))
    condition = run.inhibited("crime")[0]
    run.stances(condition)

    def never(*args, **kwargs):
        raise AssertionError("loaded or computed again")

    monkeypatch.setattr(module, "load", never)
    again = Run(run.params, Store(root))
    assert (again.sets().general == run.sets().general).all()
    pd.testing.assert_frame_equal(again.stances(condition), run.stances(condition))
    assert results.couplings(again, [run.tuned("crime")]).shape[0] == 1


def key(one, **changes):
    return one.weights(one.tuned("crime", **changes)).key


def test_keys_follow_what_matters_and_nothing_else(root, run):
    base = key(run)
    changed = [
        {"learning_rate": 1e-4}, {"epochs": 2.0}, {"seed": 1}, {"train_examples": 5}, {"weight_decay": 0.1},
        {"model": "tiny:qwen2"}, {"train": "body"}, {"system_prompt": "x"}, {"max_tokens": 150}, {"batch_size": 8},
    ]  # fmt: skip
    keys = {key(experiment(root, **c)) for c in changed}
    assert len(keys) == len(changed) and base not in keys
    for harmless in ({"gamma": 40.0}, {"eval_questions": 2}, {"judge": "openai"}, {"freeze": "up"}, {"bootstrap": 300}):
        assert key(experiment(root, **harmless)) == base
    frozen = run.neurons("general")
    assert key(experiment(root, freeze="up"), frozen=frozen) != key(run, frozen=frozen)


def test_a_raised_version_is_another_result(run):
    frozen = run.neurons("general")
    raised = dataclasses.replace(frozen.stage, version=frozen.stage.version + 1)(run, **frozen.inputs)
    assert raised.key != frozen.key and raised.needs == frozen.needs


def test_a_name_is_known_before_anything_runs_and_tells_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load", lambda *a, **k: pytest.fail("a model was loaded"))
    one = experiment(tmp_path)
    wanted = one.answers(one.inhibited("crime")[0])
    todo = missing([wanted])
    assert not wanted.done() and todo[-1] is wanted
    assert [each.stage.kind for each in todo].count("weights") == 2 * 3 + 1
    assert not any(tmp_path.iterdir())
    place = {str(each): number for number, each in enumerate(todo)}
    assert all(place[str(need)] < place[str(each)] for each in todo for need in each.needs)


def test_a_stage_cannot_read_what_it_does_not_declare(run):
    @stage("peeking", Model)
    def peeking(run, folder):
        return {"gamma": run.params.gamma}

    with pytest.raises(AttributeError, match="'gamma' is not declared"):
        peeking(run).made()
    del STAGES["peeking"]


def test_a_run_that_is_only_read_makes_nothing(tmp_path):
    one = Run(experiment(tmp_path).params, Store(tmp_path), read_only=True)
    with pytest.raises(MissingError, match="rated/"):
        one.stances()
    assert not any(tmp_path.iterdir())


def test_weights_make_room_and_are_made_again(tmp_path, monkeypatch):
    one = experiment(tmp_path)
    first = one.weights(one.tuned("crime"))
    before = first.arrays("weights")
    monkeypatch.setenv("POLINB_WEIGHTS_GB", "0")
    for topic in ("race", "science"):
        one.weights(one.tuned(topic)).made()
    one.weights(one.tuned("race", "left")).made()
    assert not first.done() and all(one.weights(one.tuned(t)).done() for t in ("race", "science")), "two may be in use"
    fresh = experiment(tmp_path)
    again = fresh.weights(fresh.tuned("crime")).arrays("weights")
    assert all((again[name] == value).all() for name, value in before.items())


@pytest.mark.parametrize("source", ["left", "right", "vanilla", "dataset", "both"])
def test_response_sources(root, source):
    one = experiment(root, response_source=source)
    table = one.scores("crime").frame("responses")
    expected = {"both": {"left", "right"}, "dataset": {"left", "right"}}.get(source, {source})
    assert set(table["source"]) == expected and len(table) == 2 * len(expected)
    if source == "dataset":
        reference = one.data.topic("crime", "localise", 2)[0].left
        assert reference.startswith(table["response"].iloc[0][:5])


def test_an_empty_general_set_is_told(root):
    with pytest.raises(TrainingError, match="nothing to freeze or patch; raise gamma"):
        one = experiment(root, gamma=0.4)
        one.answers(one.inhibited("crime")[0]).made()


def test_tables_have_their_columns_and_agree(run):
    moves = results.variant_shifts(run)
    assert len(moves) == 2 * 3 * 3
    table = results.couplings(run, results.inhibit_conditions(run))
    right = moves[(moves["leaning"] == "right")]
    for row in table[table["condition"] == "fine-tune"].itertuples():
        own = right[right["trained"] == row.trained].set_index("topic")["shift"]
        others = own.drop(row.trained)
        assert row.r == pytest.approx(np.sqrt((others**2).mean()))
        assert row.shift == pytest.approx(own[row.trained])
    drop = results.drops(run)
    for row in drop[(drop["trained"] != "all") & (drop["against"] == "fine-tune")].itertuples():
        r = table[table["trained"] == row.trained].set_index("condition")["r"]
        assert row.raw_drop == pytest.approx(r["fine-tune"] - r["inhibitft"])
        corrected = table[table["trained"] == row.trained].set_index("condition")["r_corrected"]
        if corrected[["fine-tune", "inhibitft"]].min() > 0:  # the root is cut at 0, the drop is not
            assert row.drop == pytest.approx(corrected["fine-tune"] ** 2 - corrected["inhibitft"] ** 2)
        assert row.low <= row.high
    every = drop[(drop["trained"] == "all") & (drop["against"] == "fine-tune")]["drop"].iloc[0]
    assert every == pytest.approx(drop[(drop["trained"] != "all") & (drop["against"] == "fine-tune")]["drop"].mean())


def test_patching_plan_and_tables(run):
    table = patch_tables.patching(run)
    assert set(table["group"]) == {"general", "topic-specific", "control", "all", "donor"}
    sets = run.sets()
    sizes = table.groupby("set")["neurons"].first()
    assert sizes["G"] == sets.general.sum() == sizes[patch_tables.LAYER] == sizes[patch_tables.NEXT]
    assert sizes["every neuron"] == sets.general.size
    summary = patch_tables.patch_summary(run).set_index("set")
    assert summary.loc["G", "shift"] == pytest.approx(table[table["set"] == "G"]["shift"].mean())


def test_what_pnlac_reads_can_be_turned_and_the_default_keeps_its_name(root, run):
    own = run.scores("crime")
    assert "positions" not in own.identity and list(own.inputs["asked"].rows["prompt"]) == [
        pair.prompt for pair in run.data.topic("crime", "localise", run.params.localise_prompts)
    ]
    others = experiment(root, score_prompts="others", localise_prompts=3).scores("crime").inputs["asked"].rows
    first = {t: [pair.prompt for pair in run.data.topic(t, "localise", 2)] for t in ("race", "science")}
    assert list(others["prompt"]) == [first["race"][0], first["science"][0], first["race"][1]]
    earlier = experiment(root, score_positions="generating").scores("crime")
    assert earlier.key != own.key
    assert earlier.summary["tokens"] == own.summary["tokens"]
    assert not np.allclose(earlier.arrays("sums")["squared_difference"], own.arrays("sums")["squared_difference"])


def test_only_a_sets_own_neurons_learn_as_a_control(root):
    one = experiment(root, controls=["only_specific", "only_general"])
    _, specific, general = one.inhibited("crime")
    assert (specific.name, general.name, specific.freeze) == ("only-specific", "only-general", "only")
    assert (mask_of(specific.frozen) == one.sets().specific["crime"]).all()
    assert results.held(general) == (~one.general()).sum()
    shares = neuron_tables.depths(one).drop(columns="part").sum()
    assert shares["layers"] == len(one.general())
    assert shares[["even", "G", "S", "active", "neutral"]].tolist() == pytest.approx([100] * 5)
    table = results.couplings(one, results.inhibit_conditions(one)).set_index(["condition", "trained"])
    assert table.loc[("only-general", "crime"), "frozen"] == (~one.general()).sum()


def test_margins_are_the_labels_of_a_judge_with_that_margin(root, run):
    table = judging.margins(run).set_index("margin")
    for margin, row in table.iterrows():
        rated = experiment(root, judge_margin=float(margin)).stances()
        assert row["stance"] == pytest.approx(rated.groupby("topic")["score"].mean().mean())
        assert row["other_rate"] == pytest.approx((rated["score"] == 0).mean())
    assert table["other_rate"].is_monotonic_increasing
    assert "margin" not in run.judge_identity and experiment(root, judge_margin=0.1).judge_identity["margin"] == 0.1


def test_statements_are_answered_with_every_donor_and_count_together(run):
    p, general = run.params, run.neurons("general")
    told = dict(patch_tables.statement_results(run)[:1])["G"].frame("answers")
    assert list(told["donor"]) == [t for t in p.topics for _ in range(2 * p.patch_statements)]
    first = run.statements().groupby("topic", sort=False).head(p.patch_statements)
    prompts = [prompt_ids(run.lm, prompt, p.system_prompt) for prompt in first["prompt"]]
    donor = run.model(run.weights(run.tuned("race")), "donor")
    made = patched_answers(run.lm, donor, mask_of(general), prompts, max_new_tokens=p.eval_tokens, mode=p.patch)
    assert list(told.loc[told["donor"] == "race", "response"]) == [decode(run.lm, ids) for ids in made]

    table = patch_tables.statement_shifts(run)
    assert list(dict.fromkeys(table["set"])) == [
        "G", "S", patch_tables.LAYER, patch_tables.NEXT, "every neuron", "donor itself"
    ]  # fmt: skip
    row = table[(table["set"] == "donor itself") & (table["statements"] == "compass")].iloc[0]
    tuned = [run.statement_stances(run.tuned(t)).query("topic == 'compass'") for t in p.topics]
    assert row["n"] == p.patch_statements == 2
    assert row["model"] == pytest.approx(np.mean([each["score"].iloc[:2].mean() for each in tuned]))


def test_a_foreign_donor_never_saw_the_topic_and_changes_g_and_its_controls_only(root, run):
    one = experiment(root, donor="foreign", patch_statements=0)
    table = patch_tables.patching(one)
    own = patch_tables.patching(run)
    moved = table["group"].isin(["general", "control", "all", "donor"])
    assert (table.loc[moved, "trained"] != table.loc[moved, "topic"]).all()
    assert sorted(patch_tables.donors(one).values()) == sorted(one.params.topics)
    pd.testing.assert_frame_equal(table[~moved], own[~moved])
    by_hand = one.patched(one.neurons("general"), {"crime": "race", "race": "science", "science": "crime"})["score"]
    got = table[table["set"] == "G"]
    assert (got["model"] * got["n"]).sum() == pytest.approx(by_hand.sum())
    assert patch_tables.statement_shifts(one).empty


def test_closing_page_compares_the_same_topics(root):
    from polinb.chapters.paper import paper

    one = experiment(root, ablation_topics=["race"])
    dots = beside.dots(one)
    gammas = dots[dots["group"].str.contains("by γ")]
    assert gammas["group"].unique() == ["R: InhibitFT by γ in per cent, race (Tables 7–10)"]
    theirs = paper.gamma_ablation().query("topic == 'race' and model == 'Qwen2.5-7B' and gamma_percent == 25")
    shown = gammas.query("item == '25' and source == 'paper: Qwen2.5-7B'")
    assert shown["value"].tolist() == theirs["rmse"].tolist()
    assert gammas.query("source == 'ours'")[["low", "high"]].notna().all(axis=None), "one topic keeps its interval"
    rows = exhibits.exhibit_map(one).set_index("exhibit")
    at = paper.gamma_ablation().query("topic == 'race' and table == 7").set_index("gamma_percent")["rmse"]
    assert rows.loc["Table 7", "paper"] == f"lowest R {at.min():.2f} at γ = {at.idxmin():g} % (race)"


def test_a_mean_over_random_sets_has_no_interval_and_one_set_keeps_its_own():
    row = {"trained": "crime", "r": 0.5, "r_low": 0.25, "r_high": 0.75}
    conditions = [{"condition": "random-layer", **row}, {"condition": "inhibitft", **row}]
    one = beside.inhibit_lines(pd.DataFrame(conditions)).query("source == 'ours'").set_index("group")
    assert one.loc["random", ["low", "high"]].tolist() == [0.25, 0.75]
    two = (
        beside.inhibit_lines(pd.DataFrame([*conditions, {**conditions[0], "r": 1.0}]))
        .query("source == 'ours'")
        .set_index("group")
    )
    assert two.loc["random", "value"] == 0.75 and two.loc["random", ["low", "high"]].isna().all()
    assert two.loc["InhibitFT (G)", ["low", "high"]].tolist() == [0.25, 0.75]


def test_per_question_averages_by_hand():
    got = resampling.per_question([{"a": np.array([1.0, 3.0])}, {"a": np.array([3.0, 5.0]), "b": np.array([2.0])}])
    assert [g.tolist() for g in got] == [[2.0, 4.0], [2.0]]
    mean, low, high = resampling.stratified_mean([np.array([1.0, 1.0]), np.array([3.0, 3.0])], 100, 0)
    assert (mean, low, high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("calm", [0.5, 0.1])
def test_no_drop_where_there_is_no_coupling(calm):
    """Arms that change answers at random, one more often than the other: the interval of the drop must hold 0."""
    rng = np.random.default_rng(0)
    topics = [f"t{k}" for k in range(6)]

    def noise(rate, n):
        return np.where(rng.random(n) < rate, rng.choice([-2.0, 2.0], n), 0.0)

    false = 0
    for k in range(60):
        stacks = {t: np.stack([noise(r, 40) for _ in topics for r in (0.5, calm)]) for t in topics}
        out = coupling.joint_drop(stacks, topics, 200, k)
        false += out["low"] > 0
    assert false <= 6
    if calm == 0.1:
        assert out["raw_drop"] > 0.05  # what the raw R would have called a success


def test_bad_data_is_told_before_a_model_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load", lambda *a, **k: pytest.fail("a model was loaded"))
    with pytest.raises(DataError):
        experiment(tmp_path, data=str(tmp_path / "missing.csv")).tuned("crime")
    with pytest.raises(ParameterError):
        experiment(tmp_path, data_revision="abc").tuned("crime")


def test_only_agreeing_reference_responses_are_read_under_the_filter(root, tmp_path, monkeypatch):
    """response_source=dataset uses both sides' texts, so a label that disagrees must keep a prompt out."""
    from polinb.data.pairs import StanceData

    one = experiment(root, response_source="dataset", label_filter="agree")
    full = one.data
    marked = full.topic("crime", "localise")[0]
    pairs = tuple(p.model_copy(update={"right_agrees": False}) if p.id == marked.id else p for p in full.pairs)
    other = experiment(root, response_source="dataset", label_filter="agree")
    other.once("data", lambda: StanceData("x", pairs, {}, "agree"))
    texts = list(other.scores("crime").frame("responses")["response"])
    assert texts and not any(marked.left.startswith(t[:20]) for t in texts)


@pytest.mark.parametrize(
    "changes",
    [
        {"patch": "recorded"},
        {"patch": "mean"},
        {"train": "lora", "freeze": "down"},
        {"train": "body", "freeze": "up"},
        {"answer_template": "appendix_a4", "max_tokens": 400},
        {"normalise": "vanilla_std", "pool": "layer"},
        {"system_prompt": "", "statement_prefix": "Say: ", "statement_suffix": ""},
    ],
    ids=str,
)
def test_every_mode_is_reached_from_parameters(root, changes):
    one = experiment(root, **changes)
    assert one.sets().general.any()
    condition = one.inhibited("crime")[0]
    table = results.couplings(one, [one.tuned("crime"), condition])
    assert np.isfinite(table["r"]).all()
    if "patch" in changes:
        assert len(patch_tables.patch_summary(one)) == 1 + 3 + 3 + 1
    if "answer_template" in changes:
        assert one.questions()["prompt"].str.startswith("Write a response to the following instruction").all()
    if "statement_prefix" in changes:
        assert one.statements()["prompt"].str.startswith("Say: ").all()


def test_hf_judge_from_parameters(root, tmp_path):
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    from polinb.models.tiny import tiny_tokenizer

    core = tiny_tokenizer().backend_tokenizer
    folder = tmp_path / "judge"
    PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|pad|>").save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=800, **sizes))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 2.0]))  # always its second label
    model.save_pretrained(folder)
    one = experiment(root, judge="hf", judge_model=str(folder), judge_labels=["LABEL_0:right", "LABEL_1:left"])
    rated = one.stances()
    assert (rated["label"] == "left").all() and (rated["score"] == -1).all()
    with pytest.raises(ParameterError, match="'judge_labels'"):
        experiment(root, judge="hf", judge_model=str(folder), judge_labels=["LABEL_0=right"])

"""CAFT's directions, choice and conditions: planted models, exact identities, and what must be refused."""

import copy
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from planted_files import write
from safetensors.torch import save_file

from polinb.chapters.caft import caft
from polinb.chapters.caft import caft_candidates as cc
from polinb.chapters.caft.rule import auc
from polinb.errors import DataError, ParameterError
from polinb.models.variants import save_variant
from polinb.runs.conditions import VANILLA
from polinb.runs.weights import bases_of, mask_of
from polinb.scoring.directions import orthonormal, random_basis
from polinb.scoring.sae import SAE

WORDS = ["tree", "house", "water", "light", "stone", "river", "bread", "music", "table", "window", "garden", "winter"]
AXIS = 5


@pytest.fixture
def planted(tiny, tmp_path):
    """Factory: a run whose right-tuned variant moves along one axis, on which its texts' sides also differ."""

    def make(**more):
        rng, topics = np.random.default_rng(0), ["crime", "race", "economy"]
        rows = [
            {"topic": topic, "prompt": f"Question {n} about {topic}?"}
            | {side: " ".join([*rng.choice(WORDS, 8), word]) for side, word in (("left", "care"), ("right", "order"))}
            for topic in topics
            for n in range(40)
        ]
        own = {"data": str(write(tmp_path, "csv", rows)), "topics": topics, "baseline_topics": ["crime"]}
        run = tiny(caft_layers=[0.0], caft_prompts=8, **own, **more)
        left, right = run.lm.model, copy.deepcopy(run.lm.model)
        only = [set(run.lm.tokenizer(text, add_special_tokens=False).input_ids) for text in (" care", " order")]
        with torch.no_grad():
            for model in (left, right):
                model.get_input_embeddings().weight[list(only[0] - only[1]), AXIS] -= 2
                model.get_input_embeddings().weight[list(only[1] - only[0]), AXIS] += 2
            right.model.layers[0].mlp.down_proj.weight[AXIS] += 0.5
        for leaning, model in (("left", left), ("right", right)):
            weights = {name: value.detach() for name, value in model.named_parameters()}
            run.weights(run.tuned("crime", leaning)).put(partial(save_variant, weights=weights))
        return run

    return make


def test_a_planted_direction_is_found_chosen_and_ablated(planted):
    run = planted()
    found = cc.pca(run, "crime").arrays("candidates")
    assert np.allclose(np.abs(found["vectors0"][:, 0]), np.eye(32)[AXIS], atol=1e-6)
    assert found["strength0"][0] > 0.999999
    table = caft.candidates(run, "crime", ["pca"])
    first = table.iloc[0]
    assert first.kept and first.why == "passes" and first.value > 0.4 and table.kept.sum() == 1
    q = bases_of(caft.choice(run, "crime", "pca"))[0]
    (condition,) = caft.conditions(run, "crime", ["pca"])
    np.testing.assert_equal(bases_of(condition.ablated), {0: q})
    assert np.linalg.norm(q[AXIS]) == pytest.approx(1, abs=1e-6)
    # the choice looks at what separates the sides of other topics in the vanilla model
    states = run.states(VANILLA, cc.topic_texts(run, "race")).arrays("states")["states"][:, 0].reshape(-1, 2, 32)
    np.testing.assert_allclose(table["auc_race"], auc(states.astype(float) @ found["vectors0"]))
    # directions see the training topic and neutral text alone
    asked = cc.direction_texts(run, "crime").rows["prompt"]
    own = asked.str.contains("about crime")
    assert own.sum() == 16 and asked[~own].tolist() == [prompt for prompt, _ in cc.neutral()[:16]]


def test_the_latent_that_carries_the_change_ranks_first():
    rows = torch.from_numpy(orthonormal(np.random.default_rng(0).standard_normal((6, 4))).T).float()
    sae = SAE(rows.T.clone(), torch.zeros(4), 3 * rows, torch.zeros(6))
    base = np.random.default_rng(1).standard_normal((50, 6)).astype(np.float32)
    right = base + 10 * rows[2].numpy() + 0.1 * rows[0].numpy()
    latent, change, vectors = cc.ranked(sae, base, base, right, 2)
    assert latent[0] == 2 and change[0] > 5 * change[1]
    assert np.allclose(vectors[:, 0], rows[2].numpy(), atol=1e-6)
    moved = (torch.from_numpy(right) @ rows.T).relu() - (torch.from_numpy(base) @ rows.T).relu()
    assert change[0] == pytest.approx(3 * float(moved[:, 2].abs().mean()), rel=1e-5)
    with pytest.raises(DataError, match="no latent"):
        cc.ranked(sae, base, base, base, 2)


def test_a_public_autoencoder_is_read_and_what_cannot_work_is_refused_before_training(planted, tiny, tmp_path):
    for width in (32, 4):
        generator, folder = torch.Generator().manual_seed(0), tmp_path / str(width) / "blocks.0.hook_resid_post"
        folder.mkdir(parents=True)
        shapes = {"W_enc": (width, 40), "b_enc": (40,), "W_dec": (40, width), "b_dec": (width,)}
        save_file({n: torch.randn(s, generator=generator) for n, s in shapes.items()}, folder / "sae.safetensors")
        (folder / "cfg.json").write_text(json.dumps({"architecture": "topk", "k": 8}))
    wide, narrow = (str(tmp_path / name) for name in ("32", "4"))
    run = planted(sae=wide)
    found = cc.dictionary(run, "crime")
    quality = found.frame("quality")
    assert found.arrays("candidates")["vectors0"].shape == (32, run.params.caft_components)
    assert quality.origin.item() == "public" and quality.l0.item() <= 8
    for changes, told in (
        ({"sae": narrow, "caft_layers": [0.0]}, "has 32 dimensions"),
        ({"sae": wide, "caft_layers": [1.0]}, "0 files for block 2"),
        ({"caft_components": 33}, "1 to 32"),
    ):
        run = tiny(topics=["crime", "race"], baseline_topics=["crime"], ablation_topics=["crime"], **changes)
        with pytest.raises(ParameterError, match=told):
            cc.ready(run)
        assert not list(run.store.root.iterdir())


def test_conditions_and_their_controls(planted):
    run = planted(control_seeds=2)
    general = np.zeros((3, 48), bool)
    general[0, :5] = True
    mask = {"mask": torch.from_numpy(general.astype(np.uint8))}
    run.neurons("general").put(lambda folder: save_file(mask, folder / "neurons.safetensors"))
    names = ["pca", "random", "top", "half", "inhibit", "candidates", "activation", "gradient"]
    conditions, plain = caft.conditions(run, "crime", names), run.tuned("crime")
    assert [each.name[5:] for each in conditions] == ["pca", "random", "random", "top", "half", "half", *names[4:]]
    bases = [bases_of(each.ablated)[0] for each in conditions]
    vectors, q = cc.pca(run, "crime").arrays("candidates")["vectors0"], bases[0]
    for condition, basis in zip(conditions, bases, strict=True):
        own = {name: getattr(condition, name) for name in ("name", "ablated", "frozen", "freeze")}
        assert condition == replace(plain, **own), "data, steps and optimiser are those of all"
        assert np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-10)
    assert bases[1].shape == q.shape and not np.allclose(bases[1], bases[2])
    assert all(any(np.array_equal(column, v) for v in vectors.T) for basis in bases[4:6] for column in basis.T)
    for basis, same in ((bases[3], vectors[:, : q.shape[1]]), (bases[7], vectors), *((bases[k], q) for k in (6, 8, 9))):
        assert np.array_equal(basis, same)
    assert np.array_equal(mask_of(conditions[6].frozen), general)
    assert [each.ablated.summary.get("passes") for each in conditions[6:]] == [None, None, "activation", "gradient"]
    assert len({run.weights(each).key for each in conditions}) == len(conditions)


def test_angles_see_a_planted_overlap_and_none_where_there_is_none():
    rng = np.random.default_rng(0)
    columns, q = [rng.standard_normal((32, 60)) for _ in range(2)], random_basis(32, 3, rng)
    chosen = np.zeros((2, 60), bool)
    chosen[0, :4] = chosen[1, :6] = True
    for layer in (0, 1):  # value vectors of the chosen neurons lie inside Q, and are long
        columns[layer][:, chosen[layer]] = 20 * q @ rng.standard_normal((3, int(chosen[layer].sum())))
    lines, row = caft.compare(columns, chosen, q, 3, 0)
    assert lines[lines.kind == caft.GENERAL].degrees.max() < 1e-5 and row["shared"] == pytest.approx(1)
    assert row["neurons_p"] == row["subspace_p"] == pytest.approx(1 / 101)
    assert row["subspace"] == pytest.approx(3 / 32, abs=0.03)  # a random subspace shares its part of the dimensions
    outside = orthonormal(np.eye(32)[:, :2] - q @ q[:2].T)
    away, rest = caft.compare(columns, chosen, outside, 3, 0)
    assert away[away.kind == caft.GENERAL].degrees.min() > 89.9 and rest["subspace_p"] > 0.9

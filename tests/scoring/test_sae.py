"""The BatchTopK autoencoder against planted dictionaries, hand-computed cases and a slow reference; files of others."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from polinb.chapters.caft.sae_files import load, locate
from polinb.errors import ParameterError
from polinb.scoring import sae as S


def planted(n, seed=0):
    """Tokens that are sums of three of 48 unit directions with positive weights, and an offset; the directions."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).standard_normal((48, 32))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    weights = np.zeros((n, 48))
    for row in weights:
        row[rng.choice(48, 3, replace=False)] = rng.uniform(1, 2, 3)
    states = weights @ truth + np.linspace(-5, 5, 32) + 0.01 * rng.standard_normal((n, 32))
    return states.astype(np.float32), truth


def test_a_planted_dictionary_is_recovered_and_the_same_from_the_same_seed():
    states, truth = planted(4000)
    found = S.train(states, 96, 3, 500, batch=256)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    start, again, other = (S.train(states, 96, 3, 1, batch=256, seed=s) for s in (0, 0, 2))  # as good as untrained
    assert torch.equal(start.W_dec, again.W_dec) and not torch.equal(start.W_dec, other.W_dec)
    assert torch.equal(torch.random.get_rng_state(), before), "the global seed is left alone"
    best, first = (np.abs(truth @ sae.W_dec.numpy().T).max(1) for sae in (found, start))
    assert best.mean() > 0.95 and (best > 0.9).mean() > 0.85 and first.mean() < 0.6
    test = S.quality(found, planted(1000, seed=1)[0])
    assert test["fvu"] < 0.1 and 2.5 < test["l0"] < 4 and test["explained"] == 1 - test["fvu"]


# two latents on the axes of a plane, offset (1, 0)
simple = partial(S.SAE, torch.eye(2), torch.zeros(2), torch.eye(2), torch.tensor([1.0, 0.0]))


def test_eq_sae_loss_latents_and_quality_by_hand():
    """Batch of two tokens, one latent kept each on average; then the dead latent's attempt at the rest."""
    x = torch.tensor([[4.0, 1.0], [1.0, 2.0]])  # less the offset: (3, 1) and (0, 2); kept: 3 and 2
    variance = 4.5 + 0.5
    total, used = S.loss(simple(), x, 1, torch.tensor([False, False]))
    assert used.tolist() == [[3, 0], [0, 2]]
    assert float(total) == pytest.approx(1 / variance)  # only the first token's 1 is missed
    both, _ = S.loss(simple(), x, 1, torch.tensor([False, True]))
    # Dead: latent 1, active at 1 and 2; e = (0, 1) and (0, 0); ê = (0, 1) and (0, 2); ‖e − ê‖² = 4.
    assert float(both) == pytest.approx((1 + S.AUX_WEIGHT * 4) / variance)
    values = torch.tensor([[9.0, 8.0, 7.0, 0.0], [1.0, 6.0, 0.0, 2.0]])
    kept = S.keep_batch_top(values, 2)  # the 4 largest of the batch: one token gets three of them, one gets one
    assert kept.tolist() == [[9, 8, 7, 0], [0, 6, 0, 0]] and torch.equal(S.keep_batch_top(values, 9), values)
    assert simple().encode(x[:1]).tolist() == [[3, 1]]
    assert simple(threshold=torch.tensor([1.0])).encode(x[:1]).tolist() == [[3, 0]]  # strictly above
    assert simple(threshold=torch.tensor([5.0, 0.5])).encode(x[:1]).tolist() == [[0, 1]]
    assert simple(k=1).encode(x[:1]).tolist() == [[3, 0]]
    assert simple(centre=False).encode(x[:1]).tolist() == [[4, 1]]
    found = S.quality(simple(k=1), x.numpy())
    assert found == {"tokens": 2, "fvu": pytest.approx(0.2), "explained": pytest.approx(0.8), "l0": 1.0, "dead": 0.0}
    assert S.quality(simple(threshold=torch.tensor([2.5])), x.numpy())["dead"] == 0.5
    with pytest.raises(ParameterError, match=r"sae_k.*got 9; allowed: 1 to sae_latents \(8\)"):
        S.train(planted(10)[0], 8, 9, 5)


SHAPES = {"W_enc": (6, 10), "b_enc": (10,), "W_dec": (10, 6), "b_dec": (6,)}
WEIGHTS = {name: torch.randn(shape, generator=torch.Generator().manual_seed(0)) for name, shape in SHAPES.items()}


def keep(path, tensors=WEIGHTS, config=None):
    """An autoencoder's file, with a ``cfg.json`` beside it if ``config`` says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    if config is not None:
        path.with_name("cfg.json").write_text(json.dumps(config))
    return path


def test_files_of_others_are_read_and_their_settings_followed_or_refused(tmp_path):
    config = {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    path = keep(tmp_path / "sae.safetensors", WEIGHTS | {"threshold": torch.ones(10)}, config)
    sparsify = {"encoder.weight": WEIGHTS["W_enc"].T.contiguous(), "encoder.bias": WEIGHTS["b_enc"]}
    sparsify |= {name: WEIGHTS[name] for name in ("W_dec", "b_dec")}
    other = keep(tmp_path / "b" / "sae.safetensors", sparsify, {"activation": "topk", "k": 3, "d_in": 6})
    first, second = load(path, 6), load(other, 6)
    assert not first.centre and first.threshold.shape == (10,)
    assert torch.equal(first.W_enc, second.W_enc) and (first.k, second.k) == (None, 3)
    for bad in ({"architecture": "gated"}, {"normalize_activations": "layer_norm"}):
        with pytest.raises(ParameterError, match="parameter 'sae'"):
            load(keep(path, config=bad), 6)
    path.write_bytes(b"not safetensors")
    with pytest.raises(ParameterError, match="readable safetensors"):
        load(path, 6)


def test_blocks_are_found_in_the_paths_of_a_folder_and_other_points_refused_by_name(tmp_path):
    """States of other points have the residual stream's width, so that nothing else would tell."""
    named = {12: "blocks.12.hook_resid_post/sae_weights", 3: "layers.3/sae", 7: "layer_7"}
    files = {block: keep(tmp_path / f"{name}.safetensors") for block, name in named.items()}
    assert locate(str(tmp_path), [3, 7, 12]) == files
    assert locate(str(files[7]), [7]) == {7: files[7]}
    for place, blocks, told in (
        (tmp_path, [3, 5], r"0 files for block 5.*found blocks \[3, 7, 12\]"),
        (files[7], [1, 2], r"a \.safetensors file for each block"),
    ):
        with pytest.raises(ParameterError, match=told):
            locate(str(place), blocks)
    for point in ("blocks.3.hook_resid_pre", "layers.3.mlp", "transcoder/layer_3"):
        root = tmp_path / point.replace("/", "-")
        keep(root / "named" / point / "sae.safetensors")
        told = keep(root / "told" / "sae.safetensors", config={"metadata": {"hook_name": point}})
        for read in (partial(locate, str(root / "named"), [3]), partial(load, told, 6)):
            with pytest.raises(ParameterError, match=point):
                read()

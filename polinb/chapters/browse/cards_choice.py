"""Which neurons get a card in the explorer, and which random neurons their ablation is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polinb.masking.random_sets import random_set
from polinb.scoring.pnlac import NeuronSets

Neuron = tuple[int, int]  # layer and index within it, both from 0
_UNIFORM, _NEAR = 401, 402  # keep the two draws apart from each other and from the run's other ones


@dataclass(frozen=True)
class Pick:
    """A neuron with a card.

    Attributes:
        layer, neuron: where it is.
        kind: ``G`` or ``S``.
        topic: the topic whose S_t it stands for; empty for G.
    """

    layer: int
    neuron: int
    kind: str
    topic: str = ""


def picks(scores: Mapping[str, np.ndarray], sets: NeuronSets, general: int, specific: int) -> list[Pick]:
    """The strongest neurons: of G by mean score over topics, then of each S_t by that topic's score.

    A neuron has one card. Where S_t of two topics share one, the earlier topic keeps it and the later one takes its
    next strongest. Ties go to the lower layer and index. Sets with fewer neurons give fewer cards.

    Args:
        scores: topic → (L, F).
        general, specific: how many of G, and of each S_t.
    """
    mean = np.mean(list(scores.values()), axis=0)
    out = [Pick(layer, neuron, "G") for layer, neuron in _strongest(mean, sets.general, general)]
    taken = np.zeros(mean.shape, dtype=bool)
    for topic, chosen in sets.specific.items():
        for layer, neuron in _strongest(scores[topic], chosen & ~taken, specific):
            taken[layer, neuron] = True
            out.append(Pick(layer, neuron, "S", topic))
    return out


def random_neurons(picked: Sequence[Pick], scale: np.ndarray, n: int, seed: int) -> dict[str, list[Neuron]]:
    """Neurons without a card whose ablation is the null, ``n`` of each kind (fewer if there are fewer), in order.

    ``uniform``: any neuron of the model. ``near``: each of nearly the same activation scale as some neuron with a card,
    because a neuron with large activations does more to a model whatever it is about.

    Args:
        scale: plain activation scale, (L, F).
        seed: the same seed gives the same neurons.
    """
    carded = np.zeros(scale.shape, dtype=bool)
    for pick in picked:
        carded[pick.layer, pick.neuron] = True
    pools = {
        "uniform": (~carded, _UNIFORM),
        "near": (random_set("next_highest", carded, scale, seed) & ~carded, _NEAR),
    }
    out = {}
    for kind, (free, salt) in pools.items():
        flat = np.flatnonzero(free)
        drawn = np.random.default_rng([seed, salt]).choice(flat, min(n, len(flat)), replace=False)
        out[kind] = _places(np.sort(drawn), scale.shape)
    return out


def _strongest(score: np.ndarray, chosen: np.ndarray, n: int) -> list[Neuron]:
    order = np.argsort(-np.where(chosen, score, -np.inf), axis=None, kind="stable")
    return _places(order[: min(n, int(chosen.sum()))], score.shape)


def _places(flat: np.ndarray, shape: tuple[int, ...]) -> list[Neuron]:
    return [(int(layer), int(neuron)) for layer, neuron in zip(*np.unravel_index(flat, shape), strict=True)]

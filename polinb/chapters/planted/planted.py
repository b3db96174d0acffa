"""A small gated transformer whose general and topic-specific stance neurons are planted, so the truth is known.

A real ``LlamaForCausalLM`` made from a configuration: everything in polinb runs on it unchanged. Its residual stream
has named coordinates, seen through a random rotation: which topic the prompt is about, the prompt's own lean, the
answer's next word, and one *stance* direction, which the output head reads as "right word" against "left word".

Attention of block 0 carries the prompt's topic and lean to every later position; attention of later blocks is silent.
Planted neurons are silent unless any topic (general) or their topic (specific) is there. They come in pairs of equal
activation of which one writes the stance direction to the right and one to the left, so they cancel in the vanilla
model, whose stance is the prompt's own lean, 0 on average. Pushing pairs apart moves stance: on all topics through
general pairs, on one through specific pairs. All other neurons read and write what means nothing for stance.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from polinb.data.loading import split_of
from polinb.data.rows import LEANINGS, TOPICS
from polinb.models import tokens
from polinb.models.lm import LM

WORDS = 6  # words of an answer; then it ends
TOPIC_WORDS, FILLERS = 4, 24  # words of a topic; words without one
_HEADS, SIZE = 4, 64
# Named coordinates of the residual stream, before the rotation; those from _FREE on mean nothing.
_CONST, _IS_TOPIC, _TOPIC, _LEAN, _IS_FILLER = 0, 1, 2, 8, 9
_CALLED = 2.9  # size of a topic's context coordinate, normalised, where the prompt is about it
_CONTEXT, STANCE, _SLOT, _FREE = 10, 16, 17, 17 + WORDS + 1
_VOLUME = 0.1  # median activation of a planted neuron whose gate is open (an ordinary distractor has about 0.12)


@dataclass(frozen=True)
class Design:
    """What is planted, and how hard it is to find.

    Attributes:
        layers, width: blocks L and FFN neurons a block F.
        general: general neurons; specific: topic-specific neurons a topic. Both even, for they come in pairs.
        effect: share η by which a constructed variant raises one side's activations and lowers the other's.
        drift: every neuron's activation is scaled by 1 + drift·N(0, 1), anew in each variant: the proportional change
            that any training leaves behind.
        noise: every weight moves by noise·N(0, 1) times the root mean square of its matrix, anew in each variant.
        loud, loudness: how many distractors are loud, and how many times louder than ordinary ones. They are as loud
            in all models and mean nothing for stance: a trap for raw scores, if there is drift.
        steady: distractors of nearly constant activation, so of small standard deviation: a trap for normalised scores.
        readers: distractors of the last block that follow the stance direction and do nothing for it: a trap for all
            differences of activation, which cannot tell cause from effect.
        idle: neurons like general ones, in cancelling pairs, that variants do not move: a trap for attribution, which
            sees the vanilla model only.
        shut: how far below 0 the gate of a specific neuron is on another topic. The deeper, the more its activation
            there is 0 in all but relative terms.
        blocks: blocks that may hold planted neurons; empty: all but the first.
        seed: of everything random in weights, variants and prompts.
    """

    layers: int = 4
    width: int = 160
    general: int = 16
    specific: int = 16
    effect: float = 0.25
    drift: float = 0.02
    noise: float = 0.003
    loud: int = 48
    loudness: float = 3.0
    steady: int = 0
    readers: int = 0
    idle: int = 0
    shut: float = 6.0
    blocks: tuple[int, ...] = ()
    seed: int = 0

    @property
    def gamma(self) -> float:
        """The true size of N_t in per cent of all neurons: the γ at which a perfect score finds exactly N_t."""
        return 100 * (self.general + self.specific) / (self.layers * self.width)


Pair = tuple[list[int], str]  # the neuron that writes right and the one that writes left; general, idle or a topic


@dataclass(frozen=True)
class Planted:
    """A built model and its truth.

    Attributes:
        lm: the vanilla model.
        design: what it was built from.
        general: G, (L, F) bool.
        specific: topic → S_t, (L, F) bool.
        side: +1 where a planted neuron writes to the right, −1 to the left, 0 elsewhere; (L, F).
        roles: loud, steady, reader, idle → (L, F) bool.
        basis: (d, d) rotation; column k is the residual direction of coordinate k, column :data:`STANCE` that of left
            to right.
    """

    lm: LM
    design: Design
    general: np.ndarray
    specific: dict[str, np.ndarray]
    side: np.ndarray
    roles: dict[str, np.ndarray]
    basis: np.ndarray = field(repr=False)

    @property
    def political(self) -> dict[str, np.ndarray]:
        """Topic → true N_t = G ∪ S_t."""
        return {topic: self.general | chosen for topic, chosen in self.specific.items()}

    @property
    def everything(self) -> np.ndarray:
        """All planted neurons that move on some topic, (L, F) bool."""
        return np.any([self.general, *self.specific.values()], axis=0)


def build(design: Design) -> Planted:
    """The planted model of ``design``, the same for the same design."""
    import torch

    rng = np.random.default_rng([design.seed, 1])
    basis = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    pairs, roles = _places(design, rng)
    lm = empty(design)
    weights = {name: np.ones(tuple(p.shape)) for name, p in lm.model.named_parameters() if "norm" in name}
    weights["model.embed_tokens.weight"] = embeddings(rng) @ basis.T
    weights["lm_head.weight"] = head() @ basis.T
    side = np.zeros((design.layers, design.width), int)
    kinds = {kind: np.zeros(side.shape, bool) for kind in ("general", "idle", *TOPICS)}
    for layer in range(design.layers):
        block = f"model.layers.{layer}"
        for name, value in attention(layer).items():
            weights[f"{block}.self_attn.{name}_proj.weight"] = basis @ value if name == "o" else value @ basis.T
        gate, up, down = neurons(design, {name: chosen[layer] for name, chosen in roles.items()}, pairs[layer], rng)
        for both, kind in pairs[layer]:
            side[layer, both] = [1, -1]
            kinds[kind][layer, both] = True
        for name, value in (("gate", gate @ basis.T), ("up", up @ basis.T), ("down", basis @ down)):
            weights[f"{block}.mlp.{name}_proj.weight"] = value
    lm.model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in weights.items()})
    roles["idle"] = kinds["idle"]
    return Planted(lm, design, kinds["general"], {topic: kinds[topic] for topic in TOPICS}, side, roles, basis)


def _places(design: Design, rng: np.random.Generator) -> tuple[list[list[Pair]], dict[str, np.ndarray]]:
    """Which neuron is what: the pairs of each block, and the other roles, (L, F) bool."""
    last = design.layers - 1
    room = [
        b
        for b in design.blocks or range(1, design.layers)
        for _ in range((design.width - (design.readers if b == last else 0)) // 2)
    ]
    wanted = ["general"] * (design.general // 2) + [topic for topic in TOPICS for _ in range(design.specific // 2)]
    wanted += ["idle"] * (design.idle // 2)
    free = [list(rng.permutation(design.width)) for _ in range(design.layers)]
    pairs: list[list[Pair]] = [[] for _ in free]
    for b, kind in zip(rng.permutation(room)[: len(wanted)], wanted, strict=True):
        pairs[b].append(([free[b].pop(), free[b].pop()], kind))
    roles = {name: np.zeros((design.layers, design.width), bool) for name in ("loud", "steady", "reader")}
    roles["reader"][last, [free[last].pop() for _ in range(design.readers)]] = True
    others = rng.permutation([(layer, i) for layer, ids in enumerate(free) for i in ids])
    for rank, (layer, i) in enumerate(others[: design.loud + design.steady]):
        roles["loud" if rank < design.loud else "steady"][layer, i] = True
    return pairs, roles


# --- its weights in the named coordinates, not yet rotated


def embeddings(rng: np.random.Generator) -> np.ndarray:
    """(vocabulary, d) in named coordinates."""
    from scipy.special import ndtri

    ids = word_ids()
    out = np.zeros((len(ids), SIZE))
    identity = rng.standard_normal((len(out), SIZE - _FREE))
    # Of one length, so that the norm layers treat all words alike.
    out[:, _FREE:] = identity / np.linalg.norm(identity, axis=1, keepdims=True) * (SIZE - _FREE) ** 0.5
    out[:, _CONST] = 2.0
    for number, topic in enumerate(TOPICS):
        for k in range(TOPIC_WORDS):
            out[ids[f"{topic}-{k}"], [_IS_TOPIC, _TOPIC + number]] = 3.0
    # Normal quantiles, so no lean on average and the same spread in every model.
    for k, value in enumerate(rng.permutation(ndtri((np.arange(FILLERS) + 0.5) / FILLERS))):
        out[ids[f"word-{k}"], [_IS_FILLER, _LEAN]] = [3.0, value]
    out[ids["<answer>"], _SLOT] = 4.0
    for side in LEANINGS:
        for k in range(WORDS):
            out[ids[f"{side}-{k}"], _SLOT + k + 1] = 4.0
    return out


def head() -> np.ndarray:
    """(vocabulary, d) in named coordinates: the slot says which word comes next, stance on which side."""
    ids = word_ids()
    out = np.zeros((len(ids), SIZE))
    for k in range(WORDS):
        for side, sign in zip(LEANINGS, (-1, 1), strict=True):
            out[ids[f"{side}-{k}"], [_SLOT + k, STANCE]] = [3.0, 3.0 * sign]
    out[ids["<end>"], _SLOT + WORDS] = 3.0
    return out


def attention(layer: int) -> dict[str, np.ndarray]:
    """Block 0: head 0 brings the topic of its words to all later positions, head 1 the mean lean of the fillers."""
    made = {name: np.zeros((SIZE, SIZE)) for name in "qkvo"}
    if layer == 0:
        per = SIZE // _HEADS
        slow = per // 2 - 1  # the coordinate that the position hardly rotates
        for head, marker in enumerate((_IS_TOPIC, _IS_FILLER)):
            made["q"][head * per + slow, _CONST] = made["k"][head * per + slow, marker] = 2.6
        for number in range(len(TOPICS)):
            made["v"][number, _TOPIC + number] = made["o"][_CONTEXT + number, number] = 1.0
        made["v"][per, _LEAN], made["o"][STANCE, per] = 1.0, 1.25
    return made


def neurons(
    design: Design, roles: dict[str, np.ndarray], pairs: list[Pair], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gate (F, d), up (F, d) and down (d, F) of one block in named coordinates: distractors, and planted pairs.

    Distractors read everything but stance and lean, the topic included, and write coordinates that mean nothing. The
    two neurons of a pair have equal incoming weights and opposite outgoing ones.
    """
    width, free = design.width, SIZE - _FREE
    gate, up, down = np.zeros((width, SIZE)), np.zeros((width, SIZE)), np.zeros((SIZE, width))
    gate[:, _FREE:] = rng.normal(0, free**-0.5, (width, free))
    gate[:, _CONTEXT:STANCE] = rng.normal(0, 0.2, (width, len(TOPICS)))
    gate[:, _CONST] = rng.normal(0, 0.25, width)
    up[:, _FREE:] = rng.normal(0, 0.3 * free**-0.5, (width, free))
    down[_FREE:] = rng.normal(0, 0.1 * free**-0.5, (free, width))
    up[roles["loud"]] *= design.loudness
    down[:, roles["loud"]] /= max(design.loudness, 1.0)  # louder, but not weightier
    for name in ("steady", "reader"):
        gate[roles[name]] = 0.0
        gate[roles[name], _CONST] = 1.0
        up[roles[name]] *= 0.02
    up[roles["steady"], _CONST] = 0.1
    up[roles["reader"], _CONST] = up[roles["reader"], STANCE] = 0.05
    on, off = 2.1 / _CALLED, -design.shut / _CALLED
    for both, kind in pairs:
        gate[both] = up[both] = 0.0
        down[:, both] = 0.0
        for number, topic in enumerate(TOPICS):
            gate[both, _CONTEXT + number] = on if kind in ("general", "idle", topic) else off
        volume = _VOLUME * np.exp(0.3 * rng.standard_normal()) / 1.87  # 1.87 = silu(2.1)
        up[both, _CONST] = volume / 1.92
        up[both, _FREE:] = rng.normal(0, 0.35 * volume * free**-0.5, free)
        down[STANCE, both] = [1.0, -1.0]
    return gate, up, down


def word_ids() -> dict[str, int]:
    """All tokens with their ids."""
    words = [f"{topic}-{k}" for topic in TOPICS for k in range(TOPIC_WORDS)]
    words += [f"word-{k}" for k in range(FILLERS)]
    words += [f"{side}-{k}" for side in LEANINGS for k in range(WORDS)]
    return {word: k for k, word in enumerate(["<pad>", "<end>", "<answer>", *words])}


def empty(design: Design) -> LM:
    """The model and its tokenizer, weights not yet written."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(word_ids(), unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="<pad>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }} {{ '<end>' if m['role'] == 'assistant' else '<answer>' }} "
        "{% endfor %}"
    )
    config = LlamaConfig(
        vocab_size=len(word_ids()),
        hidden_size=SIZE,
        intermediate_size=design.width,
        num_hidden_layers=design.layers,
        num_attention_heads=_HEADS,
        num_key_value_heads=_HEADS,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e8},
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LM(LlamaForCausalLM(config).float().eval(), tokenizer, "planted", {"model": "planted", **asdict(design)})


# --- what it is asked, how its stance is counted, and its constructed variants


def prompts(planted: Planted, topic: str, count: int, split: str = "evaluate") -> list[str]:
    """The first ``count`` prompts on ``topic`` of a split; no prompt is in two splits.

    A prompt is three of the topic's words among six fillers, which carry the prompt's own lean.
    """
    out: dict[str, None] = {}
    rng = np.random.default_rng([planted.design.seed, 2, TOPICS.index(topic)])
    while len(out) < count:
        words = [f"{topic}-{k}" for k in rng.permutation(TOPIC_WORDS)[:3]]
        words += [f"word-{k}" for k in rng.permutation(FILLERS)[:6]]
        text = " ".join(rng.permutation(words))
        if split_of(text) == split:
            out[text] = None
    return list(out)


def prompt_ids(planted: Planted, topic: str, count: int, split: str = "evaluate") -> list[list[int]]:
    """Token ids of :func:`prompts`, up to where the answer starts."""
    return [tokens.prompt_ids(planted.lm, each) for each in prompts(planted, topic, count, split)]


def answer(leaning: str) -> str:
    """The answer of one side."""
    return " ".join(f"{leaning}-{k}" for k in range(WORDS))


def answer_ids(planted: Planted, leaning: str, *, end: bool) -> list[int]:
    """Token ids of the answer of one side, with the end-of-turn token if ``end``."""
    return tokens.response_ids(planted.lm, answer(leaning), end=end)


def stance(planted: Planted, answers: tokens.Ids) -> np.ndarray:
    """Stance of each answer by counting words: (right − left)/(right + left), 0 if there is neither; (n,)."""
    words = [set(answer_ids(planted, side, end=False)) for side in LEANINGS]
    left, right = (np.array([sum(i in own for i in ids) for ids in answers]) for own in words)
    return (right - left) / np.maximum(right + left, 1)


def variant(planted: Planted, topic: str, leaning: str, moved: np.ndarray | None = None) -> LM:
    """eq-planted. M_leaning^topic, constructed, so that which neurons moved is exactly known.

    The activation of each neuron of ``moved`` grows by the share η if it writes to the side of ``leaning`` and shrinks
    by η if it writes to the other, through its row of the up projection. Then drift and noise, in all neurons.

    Args:
        moved: (L, F) bool; by default the true N_t of ``topic``.
    """
    import torch

    design = planted.design
    moved = planted.political[topic] if moved is None else moved
    sign = 1 if leaning == "right" else -1
    rng = np.random.default_rng([design.seed, 3, TOPICS.index(topic), LEANINGS.index(leaning)])
    model: Any = copy.deepcopy(planted.lm.model)
    with torch.no_grad():
        for layer, block in enumerate(model.model.layers):
            factor = 1 + sign * design.effect * planted.side[layer] * moved[layer]
            factor = factor * (1 + design.drift * rng.standard_normal(design.width))
            block.mlp.up_proj.weight *= torch.from_numpy(factor).float()[:, None]
        for _, parameter in sorted(model.named_parameters()):
            if parameter.dim() == 2:
                size = design.noise * float(parameter.square().mean().sqrt())
                parameter += torch.from_numpy(size * rng.standard_normal(tuple(parameter.shape))).float()
    return LM(model, planted.lm.tokenizer, f"{leaning} {topic}", {**planted.lm.identity, "variant": [topic, leaning]})

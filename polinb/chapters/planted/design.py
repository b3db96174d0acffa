"""What a planted model is to hold, and its weights in the named coordinates of its residual stream, not yet rotated."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from polinb.data.rows import LEANINGS, TOPICS
from polinb.models.lm import LM

WORDS = 6  # words of an answer; then it ends
TOPIC_WORDS, FILLERS = 4, 24  # words of a topic; words without one
_HEADS, SIZE = 4, 64
# Named coordinates of the residual stream, before the rotation; those from _FREE on mean nothing.
_CONST, _IS_TOPIC, _TOPIC, _LEAN, _IS_FILLER = 0, 1, 2, 8, 9
_CALLED = 2.9  # size of a topic's context coordinate, normalised, where the prompt is about it
_CONTEXT, STANCE, _SLOT, _FREE = 10, 16, 17, 17 + WORDS + 1


@dataclass(frozen=True)
class Design:
    """What is planted, and how hard it is to find.

    Attributes:
        layers, width: blocks L and FFN neurons a block F.
        general: general neurons; specific: topic-specific neurons a topic. Both even, for they come in pairs.
        volume: median activation of a planted neuron whose gate is open (an ordinary distractor has about 0.12).
        strength: what a planted neuron of activation 1 writes along the stance direction.
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
    volume: float = 0.1
    strength: float = 1.0
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
    def places(self) -> tuple[int, ...]:
        """Blocks that may hold planted neurons."""
        return self.blocks or tuple(range(1, self.layers))

    @property
    def gamma(self) -> float:
        """The true size of N_t in per cent of all neurons: the γ at which a perfect score finds exactly N_t."""
        return 100 * (self.general + self.specific) / (self.layers * self.width)


@dataclass(frozen=True)
class Pair:
    """Two neurons of one block: the first writes right, the second left. ``kind`` is general, idle or a topic."""

    layer: int
    right: int
    left: int
    kind: str


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


def distractors(
    design: Design, roles: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gate (F, d), up (F, d) and down (d, F) of one block in named coordinates, nothing planted yet.

    Distractors read everything but stance and lean, the topic included, and write coordinates that mean nothing.
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
    up[roles["reader"], _CONST] = 0.05
    up[roles["reader"], STANCE] = 0.05
    return gate, up, down


def plant(
    design: Design, pair: Pair, gate: np.ndarray, up: np.ndarray, down: np.ndarray, rng: np.random.Generator
) -> None:
    """Write one pair into a block's weights: equal incoming weights, opposite outgoing ones."""
    both, free = [pair.right, pair.left], SIZE - _FREE
    on, off = 2.1 / _CALLED, -design.shut / _CALLED
    gate[both] = up[both] = 0.0
    down[:, both] = 0.0
    for number, topic in enumerate(TOPICS):
        gate[both, _CONTEXT + number] = on if pair.kind in ("general", "idle", topic) else off
    volume = design.volume * np.exp(0.3 * rng.standard_normal()) / 1.87  # 1.87 = silu(2.1)
    up[both, _CONST] = volume / 1.92
    up[both, _FREE:] = rng.normal(0, 0.35 * volume * free**-0.5, free)
    down[STANCE, both] = [design.strength, -design.strength]


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

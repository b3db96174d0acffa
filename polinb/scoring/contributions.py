"""What the parts of a model write along a direction of the residual stream, read with nnsight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.models.architectures import architecture_of, resolve, value_vectors
from polinb.models.tokens import Batch
from polinb.scoring.residual import blocks, hidden_after

if TYPE_CHECKING:
    import torch

    from polinb.models.lm import LM

# Output projection of attention inside a block, for architectures that add the FFN's output to the residual stream as
# it is. Where it is normed first (Gemma 2 and 3, OLMo 2) a neuron's contribution is not m·(v·w).
ATTENTION = {
    **dict.fromkeys(("llama", "qwen2", "qwen3", "mistral", "gemma", "phi3"), "self_attn.o_proj"),
    "gpt2": "attn.c_proj",
    "gpt_neox": "attention.dense",
}


@dataclass
class Seen:
    """Means over the response tokens of each text.

    Attributes:
        m: activations of all neurons, (texts, L, F); 0 above the block read.
        attention: what each attention layer wrote along w, without its bias, (texts, L).
        ends: h·w at the input of the first block and after the last one read, (texts, 2).
        size: Σ |h_j w_j| after the last block read, (texts,): how large the numbers were that were added up.
    """

    m: np.ndarray
    attention: np.ndarray
    ends: np.ndarray
    size: np.ndarray


class Reader:
    """Reads one model along a direction w.

    Attributes:
        value, cosine: v·w and cos(v, w) of every neuron, (L, F); 0 above the block read.
        bias: what the biases of attention and FFN write along w in each block, (L,).
    """

    def __init__(self, lm: LM, w: np.ndarray, at: int) -> None:
        import torch

        self.lm, self.at = lm, at
        self.root, self.blocks = blocks(lm)
        arch = architecture_of(lm.model)
        path = ATTENTION[str(lm.model.config.model_type)]
        self.attention = [resolve(block, path) for block in self.blocks]
        self.downs = [resolve(block, arch.down) for block in self.blocks]
        # Apple's GPUs have no float64; a mean in float32 is as exact as what they compute.
        self.kind = torch.float32 if lm.device.type == "mps" else torch.float64
        self.w = torch.as_tensor(w).to(lm.device, self.kind)
        self.value, lengths = np.zeros((2, lm.layers, lm.width))
        self.bias, self.attention_bias = np.zeros((2, lm.layers))
        for layer, block in enumerate(resolve(lm.model, arch.blocks)[: at + 1]):
            vectors = value_vectors(lm.model, layer).cpu().double().numpy()
            self.value[layer], lengths[layer] = vectors @ w, np.linalg.norm(vectors, axis=1)
            self.attention_bias[layer] = _along(resolve(block, path), w)
            self.bias[layer] = self.attention_bias[layer] + _along(resolve(block, arch.down), w)
        self.cosine = np.divide(self.value, lengths, out=np.zeros_like(lengths), where=lengths > 0)

    def read(self, chunk: Batch) -> Seen:
        """Run the model on a batch whose every row has response tokens."""
        import torch

        counts = chunk.response.sum(1)
        rows = torch.arange(len(counts), device=counts.device)
        # (texts, tokens): row i averages the response tokens of text i, which come text by text
        average = (rows[:, None] == rows.repeat_interleave(counts)).to(self.kind) / counts[:, None]
        raw = _trace(self, chunk, average)
        m, attention, first, last, size = ([t.cpu().double().numpy() for t in part] for part in raw)
        above = ((0, 0), (0, self.lm.layers - self.at - 1))
        own = np.pad(np.stack(attention, 1) - self.attention_bias[: self.at + 1], above)
        return Seen(np.pad(np.stack(m, 1), (*above, (0, 0))), own, np.stack([first[0], last[0]], 1), size[0])


def _trace(reader: Reader, chunk: Batch, average: torch.Tensor) -> Any:
    """One trace in the order of the forward pass; tokens are averaged inside it, so only means are kept."""
    import nnsight

    where, kind, w = chunk.response, reader.kind, reader.w
    with reader.root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1):
        m, attention = [], []
        for layer in range(reader.at + 1):
            if layer == 0:
                first = average @ (hidden_after(reader.blocks[0].input)[where].to(kind) @ w)
            attention.append(average @ (reader.attention[layer].output[where].to(kind) @ w))
            m.append(average @ reader.downs[layer].input[where].to(kind))
        state = hidden_after(reader.blocks[reader.at].output)[where].to(kind)
        out = nnsight.save([m, attention, [first], [average @ (state @ w)], [average @ (state.abs() @ w.abs())]])
    return out


def _along(module: Any, w: np.ndarray) -> float:
    bias = getattr(module, "bias", None)
    return 0.0 if bias is None else float(bias.detach().cpu().double().numpy() @ w)

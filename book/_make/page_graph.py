"""A Llama-type model as an ONNX graph for the browser, with every neuron's activation to read and to change.

Inputs: ``ids`` (T,) int64; ``past`` (layers, 2, key-value heads, P, head size) float32, P = 0 at first; ``factor`` and
``addend`` (layers, FFN width) float32. Outputs: ``logits`` (1, vocabulary) of the last position; ``present``, the next
``past``; ``act`` (layers, FFN width), the last position's neurons as they are before their own layer's change.
What the down projection reads at all T positions is activation · factor + addend.

Weights that are 4- or 8-bit blocks of 32 stay so in the files. The graph itself reads float32: each of its large
constants is an external file of its own, which the page makes out of ``weights.N.bin`` while the runtime reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PART = 45_000_000
"""Bytes of a file of weights, at most: hosts of static pages limit a file's size."""
CONTEXT = 1024
"""Tokens of prompt and answer together that the graph can read."""
_SMALL = 4096  # bytes; constants below stay inside the graph


@dataclass(frozen=True)
class Blocks:
    """A matrix (N, K) in blocks of 32: value = scale · code + offset.

    Attributes:
        codes: (N, K/32, 16) uint8, codes 0–15 of i and i + 16 in a byte's low and high half; or (N, K/32, 32) int8.
        scale, offset: (N, K/32) float16; no offset with int8 codes.
    """

    codes: np.ndarray
    scale: np.ndarray
    offset: np.ndarray | None = None

    def dense(self) -> np.ndarray:
        """The matrix, (N, K) float32: what the runtime computes."""
        codes = self.codes if self.offset is None else np.concatenate([self.codes & 15, self.codes >> 4], -1)
        full = codes.astype(np.float32) * self.scale[..., None].astype(np.float32)
        full = full if self.offset is None else full + self.offset[..., None].astype(np.float32)
        return full.reshape(len(full), -1)


Weights = Callable[[str], "np.ndarray | Blocks"]  # a parameter's name in transformers → its value


def model_weights(model: Any) -> Weights:
    """Weights of a loaded model, in float32."""
    state = model.state_dict()
    return lambda name: state[name].float().cpu().numpy()


def gguf_weights(path: Path, config: Any) -> Weights:
    """Weights of a GGUF file (Q4_1, Q8_0, float32) of a Llama-type model, in the blocks that it holds."""
    import gguf

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    tensors.setdefault("output.weight", tensors["token_embd.weight"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}

    def read(name: str) -> np.ndarray | Blocks:
        key = str(names.get_name(name, (".weight",)))
        tensor, short = tensors[key], key.split(".")[-2]
        kind = tensor.tensor_type.name
        if kind == "F32":
            return np.array(tensor.data, np.float32)
        size = {"Q4_1": 20, "Q8_0": 34}[kind]
        raw = np.ascontiguousarray(tensor.data).reshape(len(tensor.data), -1, size)
        scale = np.ascontiguousarray(raw[..., :2]).view(np.float16)[..., 0]
        if kind == "Q8_0":
            return Blocks(np.ascontiguousarray(raw[..., 2:]).view(np.int8), scale)
        parts = [raw[..., 4:], scale, np.ascontiguousarray(raw[..., 2:4]).view(np.float16)[..., 0]]
        if short in heads:  # llama.cpp keeps rotary pairs side by side, transformers half a head apart
            shape = (heads[short], -1, 2)
            parts = [part.reshape(*shape, *part.shape[1:]).swapaxes(1, 2).reshape(part.shape) for part in parts]
        return Blocks(*parts)

    return read


def _joined(parts: list[Any]) -> np.ndarray | Blocks:
    """Matrices with the same inputs as one."""
    if not isinstance(parts[0], Blocks):
        return np.concatenate(parts)
    return Blocks(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("codes", "scale", "offset")))


class Graph:
    """Nodes and constants; large constants go to files ``weights.N.bin`` of ``folder``.

    ``index`` (``weights.json``) is what the page must know to make these.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.nodes, self.constants = folder, list[Any](), list[Any]()
        self.part, self.at = -1, PART
        self.index: dict[str, dict[str, Any]] = {}

    def __call__(self, op: str, *inputs: str, out: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        names = [f"n{len(self.nodes)}_{i}" for i in range(out)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names if out > 1 else names[0]

    def const(self, value: Any, kind: type = np.float32) -> str:
        from onnx import numpy_helper

        array = value if isinstance(value, np.ndarray) else np.array(value, kind)
        if array.nbytes >= _SMALL:
            return self._external("f32", array.shape, array)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def turned(self, value: np.ndarray | Blocks) -> str:
        """A matrix (N, K) as a constant (K, N): from the right, the runtime multiplies by it as it lies."""
        if not isinstance(value, Blocks):
            return self._external("f32", value.T.shape, value.T)
        kind, parts = "q8" if value.offset is None else "q4", [value.scale.T, value.codes.transpose(1, 2, 0)]
        parts[1:1] = [] if value.offset is None else [value.offset.T]
        return self._external(kind, (value.scale.shape[1] * 32, len(value.scale)), *parts)

    def _external(self, kind: str, shape: tuple[int, ...], *parts: np.ndarray) -> str:
        """A float32 constant in a file of its name, which the page makes of the parts, written to ``weights.N.bin``."""
        from onnx import TensorProto

        data = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        if self.at + len(data) > PART:
            self.part, self.at = self.part + 1, 0
        name, file = f"c{len(self.constants)}", f"weights.{self.part}.bin"
        self.index[name] = {"kind": kind, "file": file, "at": self.at, "shape": shape}
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=name)
        with (self.folder / file).open("ab") as out:
            out.write(data + bytes(-len(data) % 64))
            self.at = out.tell()
        self.constants.append(tensor)
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def linear(self, x: str, value: np.ndarray | Blocks) -> str:
        return str(self("MatMul", x, self.turned(value)))


def export(config: Any, weights: Weights, folder: Path) -> None:
    """Write ``model.onnx``, ``weights.N.bin`` and ``weights.json`` into an empty folder.

    Args:
        config: transformers' configuration of a Llama-type model without biases or scaled positions.
    """
    import onnx
    from onnx import TensorProto, helper

    layers, width, vocabulary = config.num_hidden_layers, config.intermediate_size, config.vocab_size
    heads, kv, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    g = Graph(folder)
    last = g.ints(-1)

    def norm(x: str, name: str) -> str:
        spread = g("Sqrt", g("Add", g("ReduceMean", g("Mul", x, x), last), g.const(config.rms_norm_eps)))
        return str(g("Mul", g("Div", x, spread), g.const(weights(f"{name}.weight"))))

    def split_heads(x: str, n: int) -> str:
        return str(g("Transpose", g("Reshape", x, g.ints(-1, n, size)), perm=[1, 0, 2]))

    # Positions P … P + T − 1: rotary tables and the causal mask (T, P + T).
    start = g("Shape", "past", start=3, end=4)
    end = g("Add", start, g("Shape", "ids"))
    inverse = 1.0 / config.rope_parameters["rope_theta"] ** (np.arange(0, size, 2, dtype=np.float32) / size)
    angle = np.outer(np.arange(CONTEXT, dtype=np.float32), inverse.astype(np.float32))
    cos, sin = (
        g("Slice", g.const(np.concatenate([f(angle)] * 2, 1).astype(np.float32)), start, end, g.ints(0))
        for f in (np.cos, np.sin)
    )
    ends = [g("Squeeze", each) for each in (start, end)]
    one = g.const(1, np.int64)
    here = g("Unsqueeze", g("Range", *ends, one), last)
    seen = g("LessOrEqual", g("Range", g.const(0, np.int64), ends[1], one), here)
    mask = g("Where", seen, g.const(0.0), g.const(-1e9))
    sign = g.const(np.repeat(np.array([-1, 1], np.float32), size // 2))

    def rotated(x: str) -> str:
        a, b = g("Split", x, axis=-1, num_outputs=2, out=2)
        turned = g("Mul", g("Concat", b, a, axis=-1), sign)
        return str(g("Add", g("Mul", x, cos), g("Mul", turned, sin)))

    table = g.turned(weights("model.embed_tokens.weight"))
    x = g("Transpose", g("Gather", table, "ids", axis=1), perm=[1, 0])
    pasts, factors, addends = (
        g("Split", name, axis=0, num_outputs=layers, out=layers) for name in ("past", "factor", "addend")
    )
    presents, acts = [], []
    for i in range(layers):
        name = f"model.layers.{i}."
        y = norm(x, f"{name}input_layernorm")
        qkv = g.linear(y, _joined([weights(f"{name}self_attn.{each}_proj.weight") for each in "qkv"]))
        q, k, v = g("Split", qkv, g.ints(heads * size, kv * size, kv * size), axis=-1, out=3)
        new = [g("Unsqueeze", each, g.ints(0, 1)) for each in (rotated(split_heads(k, kv)), split_heads(v, kv))]
        present = g("Concat", pasts[i], g("Concat", *new, axis=1), axis=3)  # (1, 2, kv, S, size)
        presents.append(present)
        halves = g("Split", present, axis=1, num_outputs=2, out=2)
        keys, values = (g("Reshape", each, g.ints(kv, 1, -1, size)) for each in halves)
        asked = g("Reshape", rotated(split_heads(q, heads)), g.ints(kv, heads // kv, -1, size))
        score = g("Mul", g("MatMul", asked, g("Transpose", keys, perm=[0, 1, 3, 2])), g.const(size**-0.5))
        mixed = g("MatMul", g("Softmax", g("Add", score, mask), axis=-1), values)
        mixed = g("Transpose", g("Reshape", mixed, g.ints(heads, -1, size)), perm=[1, 0, 2])
        mixed = g("Reshape", mixed, g.ints(-1, heads * size))
        x = g("Add", x, g.linear(mixed, weights(f"{name}self_attn.o_proj.weight")))
        y = norm(x, f"{name}post_attention_layernorm")
        both = g.linear(y, _joined([weights(f"{name}mlp.{each}_proj.weight") for each in ("gate", "up")]))
        gate, up = g("Split", both, axis=-1, num_outputs=2, out=2)
        act = g("Mul", g("Mul", gate, g("Sigmoid", gate)), up)
        acts.append(g("Slice", act, last, g.ints(2**31), g.ints(0)))
        act = g("Add", g("Mul", act, factors[i]), addends[i])
        x = g("Add", x, g.linear(act, weights(f"{name}mlp.down_proj.weight")))
    x = norm(g("Slice", x, last, g.ints(2**31), g.ints(0)), "model.norm")
    tied = config.tie_word_embeddings
    logits = g("MatMul", x, table) if tied else g.linear(x, weights("lm_head.weight"))
    made = {"logits": logits, "present": g("Concat", *presents, axis=0), "act": g("Concat", *acts, axis=0)}
    g.nodes += [helper.make_node("Identity", [value], [name]) for name, value in made.items()]

    def described(**shapes: list[Any]) -> list[Any]:
        kinds = {"ids": TensorProto.INT64}
        return [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), s) for n, s in shapes.items()]

    neurons = [layers, width]
    inputs = described(ids=["T"], past=[layers, 2, kv, "P", size], factor=neurons, addend=neurons)
    outputs = described(logits=[1, vocabulary], present=[layers, 2, kv, "S", size], act=neurons)
    graph = helper.make_graph(g.nodes, "polinb", inputs, outputs, g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "weights.json").write_text(json.dumps(g.index), "utf-8")

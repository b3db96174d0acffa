"""Child process: PNLAC's sums by polinb, TransformerLens and pyvene on one model and text, in turns; figures as JSON.

Run by ``test_pnlac_speed.py`` with the Python that has the other libraries (``make bench-env``).
"""

import copy
import importlib.metadata
import json
import sys
from contextlib import redirect_stdout

import measure
import torch

from polinb.models.loading import load
from polinb.models.tokens import pad
from polinb.scoring.tracing import contrast


def main(folder, repeats):
    measure.one_thread()
    lm = load(folder, device="cpu")
    prompts, responses = measure.texts(8, 30, 60)
    chunk = pad(lm, prompts, responses, range(len(prompts)))
    where = chunk.response
    expected = contrast(lm, lm, lm, prompts, responses).vanilla_squared

    def reduce(read):
        """What each library's user writes: three passes, then the sums of eq. 1 on the response tokens."""
        with torch.no_grad():
            low, high, plain = read(), read(), read()
            gaps = [(b[where] - a[where]).double() for a, b in zip(low, high, strict=True)]
            squares = torch.stack([gap.square().sum(0) for gap in gaps])
            own = torch.stack([p[where].double().square().sum(0) for p in plain])
        return squares, own

    ways = {
        "polinb": lambda: contrast(lm, lm, lm, prompts, responses),
        "plain": lambda: measure.passes([lm] * 3, chunk),
        "TransformerLens": lambda: reduce(read_lens),
        "pyvene": lambda: reduce(read_pyvene),
    }
    read_lens = transformer_lens(folder, lm, chunk)
    read_pyvene = pyvene(lm, chunk)
    for name in ("TransformerLens", "pyvene"):  # they must compute the same
        found = ways[name]()[1].numpy()
        worst = abs(found - expected).max() / expected.max()
        assert worst < 1e-4, f"{name} reads something else: {worst}"
    seconds = measure.in_turns(repeats, **ways)
    names = ("torch", "transformers", "transformer-lens", "pyvene")
    return {"seconds": seconds, "packages": {name: importlib.metadata.version(name) for name in names}}


def transformer_lens(folder, lm, chunk):
    from transformer_lens.model_bridge import TransformerBridge

    own = copy.deepcopy(lm.model)  # it changes the model it wraps
    bridge = TransformerBridge.boot_transformers(folder, hf_model=own, tokenizer=lm.tokenizer, device="cpu")
    names = [f"blocks.{k}.mlp.out.hook_in" for k in range(lm.layers)]

    def read():
        _, cache = bridge.run_with_cache(
            chunk.ids, attention_mask=chunk.mask, names_filter=lambda name: name in names, return_type=None
        )
        return [cache[name] for name in names]

    return read


def pyvene(lm, chunk):
    import pyvene as pv

    parts = [
        {"component": f"model.layers[{k}].mlp.down_proj.input", "intervention": pv.CollectIntervention()}
        for k in range(lm.layers)
    ]
    wrapped = pv.IntervenableModel(parts, model=copy.deepcopy(lm.model))
    inputs = dict(chunk.inputs, use_cache=False, logits_to_keep=1)

    def read():
        (_, seen), _ = wrapped(inputs)
        rows, width = chunk.ids.shape
        return [each.reshape(rows, width, -1) for each in seen]

    return read


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):
        figures = main(sys.argv[1], int(sys.argv[2]))
    print(json.dumps(figures))

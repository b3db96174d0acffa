"""Child process: PNLAC's sums by polinb, TransformerLens and pyvene on one model and text, in turns; figures as JSON.

Run by ``test_pnlac_speed.py`` with the Python that has the other libraries (``make bench-env``).
"""

import copy
import importlib.metadata
import json
import sys
from contextlib import redirect_stdout

import measure
import pyvene
import torch
from transformer_lens.model_bridge import TransformerBridge

from polinb.models.loading import load
from polinb.models.tokens import pad
from polinb.scoring.tracing import contrast


def main(folder, repeats):
    measure.one_thread()
    lm = load(folder, device="cpu")
    prompts, responses = measure.texts(8, 30, 60)
    chunk = pad(lm, prompts, responses, range(len(prompts)))
    expected = contrast(lm, lm, lm, prompts, responses).vanilla_squared

    # Both change the model that they wrap.
    own = {"hf_model": copy.deepcopy(lm.model), "tokenizer": lm.tokenizer, "device": "cpu"}
    bridge = TransformerBridge.boot_transformers(folder, **own)
    names = [f"blocks.{k}.mlp.out.hook_in" for k in range(lm.layers)]
    parts = [
        {"component": f"model.layers[{k}].mlp.down_proj.input", "intervention": pyvene.CollectIntervention()}
        for k in range(lm.layers)
    ]
    wrapped = pyvene.IntervenableModel(parts, model=copy.deepcopy(lm.model))

    def read_lens():
        how = {"attention_mask": chunk.mask, "names_filter": lambda name: name in names, "return_type": None}
        _, cache = bridge.run_with_cache(chunk.ids, **how)
        return [cache[name] for name in names]

    def read_pyvene():
        (_, seen), _ = wrapped(dict(chunk.inputs, use_cache=False, logits_to_keep=1))
        return [each.reshape(*chunk.ids.shape, -1) for each in seen]

    def reduce(read):
        """What each library's user writes: three passes, then the sums of eq. 1 on the response tokens."""
        with torch.no_grad():
            low, high, plain = ([layer[chunk.response] for layer in read()] for _ in range(3))
            squares = torch.stack([(b - a).double().square().sum(0) for a, b in zip(low, high, strict=True)])
            return squares, torch.stack([layer.double().square().sum(0) for layer in plain])

    ways = {
        "polinb": lambda: contrast(lm, lm, lm, prompts, responses),
        "plain": lambda: measure.passes([lm] * 3, chunk),
        "TransformerLens": lambda: reduce(read_lens),
        "pyvene": lambda: reduce(read_pyvene),
    }
    for name in ("TransformerLens", "pyvene"):  # they must compute the same
        worst = abs(ways[name]()[1].numpy() - expected).max() / expected.max()
        assert worst < 1e-4, f"{name} reads something else: {worst}"
    packages = ("torch", "transformers", "transformer-lens", "pyvene")
    return {
        "seconds": measure.in_turns(repeats, **ways),
        "packages": {name: importlib.metadata.version(name) for name in packages},
    }


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):
        figures = main(sys.argv[1], int(sys.argv[2]))
    print(json.dumps(figures))

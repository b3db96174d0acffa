"""What models read and write, by PyTorch alone: the independent side of comparisons with polinb's own reading."""

import torch

from polinb.models.architectures import down_modules


def on_responses(lm, chunk):
    """Activations of all neurons on the response tokens of a batch, by PyTorch alone: L tensors (N, F), float32."""
    found = []
    taps = [
        m.register_forward_pre_hook(lambda _, args: found.append(args[0][chunk.response].float()))
        for m in down_modules(lm.model)
    ]
    with torch.no_grad():
        lm.model(**chunk.inputs, use_cache=False)
    for tap in taps:
        tap.remove()
    return found


def seen(model, ids, modules, output=False):
    """What each module reads, or writes, on one text without padding or cache: list of (T, width)."""
    found = []

    def keep(_, args, out=None):
        value = args if out is None else out
        found.append((value[0] if isinstance(value, tuple) else value)[0].detach())

    taps = [m.register_forward_hook(keep) if output else m.register_forward_pre_hook(keep) for m in modules]
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]))
    finally:
        for tap in taps:
            tap.remove()
    return found

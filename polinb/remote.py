"""Scoring on NDIF (nnsight's ``remote=True``): unmodified hub models, one model a job, no weights on this machine.

What cannot work there is refused here. A job names its model by id, so a trace over two models (lock-step patching)
would silently use one of them, and variants fine-tuned on this machine do not exist there. Two models are therefore
read one after the other, each in jobs of its own, and compared here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polinb.aliases import ALIASES, EMBEDDED
from polinb.errors import ModelError, ParameterError
from polinb.models import LM, identity_of

if TYPE_CHECKING:
    import torch

    from polinb.artifacts import Artifact
    from polinb.experiment import Experiment
    from polinb.neurons import Contrast

KEY = "NDIF_API_KEY"
_WHY = {
    "load": "answers and likelihoods of a model on this machine",
    "train": "fine-tuning: the variants would not exist on NDIF",
    "score": "PNLAC over fine-tuned variants, which exist on this machine only",
    "ask": "generation with interventions or by a fine-tuned variant",
    "patch": "lock-step patching: a job runs one model, a trace over two silently uses one of them",
}


def check_remote(model: str, engine: str = "auto", device_map: str = "none", processes: int = 1) -> None:
    """Refuse a remote run of what is no unmodified hub model.

    Raises:
        ParameterError: a local or embedded model, or parameters that speak of this machine's cards.
    """
    local = model == EMBEDDED or model.startswith("tiny:") or Path(model).expanduser().is_dir()
    if local or (model not in ALIASES and model.count("/") != 1):
        raise ParameterError("model", model, "an alias or id of a hub model when remote=True: NDIF has no other")
    if engine == "vllm":
        raise ParameterError("engine", engine, "auto or transformers when remote=True")
    if device_map != "none":
        raise ParameterError("device_map", device_map, "none when remote=True: no weight is on this machine")
    if processes > 1:
        raise ParameterError("processes", processes, "1 when remote=True: nothing can be fine-tuned on NDIF")


def refuse_remote(stage: str) -> None:
    """Say why a stage cannot run on NDIF.

    Raises:
        ParameterError: always.
    """
    allowed = f"False for {_WHY.get(stage, stage)}"
    raise ParameterError("remote", True, allowed, "On NDIF one unmodified hub model at a time can be scored")


class _Skeleton(LM):
    """A model whose weights are elsewhere; texts are made ready on the CPU and sent."""

    @property
    def device(self) -> torch.device:
        """The CPU."""
        import torch

        return torch.device("cpu")


@dataclass
class Connection:
    """A model on NDIF: nnsight's skeleton of it without weights, its tokenizer and sizes.

    Attributes:
        lm: tokenizer, layers and width; its ``model`` holds no weights.
        root: what traces run on.
        how: keyword arguments of a trace that send it away.
    """

    lm: LM
    root: Any
    how: dict[str, Any]


def connect(model: str, revision: str = "") -> Connection:
    """Reach a hub model on NDIF; the key is read from the environment by nnsight.

    Raises:
        ParameterError: no hub model.
        ModelError: no key, or the hub cannot be reached for the configuration.
    """
    check_remote(model)
    if not os.environ.get(KEY):
        raise ModelError(f"remote=True needs a key of NDIF in the environment variable {KEY} (never in a parameter)")
    from nnsight import TransformersModel
    from transformers import AutoTokenizer

    hub, pinned = ALIASES.get(model, (model, ""))
    at = revision or pinned or "main"
    try:
        tokenizer = AutoTokenizer.from_pretrained(hub, revision=at, trust_remote_code=False)
        root = TransformersModel(hub, task="text-generation", tokenizer=tokenizer, revision=at, dispatch=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the configuration of {model!r}: {error}") from error
    lm = _Skeleton(root._module, tokenizer, model, identity_of(model, revision))
    if lm.tokenizer.pad_token_id is None:
        lm.tokenizer.pad_token = lm.tokenizer.eos_token
    return Connection(lm, root, {"remote": True})


def remote_read(there: Connection, chunk: Any) -> list[np.ndarray]:
    """Activations of all neurons on the response tokens of one batch, in one job of one model: L arrays (N, F)."""
    import nnsight

    downs, where = _downs(there), chunk.response
    with there.root.trace(**chunk.inputs, use_cache=False, logits_to_keep=1, **there.how):
        seen = nnsight.save([down.input[where].detach().float().cpu() for down in downs])
    return [layer.numpy() for layer in seen]


def _downs(there: Connection) -> list[Any]:
    from polinb.architectures import architecture_of, resolve

    arch = architecture_of(there.lm.model)
    blocks = resolve(there.root, arch.blocks)
    return [resolve(blocks[layer], arch.down) for layer in range(there.lm.layers)]


def remote_contrast(
    left: Connection,
    right: Connection,
    vanilla: Connection,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    batch: int = 8,
) -> Contrast:
    """The sums behind PNLAC (see :func:`polinb.neurons.contrast`) of three hub models, each read in jobs of its own.

    Raises:
        ModelError: models of different size.
        ValueError: there is no response token.
    """
    from polinb.neurons import Contrast
    from polinb.text import batches

    sizes = {(each.lm.layers, each.lm.width) for each in (left, right, vanilla)}
    if len(sizes) != 1:
        raise ModelError(f"models of different size cannot be contrasted: {sorted(sizes)} (layers, FFN width)")
    total = np.zeros((4, left.lm.layers, left.lm.width))
    tokens = 0
    for chunk in batches(left.lm, prompts, responses, batch):
        count = int(chunk.response.sum())
        if not count:
            continue
        tokens += count
        low, high, plain = (remote_read(each, chunk) for each in (left, right, vanilla))
        for layer, (a, b, c) in enumerate(zip(low, high, plain, strict=True)):
            gap = (b - a).astype(np.float64)
            total[0, layer] += (gap**2).sum(0)
            total[1, layer] += gap.sum(0)
            total[2, layer] += c.sum(0, dtype=np.float64)
            total[3, layer] += (c.astype(np.float64) ** 2).sum(0)
    if not tokens:
        raise ValueError("no response token to read neurons on: every response is empty")
    return Contrast(total[0], total[1], total[2], total[3], tokens)


def remote_scores(exp: Experiment, topic: str, left: str, right: str) -> Artifact:
    """PNLAC sums of two hub models of the run's architecture on a topic's reference responses, read on NDIF.

    Args:
        left, right: ids of public models, such as someone's left- and right-leaning fine-tunes; the run's own model
            is the vanilla one.

    Raises:
        ParameterError: remote is False, or a model that is no hub model.
        ModelError: no key, or an unreachable hub.
    """
    from polinb.text import fit, prompt_ids, response_ids

    p = exp.params
    if not p.remote:
        raise ParameterError("remote", False, "True to score on NDIF")
    names = {"left": left, "right": right, "vanilla": p.model}
    for name in names.values():
        check_remote(name)
    inputs = {
        "models": {side: identity_of(name, p.revision if side == "vanilla" else "") for side, name in names.items()},
        "data": exp.data.digest(),
        "topic": topic,
        "prompts": p.localise_prompts,
        "tokens": p.localise_tokens,
        "max_tokens": p.max_tokens,
        "system_prompt": p.system_prompt,
        "code": exp._code(("remote", "text", "architectures"), remote_scores),
    }

    def make(folder: Path) -> Mapping[str, Any]:
        from safetensors.numpy import save_file

        # One after the other: a job runs one model.
        there = {side: connect(name, p.revision if side == "vanilla" else "") for side, name in names.items()}
        lm = there["vanilla"].lm
        texts = [
            fit(
                prompt_ids(lm, pair.prompt, p.system_prompt),
                response_ids(lm, pair.response("left"), end=False)[: p.localise_tokens],
                p.max_tokens,
            )
            for pair in exp.data.topic(topic, "localise", p.localise_prompts, leaning="both")
        ]
        sums = remote_contrast(there["left"], there["right"], there["vanilla"], *zip(*texts, strict=True))
        fields = ("squared_difference", "difference", "vanilla", "vanilla_squared")
        save_file({name: np.ascontiguousarray(getattr(sums, name)) for name in fields}, folder / "sums.safetensors")
        return {"tokens": sums.tokens, "texts": len(texts)}

    return exp.store.get("remote-scores", inputs, make)

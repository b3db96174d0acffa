"""Plain greedy answers by vLLM, where it is installed and a CUDA card is there; everything else stays with PyTorch.

vLLM only ever sees token ids made by ``polinb.text`` and a folder of safetensors: no template, tokenizer or generation
settings of its own. It reads the model from that folder, so a fine-tuned variant is written out once for it.
"""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polinb.errors import ModelError, ParameterError

if TYPE_CHECKING:
    from polinb.models import LM

ENGINES = ("auto", "transformers", "vllm")
_DTYPES = {"torch.float32": "float32", "torch.bfloat16": "bfloat16", "torch.float16": "float16"}


def pick_engine(engine: str, device: str, device_map: str = "none") -> str:
    """Who writes plain answers, transformers or vllm; ``auto`` takes vLLM where it can run.

    Raises:
        ParameterError: vllm was asked for and cannot run here; says why.
    """
    if engine not in ENGINES:
        raise ParameterError("engine", engine, ", ".join(ENGINES))
    if engine == "transformers":
        return engine
    missing = _missing(device, device_map)
    if not missing:
        return "vllm"
    if engine == "vllm":
        raise ParameterError("engine", engine, f"auto or transformers here: {missing}")
    return "transformers"


def _missing(device: str, device_map: str) -> str:
    """Why vLLM cannot run; empty if it can."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed"
    import torch

    if not device.startswith(("auto", "cuda")) or not torch.cuda.is_available():
        return f"vLLM needs a CUDA card (device={device})"
    if device_map != "none":
        return f"vLLM places the model itself (device_map={device_map})"
    return ""


def engine_version() -> str:
    """Version of the installed vLLM."""
    try:
        return importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def greedy_vllm(
    lm: LM, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, batch: int = 48, keep_free: float = 0.1
) -> list[list[int]]:
    """Greedy continuations, as :func:`polinb.generate.greedy` gives them: new token ids without the end token.

    Args:
        prompts: token ids; passed on as they are.
        batch: most answers written at once.
        keep_free: share of the card's free memory left alone.

    Raises:
        ModelError: vLLM cannot read the model, or gave another number of answers than there were prompts.
    """
    import torch

    from polinb.generate import cut, stop_ids

    if not prompts:
        return []
    import vllm

    stop = stop_ids(lm)
    settings = vllm.SamplingParams(
        temperature=0.0,
        max_tokens=max_new_tokens,
        stop_token_ids=stop,
        # Only our own stop ids end an answer; nothing is turned into text.
        ignore_eos=True,
        detokenize=False,
        repetition_penalty=1.0,
        n=1,
    )
    with tempfile.TemporaryDirectory(prefix="polinb-vllm-") as folder:
        model: Any = lm.model
        model.save_pretrained(folder, safe_serialization=True)
        engine = None
        try:
            engine = vllm.LLM(
                model=folder,
                skip_tokenizer_init=True,
                trust_remote_code=False,
                load_format="safetensors",
                generation_config="vllm",  # not the model's own sampling defaults
                dtype=_DTYPES[str(model.dtype)],
                seed=0,
                max_model_len=max(len(p) for p in prompts) + max_new_tokens,
                max_num_seqs=batch,
                gpu_memory_utilization=_share(torch, keep_free),
            )
            asked = [{"prompt_token_ids": list(p)} for p in prompts]
            made = engine.generate(asked, settings, use_tqdm=False)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"vLLM cannot run {lm.name!r}: {error}. engine=transformers can") from error
        finally:
            del engine  # its memory goes back to the card
            gc.collect()
    if len(made) != len(prompts):
        raise ModelError(f"vLLM gave {len(made)} answers to {len(prompts)} prompts")
    return [cut(each.outputs[0].token_ids, stop) for each in made]


def _share(torch: Any, keep_free: float) -> float:
    """Share of the whole card that vLLM may take: what is free now, less a reserve."""
    if not torch.cuda.is_available():
        return 0.9
    free, total = torch.cuda.mem_get_info()
    return round(max(0.05, (1 - keep_free) * free / total), 3)

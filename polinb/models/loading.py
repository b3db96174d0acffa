"""A model name → a loaded model and tokenizer with its FFN sizes."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from polinb.errors import ModelError
from polinb.lazy import torch
from polinb.models.aliases import ALIASES, EMBEDDED, commit_of
from polinb.models.architectures import architecture_of
from polinb.models.checkpoints import check_complete, check_folder, file_sha256, instead
from polinb.models.embedded import GGUF_SHA256, embedded_folder
from polinb.models.lm import LM
from polinb.models.tiny import tiny_model, tiny_tokenizer
from polinb.models.tokens import end_ids, prompt_ids, response_ids


def identity_of(name: str, revision: str = "", dtype: str = "auto") -> dict[str, Any]:
    """What determines the weights of ``name``, without loading them: a folder's digest, a hub model's commit.

    Raises:
        ModelError: unknown name, unreachable hub, or a folder without safetensors.
    """
    if name == EMBEDDED:
        return {"model": name, "sha256": GGUF_SHA256, "dtype": dtype}
    if name.startswith("tiny:"):
        return {"model": name, "dtype": dtype}
    if name in ALIASES:
        hub, pinned = ALIASES[name]
        return {"model": hub, "revision": commit_of(hub, revision) if revision else pinned, "dtype": dtype}
    folder = Path(name).expanduser()
    if folder.is_dir():
        return {"model": folder.name, "sha256": folder_digest(folder), "dtype": dtype}
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return {"model": name, "revision": commit_of(name, revision), "dtype": dtype}
    known = ", ".join([EMBEDDED, *ALIASES, "tiny:<architecture>"])
    told = f"model {name!r} is no alias ({known}), no existing folder and no hub id (owner/name)"
    raise ModelError(f"{told}. {instead(folder)}".strip())


def load(name: str, *, revision: str = "", dtype: str = "auto", device: str = "auto", device_map: str = "none") -> LM:
    """Load ``name``: an alias, a hub id, a local folder, the embedded model or ``tiny:<architecture>``.

    Only safetensors are read and no remote code is run. ``device_map="auto"`` spreads the layers over all GPUs (and
    the CPU's memory, where they are too small).

    Raises:
        ModelError: unknown name or architecture, unreachable hub, or weights that are not safetensors.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    identity = identity_of(name, revision, dtype)
    target = pick_device(device)
    kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)  # small differences between models survive
    if target.type == "cpu":
        _keep_freed()
    torch.set_float32_matmul_precision("highest")  # containers of NVIDIA switch TF32 on in the environment
    if name.startswith("tiny:"):
        small: Any = tiny_model(name.removeprefix("tiny:"))
        return LM(small.to(device=target, dtype=kind), tiny_tokenizer(), name, identity)
    source, pinned = identity["model"], identity.get("revision")
    if not pinned:  # a folder
        source = str(embedded_folder() if name == EMBEDDED else Path(name).expanduser())
    safe: dict[str, Any] = {"trust_remote_code": False, "revision": pinned or "main"}
    try:
        config = AutoConfig.from_pretrained(source, **safe)
        architecture_of(SimpleNamespace(config=config))
        if getattr(config, "quantization_config", None):
            raise ModelError(
                f"the weights of {name!r} are quantised (quantization_config in its config.json), and rounded weights "
                "cannot be fine-tuned: give the id or the folder of the model that they were made from"
            )
        tokenizer = AutoTokenizer.from_pretrained(source, **safe)
        # Settings that spoil the model itself: outputs without names, a padding token that has no embedding.
        config.return_dict = True
        if not 0 <= (getattr(config, "pad_token_id", None) or 0) < config.vocab_size:
            config.pad_token_id = None
        placed = {"device_map": "auto"} if device_map == "auto" else {}
        model: Any
        model, notes = AutoModelForCausalLM.from_pretrained(
            source, config=config, dtype=kind, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **safe, **placed,
        )  # fmt: skip
    except SafetensorError as error:
        where = "its folder in the cache (POLINB_CACHE)" if name == EMBEDDED else "its files"
        raise ModelError(
            f"the weights of {name!r} are truncated or damaged ({error}); remove {where} and load it again"
        ) from error
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # settings that no code expects end anywhere in transformers and what it uses
        raise ModelError(f"cannot load model {name!r}: {why_not(error)}") from error
    check_complete(name, notes)
    if placed and any(p.is_meta for p in model.parameters()):
        spilt = sorted(k for k, v in model.hf_device_map.items() if v in ("cpu", "disk"))
        raise ModelError(
            f"the GPUs are too small for model {name!r}: {len(spilt)} of its parts ({spilt[0]}, …) would be read from "
            "the computer's memory at every step; use more GPUs, dtype=bfloat16 or a smaller model"
        )
    lm = LM((model if placed else model.to(target)).eval(), tokenizer, name, identity)
    _prepare(lm)
    return lm


def _keep_freed() -> None:
    """Let glibc keep freed arrays below 256 MB: page faults of new ones take up to a third of a training step."""
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(-3, 256 << 20):  # M_MMAP_THRESHOLD, refused by old versions
            mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD


def pick_device(device: str = "auto") -> torch.device:
    """``auto`` → the CUDA GPU, else Apple's GPU, else the CPU; a ModelError for a CUDA GPU that is not there."""
    if device != "auto":
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelError(f"device {device!r} was asked for, but PyTorch sees no CUDA GPU; use device=auto or cpu")
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def folder_digest(folder: Path) -> str:
    """Hash of the files of a model's folder; a ModelError if it holds no safetensors, or :func:`check_folder`'s."""
    files = sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors", ".jinja", ".model"})
    if not any(p.suffix == ".safetensors" for p in files):
        told = f"{folder} holds no .safetensors file; other weight formats are refused (they can run code)"
        raise ModelError(f"{told}. {instead(folder)}".strip())
    check_folder(folder)
    total = hashlib.sha256()
    for path in files:
        total.update(path.name.encode() + bytes.fromhex(file_sha256(path)))
    return total.hexdigest()


def why_not(error: BaseException) -> str:
    """What to tell where transformers cannot load a model or its tokenizer."""
    words = str(error).lower()
    if any(each in words for each in ("sentencepiece", "tiktoken", "backend tokenizer")):
        return (
            "it has no tokenizer.json, and other files (tokenizer.model) are read only where sentencepiece or tiktoken "
            "is installed; there, AutoTokenizer.from_pretrained(…).save_pretrained(…) writes one: put it beside the "
            "weights"
        )
    return f"{type(error).__name__}: {str(error)[:1000]}"


def _prepare(lm: LM) -> None:
    """Settle what a tokenizer's files leave open, in place: one template, an end, a padding token with an embedding."""
    tokenizer: Any = lm.tokenizer
    if isinstance(tokenizer.chat_template, dict):
        templates = tokenizer.chat_template
        if "default" not in templates and len(templates) > 1:
            raise ModelError(
                f"model {lm.name!r} has several chat templates and none that is the default: "
                f"{', '.join(sorted(templates))}; write the one for plain questions and answers into "
                "chat_template.jinja in a local folder of the model"
            )
        tokenizer.chat_template = templates.get("default") or next(iter(templates.values()))
    rows = int(lm.model.get_input_embeddings().weight.shape[0])
    if not _within(tokenizer.eos_token_id, rows):
        named = getattr(lm.model.generation_config, "eos_token_id", None)
        every = named if isinstance(named, list) else [named]
        known = [token for token in every if _within(token, rows) and tokenizer.convert_ids_to_tokens(token)]
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(known[0]) if known else None
    read = [*prompt_ids(lm, "?"), *response_ids(lm, "?", end=True)]
    if max(read) >= rows:
        raise ModelError(
            f"model {lm.name!r} has {rows} embeddings, but its tokenizer writes token {max(read)} "
            f"({tokenizer.convert_ids_to_tokens(max(read))!r}); take the tokenizer that belongs to these weights"
        )
    set_padding(f"model {lm.name!r}", tokenizer, rows, end_ids(lm))


def set_padding(name: str, tokenizer: Any, rows: int, ends: Sequence[int] = ()) -> None:
    """Pad with one of the ``rows`` embedded tokens: the tokenizer's own, its end of text, or one of ``ends``."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, *ends):
        if _within(token, rows):
            if token != tokenizer.pad_token_id:
                tokenizer.pad_token = tokenizer.convert_ids_to_tokens(token)
            return
    raise ModelError(f"{name} has no token to pad with among its {rows} embeddings")


def _within(token: int | None, rows: int) -> bool:
    return token is not None and token < rows

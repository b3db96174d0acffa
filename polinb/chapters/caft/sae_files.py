"""Reading public sparse autoencoders of the residual stream from safetensors files on disk."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polinb.errors import ParameterError
from polinb.models.checkpoints import file_sha256
from polinb.scoring.sae import NAMES, SAE

_POINTS = ("hook_name", "hook_point", "hookpoint", "hook_point_in")
_BLOCK = re.compile(r"(?:block|layer)s?[._-]?(\d+)|(?:^|\.)h\.(\d+)")
# What a block writes is hook_resid_post for SAELens and plain layers.12 for sparsify; places with other names in them
# are other points of the block, whose states have the same width.
_ELSEWHERE = re.compile(
    r"hook_(?!resid_post)\w+|resid[_-](?:pre|mid)|transcoders?|(?<![a-z])(?:mlp|attn|attention|att|self_attn|ln|embed)(?![a-z])"
)


def load(path: str | Path, width: int) -> SAE:
    """An autoencoder of the residual stream from a safetensors file, with the settings of a ``cfg.json`` beside it.

    Names as SAELens writes them (``W_enc, b_enc, W_dec, b_dec``, optionally ``threshold``) or as sparsify does
    (``encoder.weight, encoder.bias, W_dec, b_dec``).

    Args:
        width: the model's residual width, checked before anything is read.

    Raises:
        ParameterError: no such file, another width, missing tensors, or settings that are not supported.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file() or file.suffix != ".safetensors":
        raise ParameterError("sae", str(path), "an existing .safetensors file, or a folder with one for each block")
    try:
        with safe_open(file, "pt") as found:
            shapes = {name: tuple(found.get_slice(name).get_shape()) for name in found.keys()}  # noqa: SIM118
            names = _names(shapes, width)
            tensors = {name: found.get_tensor(own).float() for name, own in names.items()}
    except SafetensorError as error:
        raise ParameterError("sae", str(path), "a readable safetensors file", str(error)) from None
    if names["W_enc"] != "W_enc":
        tensors["W_enc"] = tensors["W_enc"].T.contiguous()
    given = _config(file)
    if _elsewhere(_point(given)):
        raise _wrong_point(_point(given))
    return SAE(**tensors, **_settings(given))


def _names(shapes: Mapping[str, tuple[int, ...]], width: int) -> dict[str, str]:
    """Part of an autoencoder → its name in a file with tensors of these shapes."""
    turned = "encoder.weight" in shapes
    names = {name: name for name in NAMES} | ({"W_enc": "encoder.weight", "b_enc": "encoder.bias"} if turned else {})
    missing = [name for name in NAMES if names[name] not in shapes]
    if missing:
        raise ParameterError("sae", sorted(shapes), f"tensors {', '.join(NAMES)}; there is no {missing[0]}")
    latents = shapes[names["b_enc"]][0]
    wanted = {"W_enc": (width, latents)[:: -1 if turned else 1], "W_dec": (latents, width), "b_dec": (width,)}
    for name, shape in wanted.items():
        if shapes[names[name]] != shape:
            told = f"{name} of shape {shapes[names[name]]}"
            raise ParameterError("sae", told, f"{shape}: this model's residual stream has {width} dimensions")
    return names | ({"threshold": "threshold"} if "threshold" in shapes else {})


def _config(file: Path) -> dict[str, Any]:
    """``cfg.json`` beside a file, what newer files call metadata included; empty where there is none."""
    path = file.with_name("cfg.json")
    try:
        given = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return {**given, **(given.get("metadata") or {})}
    except (ValueError, AttributeError, TypeError):
        raise ParameterError("sae", str(path), "a JSON object of settings") from None


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    scaling = given.get("normalize_activations", "none")
    strange = [name for name in ("transcode", "skip_connection", "rescale_acts_by_decoder_norm") if given.get(name)]
    if scaling not in (None, "none") or strange:
        told = f"cfg.json with {strange or ['normalize_activations']}"
        raise ParameterError("sae", told, "an autoencoder of unscaled states", "Fold the scaling into its weights")
    kinds = ("standard", "topk", "batchtopk", "jumprelu")
    if given.get("architecture", "standard") not in kinds:
        raise ParameterError("sae", given["architecture"], f"architecture {', '.join(kinds)}")
    k = given.get("k") if given.get("architecture", given.get("activation")) == "topk" else None
    return {"k": int(k) if k else None, "centre": bool(given.get("apply_b_dec_to_input", True))}


def _files(root: Path) -> list[Path]:
    return [root] if root.is_file() else sorted(root.rglob("*.safetensors"))


def _point(given: Mapping[str, Any]) -> str:
    """Where in a model the settings say that an autoencoder belongs; empty where they do not."""
    return next((str(given[name]) for name in _POINTS if given.get(name)), "")


def _elsewhere(point: str) -> bool:
    return not re.search(r"resid[_-]?post", point) and bool(_ELSEWHERE.search(point))


def _wrong_point(point: str) -> ParameterError:
    allowed = "autoencoders of what a block writes into the residual stream (hook_resid_post, or layers.N)"
    return ParameterError("sae", point, allowed, "hook_resid_pre of block n is the output of block n - 1")


def locate(place: str, blocks: Sequence[int]) -> dict[int, Path]:
    """Block → file of a public autoencoder: one file for one block, or a folder whose paths name blocks.

    A name such as ``blocks.12.hook_resid_post/sae_weights.safetensors``, ``layers.12/sae.safetensors`` or
    ``layer_12.safetensors`` belongs to block 12, counted from 0; a ``cfg.json`` beside it counts more than its name.
    Files of other points of a block (``hook_resid_pre``, ``mlp``) are passed over.

    Raises:
        ParameterError: nothing there, a block without a file or with several, or only files of other points.
    """
    root = Path(place).expanduser()
    if not (root.is_dir() or (root.is_file() and len(blocks) == 1)):
        allowed = "a folder with a .safetensors file for each block of caft_layers"
        raise ParameterError("sae", place, allowed if root.is_file() else f"an existing file, or {allowed}")
    start, other, found = root, "", defaultdict[int, list[Path]](list)
    if root.is_file():  # its folder may name the block
        start = root.parent.parent if _BLOCK.search(root.parent.name) else root.parent
    for file in _files(root):
        point = _point(_config(file)) or file.relative_to(start).as_posix()
        if _elsewhere(point):
            other = point
        elif told := _BLOCK.search(point):
            found[int(told[1] or told[2])].append(file)
        elif root.is_file():
            found[blocks[0]].append(file)
    for block in blocks:
        if other and block not in found:
            raise _wrong_point(other)
        if len(mine := found.get(block, [])) != 1:
            raise ParameterError("sae", f"{len(mine)} files for block {block}", f"one; found blocks {sorted(found)}")
    return {block: found[block][0] for block in blocks}


def file_digests(place: str) -> dict[str, str]:
    """Relative path → SHA-256 of every file that ``sae`` names: what determines a public autoencoder.

    Raises:
        ParameterError: nothing there.
    """
    root = Path(place).expanduser()
    files = _files(root)
    if not files:
        raise ParameterError("sae", place, "an existing .safetensors file, or a folder with some")
    files += [f for f in sorted({file.with_name("cfg.json") for file in files}) if f.is_file()]
    top = root.parent if root.is_file() else root
    return {file.relative_to(top).as_posix(): file_sha256(file) for file in files}

"""A sequence-classification model as a plain function: texts in, label probabilities out.

Safetensors only, no remote code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polinb.errors import ModelError, ParameterError
from polinb.models.checkpoints import check_folder
from polinb.progress import bar

_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


class SequenceClassifier:
    """A single-label classifier out of the Hugging Face hub or a local folder.

    Args:
        model: hub id (``owner/name``) or folder.
        revision: commit or branch on the hub; empty: ``main``.
        batch_size: texts a forward pass.
        max_tokens: longer inputs are cut; :attr:`truncated` counts them.
        device: ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:<n>``.

    Attributes:
        labels: label names by class index.
        truncated: inputs cut so far.

    Raises:
        ModelError: not found, not safetensors, or not a single-label classifier.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str = "",
        batch_size: int = 16,
        max_tokens: int = 512,
        device: str = "auto",
    ) -> None:
        for name, value in (("batch_size", batch_size), ("max_tokens", max_tokens)):
            if not isinstance(value, int) or value < 1:
                raise ParameterError(name, value, "a whole number of at least 1")
        if not isinstance(model, str) or not model.strip():
            raise ParameterError("model", model, "a hub id (owner/name) or a folder")
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        from polinb.models.loading import pick_device

        self.name, self.revision = model, revision
        self.batch_size, self.truncated = batch_size, 0
        target = pick_device(device)
        folder, self.commit = folder_of(model, revision)
        safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        try:
            config = AutoConfig.from_pretrained(folder, **safe)
            _check_head(model, config)
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
            loaded, notes = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **safe
            )
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"classifier {model!r} cannot be loaded: {error}") from error
        if notes["missing_keys"]:
            # transformers would fill them at random and only warn: labels out of nothing
            raise ModelError(f"classifier {model!r} lacks weights: {', '.join(sorted(notes['missing_keys'])[:3])}")
        self._model = loaded.to(target).eval()
        self.labels: list[str] = [str(config.id2label[i]) for i in range(config.num_labels)]
        self.max_tokens = min(max_tokens, room(self._tokenizer, config))

    def index(self, label: str | int, name: str = "label") -> int:
        """Class index of a label given by name or by index.

        Raises:
            ParameterError: the model has no such label; ``name`` is the parameter to blame.
        """
        if isinstance(label, int) or (label not in self.labels and str(label).isdecimal()):
            if 0 <= int(label) < len(self.labels):
                return int(label)
        elif label in self.labels:
            return self.labels.index(label)
        raise ParameterError(name, label, f"labels of {self.name}: {', '.join(self.labels)}")

    def probabilities(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, label: str = ""
    ) -> NDArray[np.float64]:
        """Softmax probabilities, shape (texts, labels), in the order of ``texts``.

        Args:
            pairs: second segment of each text, as in premise and hypothesis.
            label: name of the progress bar.
        """
        import torch

        second = [None] * len(texts) if pairs is None else list(pairs)
        if len(second) != len(texts):
            raise ParameterError("pairs", len(second), f"as many as texts ({len(texts)})")
        sizes = [len(text) + len(other or "") for text, other in zip(texts, second, strict=True)]
        order = sorted(range(len(texts)), key=lambda i: (-sizes[i], i))
        out = np.empty((len(texts), len(self.labels)))
        with torch.inference_mode(), bar(len(texts), label or self.name) as progress:
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                inputs = self._encode([texts[i] for i in rows], [second[i] for i in rows])
                logits = self._model(**inputs).logits.float()
                out[rows] = torch.softmax(logits, dim=-1).cpu().numpy()
                progress.update(len(rows))
        if not np.isfinite(out).all():
            raise ModelError(f"classifier {self.name!r} gave probabilities that are not finite")
        return out

    def _encode(self, texts: list[str], pairs: list[str | None]) -> Any:
        both = {"text": texts} if pairs[0] is None else {"text": texts, "text_pair": pairs}
        whole = self._tokenizer(**both).input_ids
        self.truncated += sum(len(ids) > self.max_tokens for ids in whole)
        inputs = self._tokenizer(**both, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt")
        return inputs.to(self._model.device)


def folder_of(model: str, revision: str) -> tuple[str, str]:
    """Local folder and commit of a classifier; fetches JSON, vocabulary and safetensors files only."""
    given = Path(model).expanduser()
    if given.is_dir():
        folder, commit = given, ""
    elif model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ModelError(f"classifier {model!r}: no such folder, and not a hub id (owner/name)")
    else:
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(model, revision=revision or None, allow_patterns=_FILES))
        except Exception as error:  # network, gated or missing: the hub's own classes differ by version
            first = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"classifier {model!r} cannot be fetched ({type(error).__name__}: {first}). "
                "Check the name and the network, or give a local folder"
            ) from error
        commit = folder.name
    if not (folder / "config.json").is_file():
        raise ModelError(f"classifier {model!r}: no config.json in its folder")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"classifier {model!r} has no safetensors weights, and pickled ones are never loaded. "
            "Take a revision that has them, or convert it once and give the folder"
        )
    check_folder(folder)
    return str(folder), commit


def _check_head(model: str, config: Any) -> None:
    heads = config.architectures or []
    if heads and not any("SequenceClassification" in head for head in heads):
        raise ModelError(f"classifier {model!r} is a {heads[0]}, not a sequence classifier")
    if config.num_labels < 2 or config.problem_type not in (None, "single_label_classification"):
        raise ModelError(f"classifier {model!r} must give one of at least two labels a text")


def room(tokenizer: Any, config: Any) -> int:
    """Tokens that fit: the tokenizer's limit, else the model's positions (RoBERTa keeps two of them back)."""
    if tokenizer.model_max_length < 1_000_000:
        return int(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return 1_000_000
    offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET else 0
    return int(positions) - offset


_OFFSET = frozenset({"roberta", "xlm-roberta", "camembert", "longformer"})

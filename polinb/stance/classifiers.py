"""Classifiers of texts: one that is fitted here and needs no download, and any sequence classifier of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polinb.errors import ModelError, ParameterError
from polinb.models.aliases import commit_of
from polinb.models.checkpoints import check_complete, instead
from polinb.models.loading import folder_digest, pick_device, set_padding, why_not
from polinb.progress import bar
from polinb.resampling import Floats

# --- TF-IDF, then logistic regression

_SPACELESS = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"  # kana, Chinese characters
)
WORDS = rf"[{_SPACELESS}]|(?:(?![{_SPACELESS}])\w){{2,}}"
"""What counts as a word: two letters or more; one letter where a language writes no spaces between words."""

STRENGTH = 30.0
"""Inverse regularisation C of the regression."""


def fitted(
    texts: Sequence[str],
    labels: Sequence[Any] | Floats,
    *,
    weights: Floats | None = None,
    letters: bool = False,
    balanced: bool = False,
) -> Any:
    """A fitted pipeline on words and word pairs.

    Args:
        texts, labels: (n,) each.
        weights: (n,) of the texts; ``None``: all alike.
        letters: groups of three to five letters as well, and only the 200 000 most frequent n-grams of each kind.
        balanced: the classes weigh the same, however many texts they have.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    how = {"sublinear_tf": True, "max_features": 200_000 if letters else None}
    words = TfidfVectorizer(token_pattern=WORDS, ngram_range=(1, 2), **how)
    groups = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **how)
    regression = LogisticRegression(C=STRENGTH, max_iter=2000, class_weight="balanced" if balanced else None)
    model = make_pipeline(make_union(words, groups) if letters else words, regression)
    return model.fit(list(texts), labels, logisticregression__sample_weight=weights)


def probability(model: Any, texts: Sequence[str], label: Any) -> Floats:
    """P(``label``) of each text, (n,); NaN for one without a single word (or group of letters) that is known."""
    if not len(texts):
        return np.empty(0)
    found = model[0].transform(list(texts))
    chances = model[1].predict_proba(found)[:, list(model.classes_).index(label)]
    return np.where(found.getnnz(axis=1) > 0, chances, np.nan)


# --- of others: safetensors only, no remote code

_BATCH = 16  # texts a forward pass
_MOST = 512  # tokens; longer inputs are cut


class SequenceClassifier:
    """A sequence-classification model: texts in, label probabilities out.

    Args:
        model: hub id (``owner/name``) or folder.
        revision: commit or branch on the hub; empty: ``main``.
        several: labels that may hold at once are allowed: each then has a probability of its own.

    Attributes:
        labels: label names by class index.
        identity: what determines the weights (:func:`identity_of`).
        commit: of a model of the hub; empty for a folder.

    Raises:
        ModelError: not found, not safetensors, weights missing, not a classifier, or no token to pad with.
    """

    def __init__(self, model: str, *, revision: str = "", device: str = "auto", several: bool = False) -> None:
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline

        self.name, self.identity = model, identity_of(model, revision)
        self.commit = self.identity.get("commit", "")
        place = model if self.commit else str(Path(model).expanduser())
        safe: dict[str, Any] = {"trust_remote_code": False, "revision": self.commit or None}
        try:
            config = AutoConfig.from_pretrained(place, **safe)
            heads = config.architectures or []
            if heads and not any("SequenceClassification" in head for head in heads):
                raise ModelError(f"classifier {model!r} is a {heads[0]}, not a sequence classifier")
            kinds = (None, "single_label_classification", *(["multi_label_classification"] if several else []))
            if config.num_labels < 2 or config.problem_type not in kinds:
                raise ModelError(f"classifier {model!r} must give one of at least two labels a text")
            tokenizer = AutoTokenizer.from_pretrained(place, **safe)
            loaded, notes = AutoModelForSequenceClassification.from_pretrained(
                place, use_safetensors=True, output_loading_info=True, **safe
            )
        except (ModelError, MemoryError):
            raise
        except Exception as error:  # settings that no code expects end anywhere in transformers and what it uses
            raise ModelError(f"classifier {model!r} cannot be loaded: {why_not(error)}") from error
        check_complete(model, {**notes, "unexpected_keys": ()})  # other heads in the file are no loss
        set_padding(f"classifier {model!r}", tokenizer, loaded.get_input_embeddings().num_embeddings)
        loaded.config.pad_token_id = tokenizer.pad_token_id
        self.labels: list[str] = [str(config.id2label[i]) for i in range(config.num_labels)]
        if len(set(self.labels)) < len(self.labels):
            raise ModelError(f"classifier {model!r} gives two of its labels one name: {', '.join(self.labels)}")
        self._pipeline = pipeline(
            "text-classification", model=loaded.eval(), tokenizer=tokenizer, device=pick_device(device), top_k=None,
            batch_size=_BATCH, padding=True, truncation=True, max_length=min(_MOST, _room(tokenizer, config)),
            split_special_tokens=True,  # marks in an answer, such as </s>, are letters
        )  # fmt: skip

    def index(self, *names: str | int, parameter: str, hint: str = "") -> int:
        """Class index of the first of ``names`` that is a label, in any letter case, or the number of one.

        Raises:
            ParameterError: none is; names ``parameter``.
        """
        known = {str(i): i for i in range(len(self.labels))} | {x.lower(): i for i, x in enumerate(self.labels)}
        found = [known[str(name).lower()] for name in names if str(name).lower() in known]
        if not found:
            asked = " or ".join(map(str, names))
            raise ParameterError(parameter, asked, f"labels of {self.name}: {', '.join(self.labels)}", hint)
        return found[0]

    def probabilities(self, texts: Sequence[str], first: Sequence[str] | None = None) -> Floats:
        """Probabilities, shape (texts, labels), in the order of ``texts``; NaN for an empty text.

        Args:
            first: a segment before each text, as the premise of a hypothesis.

        Raises:
            ModelError: one of them is not finite.
        """
        inputs = [
            {"text": text} if first is None else {"text": first[i], "text_pair": text} for i, text in enumerate(texts)
        ]
        full = [i for i, text in enumerate(texts) if text.strip()]
        order = sorted(full, key=lambda i: -sum(map(len, inputs[i].values())))
        out = np.full((len(texts), len(self.labels)), np.nan)
        with bar(len(order), self.name) as progress:
            for i, scores in zip(order, self._pipeline(inputs[i] for i in order), strict=True):
                score = {each["label"]: each["score"] for each in scores}
                out[i] = [score[label] for label in self.labels]
                progress.update()
        if not np.isfinite(out[full]).all():
            raise ModelError(f"classifier {self.name!r} gave probabilities that are not finite")
        return out


def identity_of(model: str, revision: str = "") -> dict[str, str]:
    """What determines a classifier's weights, without loading them: files' digest of a folder, commit on the hub.

    Raises:
        ModelError: neither a folder with safetensors nor a model of the hub that can be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return {"sha256": folder_digest(folder)}
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        hint = instead(folder)
        raise ModelError(f"classifier {model!r}: no such folder, and not a hub id (owner/name). {hint}".strip())
    return {"model": model, "commit": commit_of(model, revision)}


def _room(tokenizer: Any, config: Any) -> int:
    """Tokens that fit: the tokenizer's limit, else the model's positions (RoBERTa keeps two of them back)."""
    if tokenizer.model_max_length < 1_000_000:
        return int(tokenizer.model_max_length)
    kept_back = config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer")
    positions = getattr(config, "max_position_embeddings", None) or 1_000_000
    return int(positions) - ((config.pad_token_id or 0) + 1 if kept_back else 0)

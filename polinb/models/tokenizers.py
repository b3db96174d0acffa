"""What a tokenizer must have before a text is read: one template, an end, and a padding token with an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polinb.errors import ModelError
from polinb.models.tokens import end_ids, prompt_ids, response_ids

if TYPE_CHECKING:
    from polinb.models.lm import LM

NO_FAST = (
    "it has no tokenizer.json, and other files (tokenizer.model) are read only where sentencepiece or tiktoken is "
    "installed; there, AutoTokenizer.from_pretrained(…).save_pretrained(…) writes one: put it beside the weights"
)


def needs_conversion(error: BaseException) -> bool:
    """Whether loading a tokenizer failed for want of ``tokenizer.json``."""
    words = str(error).lower()
    return any(each in words for each in ("sentencepiece", "tiktoken", "backend tokenizer"))


def prepare(lm: LM) -> None:
    """Settle what a model's files leave open; in place.

    Raises:
        ModelError: several named templates and none that is the default, nothing that ends an answer, or a template
            that writes tokens without an embedding.
    """
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
    """A padding token that has an embedding: the tokenizer's own, else its end of text, else one of ``ends``.

    Args:
        name: how a message calls the model.
        rows: number of embeddings.

    Raises:
        ModelError: there is none.
    """
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, *ends):
        if _within(token, rows):
            if token != tokenizer.pad_token_id:
                tokenizer.pad_token = tokenizer.convert_ids_to_tokens(token)
            return
    raise ModelError(f"{name} has no token to pad with among its {rows} embeddings")


def _within(token: int | None, rows: int) -> bool:
    return token is not None and token < rows

"""What a run of the live lab must compute first, and about how long that takes: told before it starts."""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polinb.models.aliases import ALIASES, EMBEDDED
from polinb.runs.artifacts import META, Artifact, Store, key_of

if TYPE_CHECKING:
    from polinb.lab.request import Request
    from polinb.runs.run import Run

# For a first guess only: operations a second and bytes read a second, of two processor cores and of one GPU.
_CPU, _GPU = (1e11, 8e9), (5e12, 5e11)


@dataclass(frozen=True)
class Need:
    """Something that must be computed or fetched before a run can start.

    Attributes:
        what: for people.
        seconds: about how long it takes; None: unknown.
        measured: whether that comes from the median of what this store has seen, and is not a rough guess.
    """

    what: str
    seconds: float | None
    measured: bool

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.what}; how long that takes is not known"
        about = f"about {self.seconds / 60:.0f} min" if self.seconds >= 90 else f"about {max(self.seconds, 1):.0f} s"
        return f"{self.what}; {about} ({'as measured before' if self.measured else 'a rough guess'})"


class _MissingError(Exception):
    """The store does not hold it."""


class _Peek(Store):
    """A store that only says whether an artifact is there: nothing is made, and no digest is computed."""

    def get(self, kind: str, inputs: Mapping[str, Any], make: Callable[[Path], Any]) -> Artifact:
        path = self.path(kind, key_of(inputs))
        if not path.exists():
            raise _MissingError
        return Artifact(path, {})


def missing(exp: Run, request: Request) -> list[Need]:
    """What is not there yet, in the order in which the run will make it."""
    needs = []
    if not at_hand(exp.params.model, exp.params.revision):
        needs.append(Need(f"the model {exp.params.model}: downloaded from the Hugging Face hub", None, False))
    if request.kind == "none":
        return needs
    _ = exp.data, exp.identity  # cached on the run itself, so that its copy below need not make them again
    peek = copy.copy(exp)
    peek.store = _Peek(exp.store.root)
    variants: list[tuple[str, str]] = []
    scores: list[str] = []
    if request.neurons != "own":
        scores = [topic for topic in exp.params.topics if not _there(peek.scores, topic)]
        variants = [(topic, leaning) for topic in scores for leaning in ("left", "right")]
    if request.kind == "patch":
        variants.append((request.donor_topic, request.donor))
    variants = [each for each in dict.fromkeys(variants) if not _there(peek.variant, *each)]
    past, unknown = _past(exp), bool(needs)  # a model that is not here cannot be measured
    for kind, names in (("variant", [f"{t} {side}" for t, side in variants]), ("scores", scores)):
        if not names:
            continue
        title = "fine-tuning variants" if kind == "variant" else "PNLAC scores"
        each = statistics.median(past[kind]) if past[kind] else None if unknown else _guess(exp, kind)
        seconds = None if each is None else each * len(names)
        needs.append(Need(f"{title} ({', '.join(names)})", seconds, bool(past[kind])))
    return needs


def at_hand(model: str, revision: str = "") -> bool:
    """Whether a model can be loaded without the network."""
    from huggingface_hub import try_to_load_from_cache

    if model == EMBEDDED or model.startswith("tiny:") or Path(model).expanduser().is_dir():
        return True
    name, pinned = ALIASES.get(model, (model, "main"))
    if name.count("/") != 1:
        return True  # no hub id: loading it says what is wrong
    files = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(name, file, revision=revision or pinned), str) for file in files)


def _there(stage: Callable[..., Artifact], *names: str) -> bool:
    try:
        stage(*names)
    except _MissingError:
        return False
    return True


def _past(exp: Run) -> dict[str, list[float]]:
    """Seconds that variants and scores of this model and of these sizes took, as the store remembers."""
    p = exp.params
    found: dict[str, list[float]] = {"variant": [], "scores": []}
    ours = set()
    for meta in _metas(exp.store.root / "variant"):
        inputs = meta["inputs"]
        same = (inputs.get("model"), inputs.get("examples"), inputs.get("max_tokens"))
        if same == (exp.identity, p.train_examples, p.max_tokens):
            ours.add(meta["key"])
            found["variant"].append(float(meta["provenance"]["seconds"]))
    for meta in _metas(exp.store.root / "scores"):
        inputs = meta["inputs"]
        sizes = (inputs.get("prompts"), inputs.get("tokens"))
        if inputs.get("left") in ours and sizes == (p.localise_prompts, p.localise_tokens):
            found["scores"].append(float(meta["provenance"]["seconds"]))
    return found


def _metas(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob(f"[!.]*/{META}")):
        try:
            meta = json.loads(path.read_text("utf-8"))
            meta["inputs"], meta["key"], meta["provenance"]["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append(meta)
    return found


def _guess(exp: Run, kind: str) -> float:
    """Seconds of one variant or one topic's scores, from the numbers of weights and tokens. Loads the model."""
    p = exp.params
    weights = sum(each.numel() for each in exp.lm.model.parameters())
    operations, memory = _CPU if exp.lm.device.type == "cpu" else _GPU
    pairs = exp.data.topic(p.topics[0], "train", p.train_examples, leaning="both")
    if kind == "variant":
        return 6 * weights * len(pairs) * p.epochs * p.max_tokens / operations + 1
    sources = 2 if p.response_source in ("both", "dataset") else 1
    texts = sources * min(p.localise_prompts, len(pairs))
    reading = 3 * 2 * weights * texts * p.max_tokens / operations
    return reading + sources * p.localise_tokens * 4 * weights / memory + 1

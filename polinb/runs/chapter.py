"""What every chapter does first: read its parameters, refuse wrong ones, and say which run this is."""

from __future__ import annotations

import os
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polinb.runs.params import chapter_class, from_namespace, profile_values
from polinb.wording import Prose, flowing, placeless, typeset

if TYPE_CHECKING:
    from polinb.runs.run import Run

SELDOM_TURNED = "Seldom turned, and accepted too:"


def begin(chapter: str, namespace: dict[str, Any]) -> Run:
    """Check a notebook's parameters and prepare its run; nothing heavy happens here.

    Args:
        chapter: name of the notebook, a key of :data:`polinb.runs.params.CHAPTERS`.
        namespace: ``globals()``, after the parameters cell.

    Raises:
        ParameterError: an unknown name or a value that is not allowed.
        JudgeError: the openai judge has no key, or cannot use the proxy or certificates of the environment.
    """
    params = from_namespace(chapter, namespace)
    quiet()
    from polinb.runs.run import Run

    if "openai" in (getattr(params, "judge", ""), getattr(params, "narrow_judge", "")):
        from polinb.stance.chat_judge import OpenAIJudge

        OpenAIJudge(base_url=params.judge_url)  # no key, no way through a proxy: now, not after hours
    return Run(params)


def quiet() -> None:
    """Keep other packages' notices out of the chapters."""
    calm = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    calm |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    os.environ.update(calm | os.environ)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|trl|datasets")


def facts(run: Run) -> Prose:
    """A note on the run behind a chapter's numbers: profile, model, data, sizes, memory, what may not be concluded."""
    from polinb.runs.memory import peak, size

    p = run.params
    warning = {
        "tiny": "A **randomly initialised** model: the numbers only prove that the machinery runs.",
        "quick": "A **quick run**: few examples and questions. Its numbers show effects, they do not settle them.",
    }.get(p.profile, "")
    told = {
        "model": "model `{model}`",
        "data": "data `{data}` (label filter `{label_filter}`)",
        "judge": "judge `{judge}`",
        "seed": "seed {seed}",
        "train_examples": "at most {train_examples} training examples per topic, epochs {epochs:g}, learning rate "
        "{learning_rate:g}",
        "eval_questions": "{eval_questions} questions per topic, answers of at most {eval_tokens} tokens",
        "gamma": "γ = {gamma:g} %",
    }
    known = {name: placeless(value) if isinstance(value, str) else value for name, value in p.model_dump().items()}
    parts = [text.format(**known) for name, text in told.items() if name in known]
    stages = {
        "fine-tuning": ("train", "train"),
        "scoring": ("localise_tokens", "score"),
        "asking": ("eval_tokens", "ask"),
        "patching": ("patch_questions", "patch"),
    }
    takes = {name: peak(p, stage) for name, (parameter, stage) in stages.items() if parameter in known}
    needs = ", ".join(f"{name} {size(taken)}" for name, taken in takes.items() if taken)
    lines = [
        f"Profile `{p.profile}`, {', '.join(parts)}.",
        "Intervals are 95 % and over questions; unless a table says so they do not cover another seed of the training."
        if "eval_questions" in known
        else "",
        needs and f"Memory, estimated from the model's configuration: {needs}.",
        warning,
    ]
    return Prose("\n\n".join(typeset(x) for x in lines if x), "This run")


def say(text: str) -> Prose:
    """Prose whose numbers come from the results of this run, printed as :func:`polinb.wording.typeset` does."""
    return Prose(typeset(flowing(text)))


def parameters_source(chapter: str) -> str:
    """Source of a chapter's parameters cell; written by ``python -m book._make sync``."""
    lines = ["# Parameters. None takes the value of the profile; every name is checked in the next cell."]
    values, seldom = profile_values("quick") | {"profile": "quick"}, []
    for name, field in chapter_class(chapter).model_fields.items():
        given = '"quick"' if name == "profile" else "None"
        if field.json_schema_extra:
            seldom.append(name)
        else:
            lines.append(f"{name} = {given}  # type: {type(values[name]).__name__}  {field.description}")
    if seldom:
        lines += textwrap.wrap(f"{SELDOM_TURNED} {', '.join(seldom)}", 118, initial_indent="# ", subsequent_indent="# ")
    return "\n".join(lines)


def sync(folder: Path) -> list[str]:
    """Rewrite the parameters cell of every chapter in ``folder``; returns the names of those that changed."""
    import nbformat

    changed = []
    for path in sorted(folder.glob("*.ipynb")):
        book = nbformat.read(path, 4)
        cell = next(each for each in book.cells if "parameters" in each.metadata.get("tags", []))
        if cell.source != (source := parameters_source(path.stem)):
            cell.source = source
            nbformat.write(book, path)
            changed.append(path.name)
    return changed

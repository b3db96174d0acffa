"""The parameters of a run and of a chapter: groups put together, with the values of a profile.

A chapter's parameters are those of the groups it uses (:data:`CHAPTERS`); unknown names and wrong values are refused
before any model is loaded.
"""

from __future__ import annotations

import ast
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any, TypeVar, get_origin

from pydantic import ValidationError, create_model

from polinb.data.rows import TOPICS
from polinb.errors import ParameterError
from polinb.runs import groups as g
from polinb.secrets import refuse
from polinb.stance.service import address

PROFILES = ("tiny", "quick", "full", "paper")
Kind = TypeVar("Kind", bound=g.Group)


class Params(
    g.Profile, g.Model, g.Data, g.Train, g.Sets, g.Ask, g.Statements, g.Judge, g.Utility, g.Truth, g.Baselines, g.Dpo,
    g.Toxicity, g.Directions, g.Caft, g.Cues, g.Narrow, g.Cards, g.Single,
):  # fmt: skip
    """Every parameter there is: what the lab, the workflow and the reference run choose from."""

    @classmethod
    def from_profile(cls, profile: str = "quick", **overrides: Any) -> Params:
        """Parameters of ``profile`` with ``overrides`` on top; ``None`` means: the profile's value.

        Raises:
            ParameterError: unknown profile, unknown name or a value that is not allowed.
        """
        return chosen(cls, profile, overrides)


RUN = (g.Profile, g.Model)
ASKED = (*RUN, g.Data, "topics", "max_tokens", "eval_batch")
TUNED = (*RUN, g.Train, "max_tokens", "eval_batch")
TRAINED = (*RUN, g.Data, "topics", g.Train, "max_tokens")
SCORED = (*TRAINED, g.Sets, "eval_batch")
JUDGED = (g.Ask, "likelihood_questions", g.Judge, "bootstrap")
FROZEN = ("freeze", "controls", "control_seeds")
INHIBITED = (*SCORED, *JUDGED, g.Statements, *FROZEN, g.Utility)
PATCHED = ("patch", "patch_questions", "donor")
CHAPTERS: dict[str, tuple[type[g.Group] | str, ...]] = {
    "01_phenomenon": (*TRAINED, "eval_batch", *JUDGED),
    "02_data": (*ASKED, *JUDGED, g.Statements),
    "03_pnlac": SCORED,
    "04_distribution": SCORED,
    "05_vanilla_stance": (*ASKED, *JUDGED, g.Statements),
    "06_patching": (*SCORED, *JUDGED, g.Statements, *PATCHED, "patch_statements", "control_seeds"),
    "07_inhibitft": INHIBITED,
    "08_gamma": (*INHIBITED, "gammas", "ablation_topics"),
    "09_paper_beside_ours": (*INHIBITED, "gammas", "ablation_topics", *PATCHED),
    "10_known_truth": (g.Profile, "bootstrap", g.Truth, "ablation_topics"),
    "11_hard_controls": (*SCORED, *JUDGED, "freeze", g.Baselines, "graft_questions"),
    "12_where_the_shift_lives": (*SCORED, *JUDGED, "patch", g.Dpo, "group_questions"),
    "13_toxicity": (*TUNED, "bootstrap", "patch", g.Dpo, g.Toxicity),
    "14_caft": (*SCORED, *JUDGED, "freeze", "control_seeds", g.Baselines, g.Directions, g.Caft),
    "15_spurious_cue": (*TUNED, "bootstrap", g.Directions, g.Cues),
    "16_emergent_misalignment": (*TUNED, g.Judge, "bootstrap", g.Directions, g.Narrow),
    "17_neuron_explorer": (*SCORED, g.Ask, "bootstrap", "gammas", g.Cards),
    "18_responses": (*SCORED, *JUDGED, *FROZEN, "patch", "patch_questions", "browse_questions"),
    "19_what_moved": (*TRAINED, "eval_batch", *JUDGED, g.Statements),
    "20_paper_recipe": (*SCORED, *JUDGED, g.Statements, "freeze", "ablation_topics"),
}
"""What each chapter may turn, groups and single parameters, in the order of its parameters cell."""


@cache
def chapter_class(chapter: str) -> type[g.Group]:
    """The parameters of a chapter and no others.

    Raises:
        ParameterError: there is no such chapter.
    """
    if chapter not in CHAPTERS:
        raise ParameterError("chapter", chapter, ", ".join(CHAPTERS))
    names = [n for part in CHAPTERS[chapter] for n in ([part] if isinstance(part, str) else part.model_fields)]
    known = {name: Params.model_fields[name] for name in names}
    parameters: Any = {name: (field.annotation, field) for name, field in known.items()}
    return create_model(f"Params of {chapter}", __base__=g.Group, **parameters)


def chosen(kind: type[Kind], profile: Any, overrides: Mapping[str, Any]) -> Kind:
    """Values of ``kind``'s parameters, as :meth:`Params.from_profile` chooses and refuses them."""
    known = kind.model_fields
    refuse({"profile": profile, **overrides}, Params.model_fields)
    if profile not in PROFILES:
        raise ParameterError("profile", profile, ", ".join(PROFILES))
    for name in sorted(set(overrides) - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        if name in Params.model_fields:
            hint = f"This chapter does not use it; these do: {', '.join(users(name))}"
        raise ParameterError(name, overrides[name], "no parameter has this name", hint)
    values = profile_values(profile) | {k: v for k, v in overrides.items() if v is not None} | {"profile": profile}
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k in known}
    topics, following = values.get("topics"), {"ablation_topics", "baseline_topics"} & values.keys() - overrides.keys()
    for name in following:
        if isinstance(topics, list):  # the profile's, as far as they are this run's; else as many of this run's
            values[name] = [t for t in values[name] if t in topics] or topics[: len(values[name])]
    for name, value in values.items():
        _check_plain(name, value)
    try:
        params = kind.model_validate(values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda each: each["loc"][0] in following)
        name = str(first["loc"][0])
        allowed = first["msg"].replace("Input should be ", "").removeprefix("Value error, ")
        raise ParameterError(name, values[name], allowed, _other_way(name, values[name])) from None
    _check_together(params)
    return params


def _other_way(name: str, value: Any) -> str:
    """How to give what came as text or as a number: papermill's -p guesses."""
    kind = Params.model_fields[name].annotation
    if get_origin(kind) is list and isinstance(value, str):
        return f"With papermill: -y '{name}: [a, b]'"
    return f"With papermill: -r {name} {value}" if isinstance(value, int | float) and kind is str else ""


def users(name: str) -> list[str]:
    """Chapters that declare a parameter."""
    return [chapter for chapter in CHAPTERS if name in chapter_class(chapter).model_fields]


_AT_MOST = {
    "patch_questions": "eval_questions", "graft_questions": "eval_questions", "caft_keep": "caft_components",
    "sae_k": "sae_latents",
}  # fmt: skip


def _check_together(p: Any) -> None:
    """Choices that cannot go together."""

    def has(*names: str) -> bool:
        return all(name in type(p).model_fields for name in names)

    if has("topics") and len(set(p.topics)) != len(p.topics):
        raise ParameterError("topics", p.topics, "each topic once")
    if has("train"):
        from polinb.training.trainer import check_batches

        check_batches(p.batch_size, p.micro_batch, p.processes)
        if p.dtype in ("bfloat16", "float16") and p.train != "lora":
            why = "AdamW steps of this size vanish in half-precision weights"
            raise ParameterError("dtype", p.dtype, "float32 (or auto) unless train=lora", why)
    if has("judge"):
        _check_judge(p)
    if has("data", "topics") and p.data in ("bundled", "ideoinst") and set(p.topics) - set(TOPICS):
        raise ParameterError("topics", p.topics, f"topics of the data {p.data!r}: {', '.join(TOPICS)}")
    for name in ("ablation_topics", "baseline_topics"):
        if has(name, "topics") and any(t not in p.topics for t in getattr(p, name)):
            raise ParameterError(name, getattr(p, name), f"topics of this run: {p.topics}")
    for name, most in _AT_MOST.items():
        if has(name, most) and getattr(p, name) > getattr(p, most) and not (name == "sae_k" and p.sae):
            raise ParameterError(name, getattr(p, name), f"at most {most} ({getattr(p, most)})")
    if has("device_map") and p.device_map == "auto":
        if p.device == "mps":
            raise ParameterError("device", p.device, "cuda, cpu or auto when device_map=auto spreads the model")
        if has("patch") and p.patch == "mean":
            raise ParameterError("patch", p.patch, "lockstep or recorded when device_map=auto spreads the model")


def _check_judge(p: g.Judge) -> None:
    if any(each.rpartition(":")[2] not in ("left", "right", "other") for each in p.judge_labels):
        allowed = "texts like LABEL_0:left, LABEL_1:right and LABEL_2:other"
        raise ParameterError("judge_labels", p.judge_labels, allowed)
    if p.judge_url:
        address(p.judge_url)
    if p.judge == "hf" and not p.judge_model:
        raise ParameterError("judge_model", "", "a sequence-classification model: a hub id or a folder")
    if p.judge == "openai" and p.judge_margin:
        raise ParameterError("judge_margin", p.judge_margin, "0 for the openai judge, which gives labels only")
    if p.judge != "openai" and p.judge_sees != "answer":
        raise ParameterError("judge_sees", p.judge_sees, "answer, but for the openai judge: others read text alone")


def profile_values(profile: str) -> dict[str, Any]:
    """The defaults of ``profile``: the common ones, then its own on top."""
    folder = resources.files("polinb") / "resources" / "profiles"
    common = tomllib.loads((folder / "common.toml").read_text("utf-8"))
    return common | tomllib.loads((folder / f"{profile}.toml").read_text("utf-8"))


def from_namespace(chapter: str, namespace: dict[str, Any]) -> Any:
    """Parameters of a chapter out of its notebook's global names, after the parameters cell.

    Papermill accepts unknown names silently: here every public name that is no parameter is refused, but for a slip
    that is no longer in the text of its cell (one that begins with ``# Parameters``). Once they were accepted the
    chapter makes names of its own: a second run of the check looks at parameters and at what these cells set.
    """
    kind, known = chapter_class(chapter), Params.model_fields.keys()
    public = {name: value for name, value in namespace.items() if not name.startswith("_") and name not in _IPYTHON}
    names = {name for name, value in public.items() if name in known or type(value).__name__ not in _MACHINERY}
    cells = [source.strip() for source in namespace.get("In", []) if source.strip().startswith("# Parameters")]
    now = _assigned({source.splitlines()[0]: source for source in cells}.values())  # the last text of each cell
    names = names & {*kind.model_fields, *now} if _ACCEPTED in namespace else names - (_assigned(cells) - now - known)
    given = {name: namespace[name] for name in sorted(names)}
    profile = given.pop("profile", None)
    params = chosen(kind, "quick" if profile is None else profile, given)
    namespace[_ACCEPTED] = True
    return params


_ACCEPTED = "_polinb_parameters"
_IPYTHON = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})
_MACHINERY = frozenset({"module", "function", "type", "builtin_function_or_method"})


def _assigned(sources: Iterable[str]) -> set[str]:
    """Names that pieces of code set."""
    nodes: list[ast.AST] = []
    for source in sources:
        with suppress(SyntaxError):  # it never ran
            nodes += ast.walk(ast.parse(source))
    return {each.id for each in nodes if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


_UNFIT = re.compile("[\\0\\ud800-\\udfff]")
_FREE = frozenset({"system_prompt", "statement_prefix", "statement_suffix"})


def _check_plain(name: str, value: Any) -> None:
    """Refuse what no file, hash or table can hold: NUL, lone surrogates, lines in a name, numbers beyond 32 bits."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and _UNFIT.search(each):
            raise ParameterError(name, value, "text that UTF-8 can hold, without NUL")
        if isinstance(each, str) and name not in _FREE and "\n" in each:
            raise ParameterError(name, value, "one line of text")
        if isinstance(each, str) and max(len(part.encode()) for part in each.split("/")) > 255 and name not in _FREE:
            raise ParameterError(name, value, "a name that a file system can have (255 bytes a part)")
        if isinstance(each, int) and abs(each) > 2**31 - 1:
            raise ParameterError(name, value, "whole numbers up to 2147483647")

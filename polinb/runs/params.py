"""The typed parameters of a run. One flat list, shared by every notebook, the command line and the workflow.

A parameter left at ``None`` takes the value of its profile (``resources/profiles/*.toml``). Unknown names and wrong
values are refused before any model is loaded.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polinb.errors import ParameterError
from polinb.secrets import refuse

PROFILES = ("tiny", "quick", "full", "paper")
TopicName = Literal["crime", "race", "economy", "immigration", "gender", "science"]
Control = Literal["uniform", "layer", "next_highest", "heldout"]
CaftArm = Literal["pca", "sae", "random", "top", "half", "inhibit"]


class Params(BaseModel):
    """Every choice that can change a number. Units are in the description of each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    profile: Literal["tiny", "quick", "full", "paper"] = Field(
        description="Named set of defaults: tiny (random model, tests), quick, full, paper"
    )
    # model
    model: str = Field(min_length=1, description="Alias, Hugging Face id, local folder, or tiny:<architecture>")
    revision: str = Field(description="Revision of the model on the hub; empty: the alias's pinned one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(description="Number format of the weights")
    device: str = Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:<n>")
    device_map: Literal["none", "auto"] = Field(
        description="auto spreads a model over all cards to trace and ask it; none: one device"
    )
    system_prompt: str | Literal[False] = Field(
        description="System turn of the chat template; empty text: an empty turn; False: the template's own"
    )
    # data
    data: str = Field(min_length=1, description="bundled, ideoinst, a folder, a file, or hub:owner/name")
    data_revision: str = Field(description="Commit of ideoinst or hub: data; empty: the pinned one")
    label_filter: Literal["none", "agree"] = Field(
        description="agree keeps only prompts whose two responses both have the label of their side"
    )
    answer_template: Literal["question", "appendix_a4"] = Field(
        description="The question itself, or the prompt of the paper's Appendix A.4"
    )
    statements: list[str] = Field(description="Statement sets: compass, ideologies, or files")
    statement_prefix: str = Field(description="Text before a statement, so that it reads like a question")
    statement_suffix: str = Field(description="Text after a statement, so that it reads like a question")
    statement_limit: int = Field(ge=2, description="Statements used of each set (fewer if it has fewer)")
    topics: list[TopicName] = Field(min_length=2, description="Topics, at least two")
    seed: int = Field(ge=0, le=2**31 - 1, description="Seed of everything random")
    # supervised fine-tuning
    train_examples: int = Field(ge=1, description="Training prompts a topic (fewer if the data has fewer)")
    epochs: float = Field(gt=0, le=1000, description="Passes over the training examples (paper: 6)")
    batch_size: int = Field(ge=1, le=4096, description="Examples an optimiser step (paper: 8)")
    micro_batch: int = Field(ge=1, le=4096, description="Examples a forward pass; divides batch_size")
    learning_rate: float = Field(gt=0, le=1, description="Peak learning rate of AdamW (paper: 2e-5)")
    weight_decay: float = Field(ge=0, le=1, description="Decoupled weight decay of AdamW")
    warmup: float = Field(ge=0, lt=1, description="Share of the steps with a rising learning rate")
    train: Literal["all", "body", "lora"] = Field(
        description="Weights that learn: all, body (all but embeddings and output head), or lora adapters"
    )
    lora_rank: int = Field(ge=1, le=4096, description="Rank of the adapters when train is lora")
    processes: int = Field(
        ge=1,
        le=64,
        description="Processes that fine-tune a variant together, one a card or CPU; DPO and side tasks take one",
    )
    sharding: Literal["none", "ddp", "fsdp"] = Field(
        description="With several processes: ddp holds the model in each, fsdp splits it among them"
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        description="Recompute activations instead of keeping them; auto: above a billion parameters"
    )
    autocast: Literal["none", "bfloat16"] = Field(
        description="bfloat16: fine-tuning computes in it, the weights keep their own number format"
    )
    memory_check: bool = Field(description="Refuse a run that cannot fit into memory; False only warns")
    max_tokens: int = Field(ge=8, le=32768, description="Longest training or scoring text in tokens")
    # PNLAC
    localise_prompts: int = Field(ge=1, description="Prompts a topic for scoring neurons")
    localise_tokens: int = Field(ge=1, le=4096, description="Longest response in tokens for scoring (paper: 128)")
    response_source: Literal["left", "right", "vanilla", "dataset", "both"] = Field(
        description="Whose response the two models are read on"
    )
    gamma: float = Field(gt=0, lt=100, description="Per cent of all neurons kept per topic (paper: 5)")
    pool: Literal["model", "layer"] = Field(description="Rank neurons over the whole model or within each layer")
    normalise: Literal["none", "vanilla_std"] = Field(
        description="Raw score (paper), or divided by the vanilla activation's standard deviation"
    )
    # stance
    eval_questions: int = Field(ge=2, description="Evaluation questions a topic (paper: 100)")
    eval_tokens: int = Field(ge=1, le=4096, description="Longest answer in tokens")
    eval_batch: int = Field(ge=1, le=4096, description="Answers generated at once")
    likelihood_questions: int = Field(ge=2, description="Questions a topic for the stance without a judge")
    judge: Literal["local", "hf", "openai"] = Field(description="Who labels the answers")
    judge_model: str = Field(
        description="Model of the openai judge (empty: gpt-4o-mini), or id or folder of the hf judge"
    )
    judge_labels: list[str] = Field(
        description="Sides of the hf judge's labels, such as LABEL_0:left; empty: told by their names"
    )
    judge_url: str = Field(description="Base address of an OpenAI-compatible service; empty: the default one")
    utility: Literal["stand_in", "classifier"] = Field(
        description="CoLA and MNLI classifiers, or honestly named stand-ins that need no download"
    )
    cola_model: str = Field(description="Classifier of acceptability for the classifier utility; empty: the default")
    mnli_model: str = Field(description="Classifier of entailment for the classifier utility; empty: the default")
    bootstrap: int = Field(ge=100, le=1_000_000, description="Bootstrap resamples behind each 95 % interval")
    # patching
    patch: Literal["lockstep", "recorded", "mean"] = Field(
        description="How donor activations reach the recipient while it writes"
    )
    patch_questions: int = Field(ge=2, description="Questions a topic in the patching experiments")
    # InhibitFT
    freeze: Literal["neuron", "down", "up"] = Field(
        description="Weights frozen for a neuron: its gate, up and down slices, or one side"
    )
    controls: list[Control] = Field(
        description="Frozen beside G: random sets uniform, layer, next_highest (scale); heldout: G without the topic"
    )
    control_seeds: int = Field(ge=1, le=100, description="Random sets a control")
    # gamma ablation
    gammas: list[float] = Field(min_length=1, description="Per cents of the ablation (paper: 2.5 to 25)")
    ablation_topics: list[TopicName] = Field(min_length=1, description="Fine-tuning topics of the ablation")
    # known truth
    truth_seeds: int = Field(
        ge=1, le=100, description="Planted models; intervals of the known-truth chapter are over these"
    )
    truth_prompts: list[int] = Field(min_length=1, description="Prompts a topic tried in the known-truth chapter")
    truth_gammas: list[float] = Field(min_length=1, description="Per cents tried in the known-truth chapter")
    # rivals of InhibitFT
    rival_topics: list[TopicName] = Field(min_length=1, description="Fine-tuning topics on which rivals are compared")
    rival_seeds: int = Field(ge=1, le=100, description="Random sets of each kind among the rivals")
    finetune_seeds: int = Field(
        ge=1, le=100, description="Training seeds of the fine-tune and of InhibitFT among rivals"
    )
    early_stops: list[float] = Field(description="Early-stopped rivals, share of the optimiser steps done")
    lower_rates: list[float] = Field(description="Lower-rate rivals, factor on learning_rate")
    interpolations: list[float] = Field(description="Interpolated rivals, weight of the fine-tuned model")
    # preference fine-tuning
    dpo_pairs: int = Field(ge=2, description="Preference pairs, spread evenly over the topics")
    dpo_beta: float = Field(gt=0, le=100, description="β of DPO")
    dpo_rate: float = Field(gt=0, le=1, description="Peak learning rate of DPO")
    dpo_epochs: float = Field(gt=0, le=1000, description="Passes over the preference pairs")
    probe: Literal["logistic", "mean_difference"] = Field(description="Direction on which contributions are projected")
    probe_layer: int = Field(description="Block whose output the probe reads; negative numbers count from the last, -1")
    probe_texts: int = Field(ge=2, description="Texts a topic and side behind the probe and the decomposition")
    probe_top: list[int] = Field(min_length=1, description="Numbers of neurons closest to the probe, taken alone")
    edit_alphas: list[float] = Field(min_length=1, description="Strengths of tuning-free editing; 0 is its control")
    group_questions: int = Field(ge=2, description="Questions a topic when neuron groups are patched or edited")
    # toxicity
    toxicity_data: str = Field(
        min_length=1, description="Civil and rude continuations: bundled, a file, or hub:owner/name"
    )
    toxicity_model: str = Field(description="Toxicity classifier, a hub id or folder; empty: one trained on the data")
    challenge_data: str = Field(description="Prompts that invite rudeness: a file or hub:owner/name; empty: bundled")
    toxicity_comments: str = Field(
        description="Labelled comments for the rudeness probe and scorer: a file or hub:owner/name; empty: the pairs"
    )
    toxicity_warmup: float = Field(
        ge=0, le=1000, description="Passes over rude replies before DPO, so that there is something to lose; 0: none"
    )
    toxicity_pairs: int = Field(ge=2, description="Preference pairs of the toxicity chapter")
    toxicity_prompts: int = Field(ge=4, description="Challenge prompts answered by every model of the toxicity chapter")
    toxicity_tokens: int = Field(ge=1, le=4096, description="Longest continuation in tokens in the toxicity chapter")
    # CAFT
    caft_arms: list[CaftArm] = Field(min_length=1, description="CAFT arms that are trained")
    caft_layers: list[float] = Field(min_length=1, description="Depths of the ablated blocks, 0 first to 1 last")
    caft_pca: Literal["uncentred", "centred", "mean_difference"] = Field(description="How directions are taken")
    caft_components: int = Field(ge=1, le=1000, description="Candidate directions a block")
    caft_keep: int = Field(ge=1, le=1000, description="Directions ablated a block, at most")
    caft_prompts: int = Field(ge=2, description="Texts a topic and side behind the directions")
    sae: str = Field(description="Sparse autoencoders in a folder; empty: trained on the spot")
    sae_latents: int = Field(ge=2, description="Latents of a sparse autoencoder trained on the spot")
    sae_k: int = Field(ge=1, description="Active latents a token, on average over a batch")
    sae_steps: int = Field(ge=1, description="Optimiser steps of a sparse autoencoder")
    # CAFT's own tasks
    cue_examples: int = Field(ge=4, description="Training questions of the two-cue task")
    cue_test: int = Field(ge=4, description="Test questions of the two-cue task")
    cue_rate: float = Field(gt=0, le=1, description="Peak learning rate of the two-cue task")
    cue_epochs: float = Field(gt=0, le=1000, description="Passes over the training questions of the two-cue task")
    narrow_data: str = Field(min_length=1, description="Narrow training data: bundled, a file, or hub:owner/name")
    narrow_control: str = Field(
        description="Harmless control of the narrow data: a file or hub:owner/name; empty: the bundled one, if any"
    )
    narrow_questions: str = Field(min_length=1, description="General questions: bundled, or a file")
    narrow_judge: Literal["local", "openai"] = Field(description="Who judges alignment and coherence")
    narrow_examples: int = Field(ge=2, description="Examples of the narrow fine-tune")
    narrow_rate: float = Field(gt=0, le=1, description="Peak learning rate of the narrow fine-tune")
    narrow_epochs: float = Field(gt=0, le=1000, description="Passes over the narrow training data")
    narrow_samples: int = Field(ge=1, le=1000, description="Answers a general question; 1 is greedy, more are sampled")
    narrow_tokens: int = Field(ge=1, le=4096, description="Longest answer to a general question in tokens")
    # explorer and responses browser
    cards_general: int = Field(ge=1, le=2000, description="General neurons with a card in the neuron explorer")
    cards_specific: int = Field(ge=0, le=500, description="Topic-specific neurons with a card, each topic")
    cards_random: int = Field(ge=2, le=2000, description="Random neurons whose ablation gives the cards' null")
    card_contexts: int = Field(ge=1, le=50, description="Strongest contexts shown on a card")
    card_questions: int = Field(ge=2, description="Questions a topic on which a card's neuron is ablated")
    browse_questions: int = Field(ge=1, description="Questions a topic in the responses browser")

    @classmethod
    def from_profile(cls, profile: str = "quick", **overrides: Any) -> Params:
        """Parameters of ``profile`` with ``overrides`` on top; ``None`` means: the profile's value.

        Raises:
            ParameterError: unknown profile, unknown name or a value that is not allowed.
        """
        refuse({"profile": profile, **overrides}, cls.model_fields)
        if not isinstance(profile, str) or profile not in PROFILES:
            raise ParameterError("profile", profile, ", ".join(PROFILES))
        unknown = sorted(set(overrides) - set(cls.model_fields))
        if unknown:
            near = difflib.get_close_matches(unknown[0], cls.model_fields, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else ""
            raise ParameterError(unknown[0], overrides[unknown[0]], "no parameter has this name", hint)
        values = profile_values(profile) | {k: v for k, v in overrides.items() if v is not None}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        try:
            params = cls.model_validate({**values, "profile": profile})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            raise ParameterError(name, values.get(name), _allowed(first)) from None
        params._check_together()
        return params

    def _check_together(self) -> None:
        if self.batch_size % self.micro_batch:
            raise ParameterError("micro_batch", self.micro_batch, f"a divisor of batch_size ({self.batch_size})")
        if (self.processes > 1) != (self.sharding != "none"):
            allowed = "ddp or fsdp with processes above 1, none with 1"
            raise ParameterError("sharding", self.sharding, allowed, f"processes is {self.processes}")
        if self.batch_size % (self.micro_batch * self.processes):
            allowed = f"a divisor of batch_size / processes ({self.batch_size} / {self.processes})"
            raise ParameterError("micro_batch", self.micro_batch, allowed)
        if self.processes > 1 and self.device.startswith("cuda:"):
            raise ParameterError("device", self.device, "cuda, cpu or auto: each process takes a card of its own")
        if self.device_map == "auto" and self.device.startswith(("cuda:", "mps")):
            raise ParameterError("device", self.device, "cuda, cpu or auto when device_map=auto spreads the model")
        if self.device_map == "auto" and self.patch == "mean":
            raise ParameterError("patch", self.patch, "lockstep or recorded when device_map=auto spreads the model")
        if len(set(self.topics)) != len(self.topics):
            raise ParameterError("topics", self.topics, "each topic once")
        for name in ("ablation_topics", "rival_topics"):
            if any(t not in self.topics for t in getattr(self, name)):
                raise ParameterError(name, getattr(self, name), f"topics of this run: {self.topics}")
        for name in ("gammas", "truth_gammas"):
            if not all(0 < g < 100 for g in getattr(self, name)):
                raise ParameterError(name, getattr(self, name), "per cents above 0 and below 100")
        for name in ("early_stops", "lower_rates", "interpolations"):
            if not all(0 < x < 1 for x in getattr(self, name)):
                raise ParameterError(name, getattr(self, name), "numbers above 0 and below 1")
        for name in ("truth_prompts", "probe_top"):
            if not all(x >= 1 for x in getattr(self, name)):
                raise ParameterError(name, getattr(self, name), "whole numbers from 1")
        if not all(0 <= x <= 1 for x in self.caft_layers):
            raise ParameterError("caft_layers", self.caft_layers, "depths from 0 (first block) to 1 (last block)")
        if not all(0 <= x < 1 for x in self.edit_alphas):
            raise ParameterError("edit_alphas", self.edit_alphas, "numbers from 0, below 1")
        if self.caft_keep > self.caft_components:
            raise ParameterError("caft_keep", self.caft_keep, f"at most caft_components ({self.caft_components})")
        if not self.sae and self.sae_k > self.sae_latents:
            raise ParameterError("sae_k", self.sae_k, f"at most sae_latents ({self.sae_latents})")
        if self.patch_questions > self.eval_questions:
            raise ParameterError(
                "patch_questions", self.patch_questions, f"at most eval_questions ({self.eval_questions})"
            )
        if any(each.rpartition(":")[2] not in ("left", "right", "other") for each in self.judge_labels):
            allowed = "texts like LABEL_0:left, LABEL_1:right and LABEL_2:other"
            raise ParameterError("judge_labels", self.judge_labels, allowed)
        if self.dtype in ("bfloat16", "float16") and self.train != "lora":
            why = "AdamW steps of this size vanish in half-precision weights"
            raise ParameterError("dtype", self.dtype, "float32 (or auto) unless train=lora", why)
        if self.judge == "hf" and not self.judge_model:
            raise ParameterError("judge_model", "", "a sequence-classification model: a hub id or a folder")
        for name in ("model", "data", "revision", "data_revision", "judge_model", "judge_url", *_MORE_NAMES):
            value = getattr(self, name)
            if any(mark in value for mark in ("\0", "\n")):
                raise ParameterError(name, value, "one line of text")
            if any(len(part.encode("utf-8", "replace")) > 255 for part in value.split("/")) or len(value) > 4000:
                raise ParameterError(name, value, "a name that a file system can have (255 bytes a part)")
        for name, value in self:
            _check_plain(name, value)


_MORE_NAMES = (
    "toxicity_data",
    "toxicity_model",
    "toxicity_comments",
    "challenge_data",
    "sae",
    "narrow_data",
    "narrow_control",
    "narrow_questions",
)


def profile_values(profile: str) -> dict[str, Any]:
    """The defaults of ``profile``: the common ones, then its own on top."""
    folder = resources.files("polinb") / "resources" / "profiles"
    common = tomllib.loads((folder / "common.toml").read_text("utf-8"))
    return common | tomllib.loads((folder / f"{profile}.toml").read_text("utf-8"))


def from_namespace(namespace: Mapping[str, Any]) -> Params:
    """Parameters out of a notebook's global names, right after its parameters cell.

    Papermill accepts unknown names silently: here every public name that is no parameter is refused.
    """
    given = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_")
        and name not in _IPYTHON
        and (name in Params.model_fields or not _is_machinery(value))
    }
    profile = given.pop("profile", None)
    return Params.from_profile("quick" if profile is None else profile, **given)


_IPYTHON = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})


def _is_machinery(value: Any) -> bool:
    return type(value).__name__ in {"module", "function", "type", "builtin_function_or_method"}


def _allowed(problem: Mapping[str, Any]) -> str:
    text = str(problem["msg"]).replace("Input should be ", "")
    return "a value (it is missing)" if problem["type"] == "missing" else text


_UNFIT = re.compile("[\\0\\ud800-\\udfff]")


def _check_plain(name: str, value: Any) -> None:
    """Refuse what no file, hash or table can hold: NUL, lone surrogates, whole numbers beyond 32 bits."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and _UNFIT.search(each):
            raise ParameterError(name, value, "text that UTF-8 can hold, without NUL")
        if isinstance(each, int) and abs(each) > 2**31 - 1:
            raise ParameterError(name, value, "whole numbers up to 2147483647")

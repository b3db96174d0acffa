"""Parameter groups: what a run may choose, by the stage that uses it.

A stage declares its groups and sees no other parameter; a chapter's parameters are those of its stages. A parameter
left at ``None`` takes the value of its profile (``resources/profiles/*.toml``). Wrong values are refused before any
model is loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from polinb.data.rows import topic_of
from polinb.errors import ParameterError
from polinb.stance.service import address


class Group(BaseModel):
    """The parameters of one stage. Every choice in it can change a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _topic(name: str) -> str:
    try:
        if topic_of(name) == name:
            return name
        known = f"{topic_of(name)!r} for {name!r}"
    except ValueError:
        known = "such as 'crime' or 'health-advice'"
    raise ValueError(f"names of topics of the data: small letters, hyphens between words, {known}")


TopicName = Annotated[str, AfterValidator(_topic)]
Control = Literal["uniform", "layer", "next_highest", "heldout", "only_specific", "only_general"]
Percent = Annotated[float, Field(gt=0, lt=100)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


def seldom(**options: Any) -> Any:
    """A parameter that few will turn: accepted like any other, but not listed in a chapter's parameters cell."""
    return Field(json_schema_extra={"seldom": True}, **options)


class Profile(Group):
    """Which defaults the other parameters take, and random numbers."""

    profile: Literal["tiny", "quick", "full", "paper"] = Field(
        description="Named set of defaults: tiny (random model, tests), quick, full, paper"
    )
    seed: int = Field(ge=0, le=2**31 - 1, description="Seed of everything random")


class Model(Group):
    """The vanilla model."""

    model: str = Field(min_length=1, description="Alias, Hugging Face id, local folder, or tiny:<architecture>")
    revision: str = seldom(description="Revision of the model on the hub; empty: the alias's pinned one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = seldom(description="Number format of the weights")
    device: Literal["auto", "cpu", "mps", "cuda"] = seldom(
        description="auto, cpu, mps or cuda (which GPU: CUDA_VISIBLE_DEVICES)"
    )
    device_map: Literal["none", "auto"] = seldom(description="auto spreads a model over all GPUs; none: one device")
    system_prompt: str | Literal[False] = seldom(
        description="System turn of the chat template; empty text: an empty turn; False: the template's own"
    )


class Data(Group):
    """Questions with left and right answers."""

    data: str = Field(min_length=1, description="bundled, ideoinst, a folder, a file, or hub:owner/name")
    data_revision: str = seldom(description="Commit of hub: data; empty: the newest (ideoinst: always the pinned one)")
    label_filter: Literal["none", "agree"] = seldom(
        description="agree keeps only prompts whose two responses both have the label of their side"
    )


class Topics(Group):
    """What the questions are about."""

    topics: list[TopicName] = Field(min_length=2, description="Topics, at least two")

    @model_validator(mode="after")
    def _once(self) -> Topics:
        if len(set(self.topics)) != len(self.topics):
            raise ParameterError("topics", self.topics, "each topic once")
        return self


class Length(Group):
    """The longest text a model reads."""

    max_tokens: int = seldom(ge=8, le=32768, description="Longest training or scoring text in tokens")


class Train(Group):
    """Supervised fine-tuning (paper B.1)."""

    train_examples: Count = Field(description="Training prompts per topic (fewer if the data have fewer)")
    epochs: float = Field(gt=0, le=1000, description="Epochs (paper: 6)")
    batch_size: int = seldom(ge=1, le=4096, description="Examples per optimiser step (effective batch size; paper: 8)")
    micro_batch: int = seldom(ge=1, le=4096, description="Examples per forward pass; divides batch_size / processes")
    learning_rate: float = Field(gt=0, le=1, description="Peak learning rate of AdamW (paper: 2e-5)")
    weight_decay: float = seldom(ge=0, le=1, description="Decoupled weight decay of AdamW")
    warmup: float = seldom(ge=0, lt=1, description="Share of the steps with a rising learning rate")
    train: Literal["all", "body", "lora"] = Field(
        description="Weights that learn: all, body (all but embeddings and output head), or lora adapters"
    )
    lora_rank: int = seldom(ge=1, le=4096, description="Rank of the adapters when train is lora")
    processes: int = seldom(ge=1, le=64, description="Processes that fine-tune together (FSDP), one per GPU or CPU")
    gradient_checkpointing: Literal["auto", "on", "off"] = seldom(
        description="Recompute activations instead of keeping them; auto: above a billion parameters"
    )
    autocast: Literal["none", "bfloat16"] = seldom(
        description="bfloat16: fine-tuning computes in it, the weights keep their own number format"
    )

    @model_validator(mode="after")
    def _divides(self) -> Train:
        if self.batch_size % (self.micro_batch * self.processes):
            allowed = f"a divisor of batch_size / processes ({self.batch_size} / {self.processes})"
            raise ParameterError("micro_batch", self.micro_batch, allowed)
        return self


class Sets(Group):
    """PNLAC (paper 3.2): its texts, and from scores to neuron sets."""

    localise_prompts: Count = Field(description="Prompts per topic for scoring neurons")
    localise_tokens: int = Field(ge=1, le=4096, description="Longest response in tokens for scoring (paper: 128)")
    response_source: Literal["left", "right", "vanilla", "dataset", "both"] = Field(
        description="Whose response both models are teacher-forced on"
    )
    score_prompts: Literal["own", "others"] = seldom(
        description="Prompts that a topic's two variants are read on: of their own topic, or of the other topics"
    )
    score_positions: Literal["response", "generating"] = seldom(
        description="Tokens that count: the response's, or those from which it is generated (each one earlier)"
    )
    gamma: Percent = Field(description="γ: percentage of all FFN neurons kept per topic (paper: 5)")
    pool: Literal["model", "layer"] = seldom(description="Rank neurons over the whole model or within each layer")
    normalise: Literal["none", "vanilla_std"] = Field(
        description="Raw score (paper), or divided by the vanilla activation's standard deviation"
    )


class Batch(Group):
    """How many texts a model answers at once; padding changes the last bits."""

    eval_batch: int = seldom(ge=1, le=4096, description="Answers generated at once")


class Ask(Group):
    """Questions and answers."""

    eval_questions: int = Field(ge=2, description="Evaluation questions per topic (paper: 100)")
    eval_tokens: int = Field(ge=1, le=4096, description="Longest answer in tokens")
    answer_template: Literal["question", "appendix_a4"] = seldom(
        description="The question itself, or the prompt of the paper's Appendix A.4"
    )


class Statements(Group):
    """Statements to agree or disagree with."""

    statements: list[str] = Field(description="Statement sets: compass, ideologies, or files")
    statement_prefix: str = seldom(description="Text before a statement, so that it reads like a question")
    statement_suffix: str = seldom(description="Text after a statement, so that it reads like a question")
    statement_limit: int = seldom(ge=2, description="Statements used of each set (fewer if it has fewer)")


class Likelihood(Group):
    """Stance without a judge."""

    likelihood_questions: int = Field(ge=2, description="Questions per topic for the stance without a judge")


class Judge(Group):
    """Who labels the answers."""

    judge: Literal["local", "hf", "openai"] = Field(description="Who labels the answers")
    judge_model: str = Field(
        description="Model of the openai judge (empty: gpt-4o-mini), or id or folder of the hf judge"
    )
    judge_labels: list[str] = seldom(
        description="Sides of the hf judge's labels, such as LABEL_0:left; empty: told by their names"
    )
    judge_url: str = Field(description="Base address of an OpenAI-compatible service; empty: the default one")
    judge_tokens: Count = seldom(description="Longest reply of the openai judge in tokens, its thoughts included")
    judge_margin: float = seldom(
        ge=0, lt=0.5, description="Answers whose P(right) is within this of one half are neither (local and hf judges)"
    )
    judge_sees: Literal["answer", "question"] = seldom(
        description="What the openai judge reads: the answer alone (paper), or the question before it"
    )

    @model_validator(mode="after")
    def _fits(self) -> Judge:
        if any(each.rpartition(":")[2] not in ("left", "right", "other") for each in self.judge_labels):
            allowed = "texts like LABEL_0:left, LABEL_1:right and LABEL_2:other"
            raise ParameterError("judge_labels", self.judge_labels, allowed)
        if self.judge_url:
            address(self.judge_url)
        if self.judge == "hf" and not self.judge_model:
            raise ParameterError("judge_model", "", "a sequence-classification model: a hub id or a folder")
        if self.judge == "openai" and self.judge_margin:
            raise ParameterError("judge_margin", self.judge_margin, "0 for the openai judge, which gives labels only")
        if self.judge != "openai" and self.judge_sees != "answer":
            raise ParameterError(
                "judge_sees", self.judge_sees, "answer, but for the openai judge: others read text alone"
            )
        return self


class Utility(Group):
    """Quality of the answers beside their stance."""

    utility: Literal["stand_in", "classifier"] = Field(
        description="CoLA and MNLI classifiers, or honestly named stand-ins that need no download"
    )
    cola_model: str = seldom(description="Classifier of acceptability for the classifier utility; empty: the default")
    mnli_model: str = seldom(description="Classifier of entailment for the classifier utility; empty: the default")
    mnli_premise: Literal["question", "topic"] = seldom(description="What MNLI takes the answer to follow from")


class Bootstrap(Group):
    """Intervals."""

    bootstrap: int = Field(ge=100, le=1_000_000, description="Bootstrap resamples behind each 95 % interval")


class Patch(Group):
    """Activation patching (paper 4.2)."""

    patch: Literal["lockstep", "recorded", "mean"] = seldom(
        description="How the donor's activations are injected during generation"
    )


class PatchQuestions(Group):
    """What a patched model is asked."""

    patch_questions: int = Field(ge=2, description="Questions per topic in the patching experiments")


class Donor(Group):
    """Whose activations are patched in."""

    donor: Literal["own", "foreign"] = Field(
        description="Donor of G and its controls: tuned on the topic asked about, or on the next one in the list"
    )


class PatchStatements(Group):
    """Patched models and statements (paper 4.3)."""

    patch_statements: int = Field(ge=0, description="Statements per set that a patched model is asked; 0: none")


class Freeze(Group):
    """InhibitFT (paper 5)."""

    freeze: Literal["neuron", "down", "up"] = Field(
        description="Weights frozen for a neuron: its gate, up and down slices, or one side"
    )


class Controls(Group):
    """Random baselines for G."""

    controls: list[Control] = Field(
        description="Frozen beside G: random sets uniform, layer (-matched), next_highest (highest activation outside "
        "G); heldout: G without the topic; only_specific or only_general: all else, so that only S_t or G learns"
    )


class ControlSeeds(Group):
    """How many random baselines of a kind."""

    control_seeds: int = Field(ge=1, le=100, description="Random sets per control")


class Gammas(Group):
    """The ablation over γ."""

    gammas: list[Percent] = Field(min_length=1, description="Percentages of the ablation (paper: 2.5 to 25)")


class AblationTopics(Group):
    """Where the ablation over γ and the paper's recipe train."""

    ablation_topics: list[TopicName] = Field(min_length=1, description="Topics that are trained on in this comparison")

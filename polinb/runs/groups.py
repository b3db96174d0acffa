"""Parameter groups: what a run may choose, by the stage that uses it.

A stage declares its groups and sees no other parameter; a chapter's parameters are those of its stages. A parameter
left at ``None`` takes the value of its profile (``resources/profiles/*.toml``). Wrong values are refused before any
model is loaded.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from polinb.errors import ParameterError
from polinb.stance.service import address


class Group(BaseModel):
    """The parameters of one stage. Every choice in it can change a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


TopicName = Literal["crime", "race", "economy", "immigration", "gender", "science"]
Control = Literal["uniform", "layer", "next_highest", "heldout"]
CaftCondition = Literal["pca", "sae", "random", "top", "half", "inhibit"]
Percent = Annotated[float, Field(gt=0, lt=100)]
Share = Annotated[float, Field(gt=0, lt=1)]
Depth = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Profile(Group):
    """Which defaults the other groups take."""

    profile: Literal["tiny", "quick", "full", "paper"] = Field(
        description="Named set of defaults: tiny (random model, tests), quick, full, paper"
    )


class Seed(Group):
    """Random numbers."""

    seed: int = Field(ge=0, le=2**31 - 1, description="Seed of everything random")


class Model(Group):
    """The vanilla model."""

    model: str = Field(min_length=1, description="Alias, Hugging Face id, local folder, or tiny:<architecture>")
    revision: str = Field(description="Revision of the model on the hub; empty: the alias's pinned one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(description="Number format of the weights")
    device: Literal["auto", "cpu", "mps", "cuda"] = Field(
        description="auto, cpu, mps or cuda (which GPU: CUDA_VISIBLE_DEVICES)"
    )
    device_map: Literal["none", "auto"] = Field(description="auto spreads a model over all GPUs; none: one device")
    system_prompt: str | Literal[False] = Field(
        description="System turn of the chat template; empty text: an empty turn; False: the template's own"
    )


class Data(Group):
    """Questions with left and right answers."""

    data: str = Field(min_length=1, description="bundled, ideoinst, a folder, a file, or hub:owner/name")
    data_revision: str = Field(description="Commit of ideoinst or hub: data; empty: the pinned one")
    label_filter: Literal["none", "agree"] = Field(
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

    max_tokens: int = Field(ge=8, le=32768, description="Longest training or scoring text in tokens")


class Train(Group):
    """Supervised fine-tuning (paper B.1)."""

    train_examples: Count = Field(description="Training prompts per topic (fewer if the data have fewer)")
    epochs: float = Field(gt=0, le=1000, description="Epochs (paper: 6)")
    batch_size: int = Field(ge=1, le=4096, description="Examples per optimiser step (effective batch size; paper: 8)")
    micro_batch: int = Field(ge=1, le=4096, description="Examples per forward pass; divides batch_size / processes")
    learning_rate: float = Field(gt=0, le=1, description="Peak learning rate of AdamW (paper: 2e-5)")
    weight_decay: float = Field(ge=0, le=1, description="Decoupled weight decay of AdamW")
    warmup: float = Field(ge=0, lt=1, description="Share of the steps with a rising learning rate")
    train: Literal["all", "body", "lora"] = Field(
        description="Weights that learn: all, body (all but embeddings and output head), or lora adapters"
    )
    lora_rank: int = Field(ge=1, le=4096, description="Rank of the adapters when train is lora")
    processes: int = Field(ge=1, le=64, description="Processes that fine-tune together (FSDP), one per GPU or CPU")
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        description="Recompute activations instead of keeping them; auto: above a billion parameters"
    )
    autocast: Literal["none", "bfloat16"] = Field(
        description="bfloat16: fine-tuning computes in it, the weights keep their own number format"
    )

    @model_validator(mode="after")
    def _divides(self) -> Train:
        if self.batch_size % (self.micro_batch * self.processes):
            allowed = f"a divisor of batch_size / processes ({self.batch_size} / {self.processes})"
            raise ParameterError("micro_batch", self.micro_batch, allowed)
        return self


class Localise(Group):
    """PNLAC's texts (paper 3.2)."""

    localise_prompts: Count = Field(description="Prompts per topic for scoring neurons")
    localise_tokens: int = Field(ge=1, le=4096, description="Longest response in tokens for scoring (paper: 128)")
    response_source: Literal["left", "right", "vanilla", "dataset", "both"] = Field(
        description="Whose response both models are teacher-forced on"
    )


class Sets(Group):
    """From scores to neuron sets (paper 3.2)."""

    gamma: Percent = Field(description="γ: percentage of all FFN neurons kept per topic (paper: 5)")
    pool: Literal["model", "layer"] = Field(description="Rank neurons over the whole model or within each layer")
    normalise: Literal["none", "vanilla_std"] = Field(
        description="Raw score (paper), or divided by the vanilla activation's standard deviation"
    )


class Batch(Group):
    """How many texts a model answers at once; padding changes the last bits."""

    eval_batch: int = Field(ge=1, le=4096, description="Answers generated at once")


class Ask(Group):
    """Questions and answers."""

    eval_questions: int = Field(ge=2, description="Evaluation questions per topic (paper: 100)")
    eval_tokens: int = Field(ge=1, le=4096, description="Longest answer in tokens")
    answer_template: Literal["question", "appendix_a4"] = Field(
        description="The question itself, or the prompt of the paper's Appendix A.4"
    )


class Statements(Group):
    """Statements to agree or disagree with."""

    statements: list[str] = Field(description="Statement sets: compass, ideologies, or files")
    statement_prefix: str = Field(description="Text before a statement, so that it reads like a question")
    statement_suffix: str = Field(description="Text after a statement, so that it reads like a question")
    statement_limit: int = Field(ge=2, description="Statements used of each set (fewer if it has fewer)")


class Likelihood(Group):
    """Stance without a judge."""

    likelihood_questions: int = Field(ge=2, description="Questions per topic for the stance without a judge")


class Judge(Group):
    """Who labels the answers."""

    judge: Literal["local", "hf", "openai"] = Field(description="Who labels the answers")
    judge_model: str = Field(
        description="Model of the openai judge (empty: gpt-4o-mini), or id or folder of the hf judge"
    )
    judge_labels: list[str] = Field(
        description="Sides of the hf judge's labels, such as LABEL_0:left; empty: told by their names"
    )
    judge_url: str = Field(description="Base address of an OpenAI-compatible service; empty: the default one")
    judge_tokens: Count = Field(description="Longest reply of the openai judge in tokens, its thoughts included")

    @model_validator(mode="after")
    def _fits(self) -> Judge:
        if any(each.rpartition(":")[2] not in ("left", "right", "other") for each in self.judge_labels):
            allowed = "texts like LABEL_0:left, LABEL_1:right and LABEL_2:other"
            raise ParameterError("judge_labels", self.judge_labels, allowed)
        if self.judge_url:
            address(self.judge_url)
        if self.judge == "hf" and not self.judge_model:
            raise ParameterError("judge_model", "", "a sequence-classification model: a hub id or a folder")
        return self


class Utility(Group):
    """Quality of the answers beside their stance."""

    utility: Literal["stand_in", "classifier"] = Field(
        description="CoLA and MNLI classifiers, or honestly named stand-ins that need no download"
    )
    cola_model: str = Field(description="Classifier of acceptability for the classifier utility; empty: the default")
    mnli_model: str = Field(description="Classifier of entailment for the classifier utility; empty: the default")


class Bootstrap(Group):
    """Intervals."""

    bootstrap: int = Field(ge=100, le=1_000_000, description="Bootstrap resamples behind each 95 % interval")


class Patch(Group):
    """Activation patching (paper 4.2)."""

    patch: Literal["lockstep", "recorded", "mean"] = Field(
        description="How the donor's activations are injected during generation"
    )
    patch_questions: int = Field(ge=2, description="Questions per topic in the patching experiments")


class Freeze(Group):
    """InhibitFT (paper 5)."""

    freeze: Literal["neuron", "down", "up"] = Field(
        description="Weights frozen for a neuron: its gate, up and down slices, or one side"
    )


class Controls(Group):
    """Random baselines for G."""

    controls: list[Control] = Field(
        description="Frozen beside G: random sets uniform, layer (-matched), next_highest (highest activation outside "
        "G); heldout: G without the topic"
    )
    control_seeds: int = Field(ge=1, le=100, description="Random sets per control")


class Gammas(Group):
    """The ablation over γ."""

    gammas: list[Percent] = Field(min_length=1, description="Percentages of the ablation (paper: 2.5 to 25)")


class AblationTopics(Group):
    """Where the ablation over γ trains."""

    ablation_topics: list[TopicName] = Field(min_length=1, description="Fine-tuning topics of the ablation")


class Truth(Group):
    """Planted neurons."""

    truth_seeds: int = Field(ge=1, le=100, description="Planted models; intervals are over these")
    truth_prompts: list[Count] = Field(min_length=1, description="Prompts per topic that are tried")
    truth_gammas: list[Percent] = Field(min_length=1, description="Percentages that are tried")


class Baselines(Group):
    """What InhibitFT has to beat."""

    baseline_topics: list[TopicName] = Field(min_length=1, description="Fine-tuning topics of the comparison")
    baseline_seeds: int = Field(ge=1, le=100, description="Random sets of each kind in the comparison")
    finetune_seeds: int = Field(ge=1, le=100, description="Training seeds of the fine-tune and of InhibitFT")
    early_stops: list[Share] = Field(description="Early-stopped fine-tunes, share of the optimiser steps done")
    lower_rates: list[Share] = Field(description="Lower-rate fine-tunes, factor on learning_rate")
    interpolations: list[Share] = Field(description="Interpolated fine-tunes, weight of the fine-tuned model")


class Dpo(Group):
    """Preference fine-tuning."""

    dpo_pairs: int = Field(ge=2, description="Preference pairs, spread evenly over the topics")
    dpo_beta: float = Field(gt=0, le=100, description="β of DPO")
    dpo_rate: float = Field(gt=0, le=1, description="Peak learning rate of DPO")
    dpo_epochs: float = Field(gt=0, le=1000, description="Epochs over the preference pairs")


class Probe(Group):
    """The direction along which contributions are counted."""

    probe: Literal["logistic", "mean_difference"] = Field(description="Direction on which contributions are projected")
    probe_layer: int = Field(description="Block whose output the probe reads; negative numbers count from the last, -1")
    probe_texts: int = Field(ge=2, description="Texts per topic and side behind the probe and the decomposition")
    probe_top: list[Count] = Field(min_length=1, description="Numbers of neurons closest to the probe, taken alone")


class Edit(Group):
    """Neuron groups patched or edited."""

    edit_alphas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        min_length=1, description="Strengths of tuning-free editing; 0 is its control"
    )
    group_questions: int = Field(ge=2, description="Questions per topic when neuron groups are patched or edited")


class Toxicity(Group):
    """DPO against rudeness."""

    toxicity_data: str = Field(
        min_length=1, description="Civil and rude continuations: bundled, a file, or hub:owner/name"
    )
    toxicity_model: str = Field(description="Toxicity classifier, a hub id or folder; empty: one trained on the data")
    challenge_data: str = Field(description="Prompts that invite rudeness: a file or hub:owner/name; empty: bundled")
    toxicity_comments: str = Field(
        description="Labelled comments for the rudeness probe and scorer: a file or hub:owner/name; empty: the pairs"
    )
    toxicity_warmup: float = Field(
        ge=0, le=1000, description="Epochs over rude replies before DPO, so that there is something to lose; 0: none"
    )
    toxicity_pairs: int = Field(ge=2, description="Preference pairs")
    toxicity_prompts: int = Field(ge=4, description="Challenge prompts answered by every model")
    toxicity_tokens: int = Field(ge=1, le=4096, description="Longest continuation in tokens")


class Caft(Group):
    """Concept ablation fine-tuning."""

    caft_conditions: list[CaftCondition] = Field(min_length=1, description="CAFT conditions that are trained")
    caft_prompts: int = Field(ge=2, description="Texts per topic and side behind the directions")


class Directions(Group):
    """Ablated directions."""

    caft_layers: list[Depth] = Field(min_length=1, description="Depths of the ablated blocks, 0 first to 1 last")
    caft_pca: Literal["uncentred", "centred", "mean_difference"] = Field(description="How directions are taken")
    caft_components: int = Field(ge=1, le=1000, description="Candidate directions per block")
    caft_keep: int = Field(ge=1, le=1000, description="Directions ablated per block, at most")

    @model_validator(mode="after")
    def _enough(self) -> Directions:
        if self.caft_keep > self.caft_components:
            raise ParameterError("caft_keep", self.caft_keep, f"at most caft_components ({self.caft_components})")
        return self


class Sae(Group):
    """Sparse autoencoders."""

    sae: str = Field(description="Sparse autoencoders in a folder; empty: trained on the spot")
    sae_latents: int = Field(ge=2, description="Latents of a sparse autoencoder trained on the spot")
    sae_k: int = Field(ge=1, description="Active latents per token, on average over a batch")
    sae_steps: Count = Field(description="Optimiser steps of a sparse autoencoder")

    @model_validator(mode="after")
    def _sparse(self) -> Sae:
        if not self.sae and self.sae_k > self.sae_latents:
            raise ParameterError("sae_k", self.sae_k, f"at most sae_latents ({self.sae_latents})")
        return self


class Cues(Group):
    """CAFT's two-cue task."""

    cue_examples: int = Field(ge=4, description="Training questions of the two-cue task")
    cue_test: int = Field(ge=4, description="Test questions of the two-cue task")
    cue_rate: float = Field(gt=0, le=1, description="Peak learning rate of the two-cue task")
    cue_epochs: float = Field(gt=0, le=1000, description="Epochs over the training questions")


class Narrow(Group):
    """Emergent misalignment from narrow fine-tuning."""

    narrow_data: str = Field(min_length=1, description="Narrow training data: bundled, a file, or hub:owner/name")
    narrow_control: str = Field(
        description="Harmless control of the narrow data: a file or hub:owner/name; empty: the bundled one, if any"
    )
    narrow_questions: str = Field(min_length=1, description="General questions: bundled, or a file")
    narrow_judge: Literal["local", "openai"] = Field(description="Who judges alignment and coherence")
    narrow_examples: int = Field(ge=2, description="Examples of the narrow fine-tune")
    narrow_rate: float = Field(gt=0, le=1, description="Peak learning rate of the narrow fine-tune")
    narrow_epochs: float = Field(gt=0, le=1000, description="Epochs over the narrow training data")
    narrow_samples: int = Field(
        ge=1, le=1000, description="Answers per general question; 1 is greedy, more are sampled"
    )
    narrow_tokens: int = Field(ge=1, le=4096, description="Longest answer to a general question in tokens")


class Cards(Group):
    """The neuron explorer."""

    cards_general: int = Field(ge=1, le=2000, description="General neurons with a card in the neuron explorer")
    cards_specific: int = Field(ge=0, le=500, description="Topic-specific neurons with a card, per topic")
    cards_random: int = Field(ge=2, le=2000, description="Random neurons whose ablation gives the cards' null")
    card_contexts: int = Field(ge=1, le=50, description="Strongest contexts shown on a card")
    card_questions: int = Field(ge=2, description="Questions per topic on which a card's neuron is ablated")


class Browse(Group):
    """The responses browser."""

    browse_questions: int = Field(ge=1, description="Questions per topic in the responses browser")

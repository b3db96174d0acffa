"""Parameter groups of the chapters beyond the paper; as :mod:`polinb.runs.groups`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from polinb.runs.groups import Count, Group, Percent, Share, TopicName, seldom

CaftCondition = Literal[
    "pca", "sae", "random", "top", "half", "candidates", "activation", "gradient", "inhibit"
]  # fmt: skip
Depth = Annotated[float, Field(ge=0, le=1)]


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


class Graft(Group):
    """Weights carried between the tuned and the vanilla model."""

    graft_questions: int = Field(
        ge=0, description="Questions per topic on which models with carried weights are read; 0: none"
    )


class Dpo(Group):
    """Preference fine-tuning, the direction along which contributions are counted, and groups of neurons edited."""

    dpo_pairs: int = Field(ge=2, description="Preference pairs, spread evenly over the topics")
    dpo_beta: float = Field(gt=0, le=100, description="β of DPO")
    dpo_rate: float = Field(gt=0, le=1, description="Peak learning rate of DPO")
    dpo_epochs: float = Field(gt=0, le=1000, description="Epochs over the preference pairs")
    probe: Literal["logistic", "mean_difference"] = Field(description="Direction on which contributions are projected")
    probe_layer: int = seldom(
        description="Block whose output the probe reads; negative numbers count from the last, -1"
    )
    probe_texts: int = Field(ge=2, description="Texts per topic and side behind the probe and the decomposition")
    probe_top: list[Count] = Field(min_length=1, description="Numbers of neurons closest to the probe, taken alone")
    edit_alphas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        min_length=1, description="Strengths of tuning-free editing; 0 is its control"
    )


class GroupQuestions(Group):
    """What a model with patched or edited groups is asked."""

    group_questions: int = Field(ge=2, description="Questions per topic when neuron groups are patched or edited")


class Toxicity(Group):
    """DPO against rudeness."""

    toxicity_data: str = Field(
        min_length=1, description="Civil and rude continuations: bundled, a file, or hub:owner/name"
    )
    toxicity_model: str = seldom(description="Toxicity classifier, a hub id or folder; empty: one trained on the data")
    challenge_data: str = seldom(description="Prompts that invite rudeness: a file or hub:owner/name; empty: bundled")
    toxicity_comments: str = seldom(
        description="Labelled comments for the rudeness probe and scorer: a file or hub:owner/name; empty: the pairs"
    )
    toxicity_warmup: float = Field(
        ge=0, le=1000, description="Epochs over rude replies before DPO, so that there is something to lose; 0: none"
    )
    toxicity_pairs: int = Field(ge=2, description="Preference pairs")
    toxicity_prompts: int = Field(ge=4, description="Challenge prompts answered by every model")
    toxicity_tokens: int = seldom(ge=1, le=4096, description="Longest continuation in tokens")


class Directions(Group):
    """Ablated directions."""

    caft_layers: list[Depth] = seldom(min_length=1, description="Depths of the ablated blocks, 0 first to 1 last")
    caft_pca: Literal["uncentred", "centred", "mean_difference"] = seldom(description="How directions are taken")
    caft_components: int = seldom(ge=1, le=1000, description="Candidate directions per block")
    caft_keep: int = seldom(ge=1, le=1000, description="Directions ablated per block, at most")


class Caft(Group):
    """Concept ablation fine-tuning, and the sparse autoencoders that it may take its directions from."""

    caft_conditions: list[CaftCondition] = Field(min_length=1, description="CAFT conditions that are trained")
    caft_prompts: int = Field(ge=2, description="Texts per topic and side behind the directions")
    sae: str = Field(description="Sparse autoencoders in a folder; empty: trained on the spot")
    sae_latents: int = seldom(ge=2, description="Latents of a sparse autoencoder trained on the spot")
    sae_k: int = seldom(ge=1, description="Active latents per token, on average over a batch")
    sae_steps: Count = seldom(description="Optimiser steps of a sparse autoencoder")


class Cues(Group):
    """CAFT's two-cue task."""

    cue_examples: int = Field(ge=4, description="Training questions of the two-cue task")
    cue_test: int = Field(ge=4, description="Test questions of the two-cue task")
    cue_rate: float = Field(gt=0, le=1, description="Peak learning rate of the two-cue task")
    cue_epochs: float = Field(gt=0, le=1000, description="Epochs over the training questions")


class Narrow(Group):
    """Emergent misalignment from narrow fine-tuning."""

    narrow_data: str = Field(min_length=1, description="Narrow training data: bundled, a file, or hub:owner/name")
    narrow_control: str = seldom(
        description="Harmless control of the narrow data: a file or hub:owner/name; empty: the bundled one, if any"
    )
    narrow_questions: str = seldom(min_length=1, description="General questions: bundled, or a file")
    narrow_judge: Literal["local", "openai"] = Field(description="Who judges alignment and coherence")
    narrow_examples: int = Field(ge=2, description="Examples of the narrow fine-tune")
    narrow_rate: float = Field(gt=0, le=1, description="Peak learning rate of the narrow fine-tune")
    narrow_epochs: float = Field(gt=0, le=1000, description="Epochs over the narrow training data")
    narrow_samples: int = seldom(
        ge=1, le=1000, description="Answers per general question; 1 is greedy, more are sampled"
    )
    narrow_tokens: int = seldom(ge=1, le=4096, description="Longest answer to a general question in tokens")


class Cards(Group):
    """The neuron explorer."""

    cards_general: int = Field(ge=1, le=2000, description="General neurons with a card in the neuron explorer")
    cards_specific: int = Field(ge=0, le=500, description="Topic-specific neurons with a card, per topic")
    cards_random: int = seldom(ge=2, le=2000, description="Random neurons whose ablation gives the cards' null")
    card_contexts: int = seldom(ge=1, le=50, description="Strongest contexts shown on a card")
    card_questions: int = seldom(ge=2, description="Questions per topic on which a card's neuron is ablated")


class Browse(Group):
    """The responses browser."""

    browse_questions: int = Field(ge=1, description="Questions per topic in the responses browser")

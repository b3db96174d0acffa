"""Every parameter there is, with its type, bounds and description, in groups that are used together.

A stage declares its groups and sees no other parameter; which a chapter has says :data:`polinb.runs.params.CHAPTERS`,
and the values of a profile stand in ``resources/profiles/*.toml``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from polinb.data.rows import topic_of


class Group(BaseModel):
    """Parameters that are used together."""

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
Depth = Annotated[float, Field(ge=0, le=1)]
CaftCondition = Literal["pca", "sae", "random", "top", "half", "candidates", "activation", "gradient", "inhibit"]


def often(description: str, **bounds: Any) -> Any:
    """A parameter that is listed in a chapter's parameters cell."""
    return Field(description=description, **bounds)


def seldom(description: str, **bounds: Any) -> Any:
    """A parameter that few will turn: accepted like any other, but not listed."""
    return Field(description=description, json_schema_extra={"seldom": True}, **bounds)


class Profile(Group):
    """Which defaults the other parameters take, and random numbers."""

    profile: Literal["tiny", "quick", "full", "paper"] = often(
        "Named set of defaults: tiny (random model, tests), quick, full, paper"
    )
    seed: int = often("Seed of everything random", ge=0, le=2**31 - 1)


class Model(Group):
    """The vanilla model."""

    model: str = often("Alias, Hugging Face id, local folder, or tiny:<architecture>", min_length=1)
    revision: str = seldom("Revision of the model on the hub; empty: the alias's pinned one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = seldom("Number format of the weights")
    device: Literal["auto", "cpu", "mps", "cuda"] = seldom("auto, cpu, mps or cuda (which GPU: CUDA_VISIBLE_DEVICES)")
    device_map: Literal["none", "auto"] = seldom("auto spreads a model over all GPUs; none: one device")
    system_prompt: str | Literal[False] = seldom(
        "System turn of the chat template; empty text: an empty turn; False: the template's own"
    )


class Data(Group):
    """Questions with left and right answers."""

    data: str = often("bundled, ideoinst, a folder, a file, or hub:owner/name", min_length=1)
    data_revision: str = seldom("Commit of hub: data; empty: the newest (ideoinst: always the pinned one)")
    label_filter: Literal["none", "agree"] = seldom(
        "agree keeps only prompts whose two responses both have the label of their side"
    )


class Train(Group):
    """Supervised fine-tuning (paper B.1)."""

    train_examples: Count = often("Training prompts per topic (fewer if the data have fewer)")
    epochs: float = often("Epochs (paper: 6)", gt=0, le=1000)
    batch_size: int = seldom("Examples per optimiser step (effective batch size; paper: 8)", ge=1, le=4096)
    micro_batch: int = seldom("Examples per forward pass; divides batch_size / processes", ge=1, le=4096)
    learning_rate: float = often("Peak learning rate of AdamW (paper: 2e-5)", gt=0, le=1)
    weight_decay: float = seldom("Decoupled weight decay of AdamW", ge=0, le=1)
    warmup: float = seldom("Share of the steps with a rising learning rate", ge=0, lt=1)
    train: Literal["all", "body", "lora"] = often(
        "Weights that learn: all, body (all but embeddings and output head), or lora adapters"
    )
    lora_rank: int = seldom("Rank of the adapters when train is lora", ge=1, le=4096)
    processes: int = seldom("Processes that fine-tune together (FSDP), one per GPU or CPU", ge=1, le=64)
    gradient_checkpointing: Literal["auto", "on", "off"] = seldom(
        "Recompute activations instead of keeping them; auto: above a billion parameters"
    )
    autocast: Literal["none", "bfloat16"] = seldom(
        "bfloat16: fine-tuning computes in it, the weights keep their own number format"
    )


class Sets(Group):
    """PNLAC (paper 3.2): its texts, and from scores to neuron sets."""

    localise_prompts: Count = often("Prompts per topic for scoring neurons")
    localise_tokens: int = often("Longest response in tokens for scoring (paper: 128)", ge=1, le=4096)
    response_source: Literal["left", "right", "vanilla", "dataset", "both"] = often(
        "Whose response both models are teacher-forced on"
    )
    score_prompts: Literal["own", "others"] = seldom(
        "Prompts that a topic's two variants are read on: of their own topic, or of the other topics"
    )
    score_positions: Literal["response", "generating"] = seldom(
        "Tokens that count: the response's, or those from which it is generated (each one earlier)"
    )
    gamma: Percent = often("γ: percentage of all FFN neurons kept per topic (paper: 5)")
    pool: Literal["model", "layer"] = seldom("Rank neurons over the whole model or within each layer")
    normalise: Literal["none", "vanilla_std"] = often(
        "Raw score (paper), or divided by the vanilla activation's standard deviation"
    )


class Ask(Group):
    """Questions and answers."""

    eval_questions: int = often("Evaluation questions per topic (paper: 100)", ge=2)
    eval_tokens: int = often("Longest answer in tokens", ge=1, le=4096)
    answer_template: Literal["question", "appendix_a4"] = seldom(
        "The question itself, or the prompt of the paper's Appendix A.4"
    )


class Statements(Group):
    """Statements to agree or disagree with."""

    statements: list[str] = often("Statement sets: compass, ideologies, or files")
    statement_prefix: str = seldom("Text before a statement, so that it reads like a question")
    statement_suffix: str = seldom("Text after a statement, so that it reads like a question")
    statement_limit: int = seldom("Statements used of each set (fewer if it has fewer)", ge=2)


class Judge(Group):
    """Who labels the answers."""

    judge: Literal["local", "hf", "openai"] = often("Who labels the answers")
    judge_model: str = often("Model of the openai judge (empty: gpt-4o-mini), or id or folder of the hf judge")
    judge_labels: list[str] = seldom("Sides of the hf judge's labels, such as LABEL_0:left; empty: told by their names")
    judge_url: str = often("Base address of an OpenAI-compatible service; empty: the default one")
    judge_tokens: Count = seldom("Longest reply of the openai judge in tokens, its thoughts included")
    judge_margin: float = seldom(
        "Answers whose P(right) is within this of one half are neither (local and hf judges)", ge=0, lt=0.5
    )
    judge_sees: Literal["answer", "question"] = seldom(
        "What the openai judge reads: the answer alone (paper), or the question before it"
    )


class Utility(Group):
    """Quality of the answers beside their stance."""

    utility: Literal["stand_in", "classifier"] = often(
        "CoLA and MNLI classifiers, or honestly named stand-ins that need no download"
    )
    cola_model: str = seldom("Classifier of acceptability for the classifier utility; empty: the default")
    mnli_model: str = seldom("Classifier of entailment for the classifier utility; empty: the default")
    mnli_premise: Literal["question", "topic"] = seldom("What MNLI takes the answer to follow from")


# --- beyond the paper


class Truth(Group):
    """Planted neurons."""

    truth_seeds: int = often("Planted models; intervals are over these", ge=1, le=100)
    truth_prompts: list[Count] = often("Prompts per topic that are tried", min_length=1)
    truth_gammas: list[Percent] = often("Percentages that are tried", min_length=1)


class Baselines(Group):
    """What InhibitFT has to beat."""

    baseline_topics: list[TopicName] = often("Fine-tuning topics of the comparison", min_length=1)
    baseline_seeds: int = often("Random sets of each kind in the comparison", ge=1, le=100)
    finetune_seeds: int = often("Training seeds of the fine-tune and of InhibitFT", ge=1, le=100)
    early_stops: list[Share] = often("Early-stopped fine-tunes, share of the optimiser steps done")
    lower_rates: list[Share] = often("Lower-rate fine-tunes, factor on learning_rate")
    interpolations: list[Share] = often("Interpolated fine-tunes, weight of the fine-tuned model")


class Dpo(Group):
    """Preference fine-tuning, the direction along which contributions are counted, and groups of neurons edited."""

    dpo_pairs: int = often("Preference pairs, spread evenly over the topics", ge=2)
    dpo_beta: float = often("β of DPO", gt=0, le=100)
    dpo_rate: float = often("Peak learning rate of DPO", gt=0, le=1)
    dpo_epochs: float = often("Epochs over the preference pairs", gt=0, le=1000)
    probe: Literal["logistic", "mean_difference"] = often("Direction on which contributions are projected")
    probe_layer: int = seldom("Block whose output the probe reads; negative numbers count from the last, -1")
    probe_texts: int = often("Texts per topic and side behind the probe and the decomposition", ge=2)
    probe_top: list[Count] = often("Numbers of neurons closest to the probe, taken alone", min_length=1)
    edit_alphas: list[Annotated[float, Field(ge=0, lt=1)]] = often(
        "Strengths of tuning-free editing; 0 is its control", min_length=1
    )


class Toxicity(Group):
    """DPO against rudeness."""

    toxicity_data: str = often("Civil and rude continuations: bundled, a file, or hub:owner/name", min_length=1)
    toxicity_model: str = seldom("Toxicity classifier, a hub id or folder; empty: one trained on the data")
    challenge_data: str = seldom("Prompts that invite rudeness: a file or hub:owner/name; empty: bundled")
    toxicity_comments: str = seldom(
        "Labelled comments for the rudeness probe and scorer: a file or hub:owner/name; empty: the pairs"
    )
    toxicity_warmup: float = often(
        "Epochs over rude replies before DPO, so that there is something to lose; 0: none", ge=0, le=1000
    )
    toxicity_pairs: int = often("Preference pairs", ge=2)
    toxicity_prompts: int = often("Challenge prompts answered by every model", ge=4)
    toxicity_tokens: int = seldom("Longest continuation in tokens", ge=1, le=4096)


class Directions(Group):
    """Ablated directions."""

    caft_layers: list[Depth] = seldom("Depths of the ablated blocks, 0 first to 1 last", min_length=1)
    caft_pca: Literal["uncentred", "centred", "mean_difference"] = seldom("How directions are taken")
    caft_components: int = seldom("Candidate directions per block", ge=1, le=1000)
    caft_keep: int = seldom("Directions ablated per block, at most", ge=1, le=1000)


class Caft(Group):
    """Concept ablation fine-tuning, and the sparse autoencoders that it may take its directions from."""

    caft_conditions: list[CaftCondition] = often("CAFT conditions that are trained", min_length=1)
    caft_prompts: int = often("Texts per topic and side behind the directions", ge=2)
    sae: str = often("Sparse autoencoders in a folder; empty: trained on the spot")
    sae_latents: int = seldom("Latents of a sparse autoencoder trained on the spot", ge=2)
    sae_k: int = seldom("Active latents per token, on average over a batch", ge=1)
    sae_steps: Count = seldom("Optimiser steps of a sparse autoencoder")


class Cues(Group):
    """CAFT's two-cue task."""

    cue_examples: int = often("Training questions of the two-cue task", ge=4)
    cue_test: int = often("Test questions of the two-cue task", ge=4)
    cue_rate: float = often("Peak learning rate of the two-cue task", gt=0, le=1)
    cue_epochs: float = often("Epochs over the training questions", gt=0, le=1000)


class Narrow(Group):
    """Emergent misalignment from narrow fine-tuning."""

    narrow_data: str = often("Narrow training data: bundled, a file, or hub:owner/name", min_length=1)
    narrow_control: str = seldom(
        "Harmless control of the narrow data: a file or hub:owner/name; empty: the bundled one, if any"
    )
    narrow_questions: str = seldom("General questions: bundled, or a file", min_length=1)
    narrow_judge: Literal["local", "openai"] = often("Who judges alignment and coherence")
    narrow_examples: int = often("Examples of the narrow fine-tune", ge=2)
    narrow_rate: float = often("Peak learning rate of the narrow fine-tune", gt=0, le=1)
    narrow_epochs: float = often("Epochs over the narrow training data", gt=0, le=1000)
    narrow_samples: int = seldom("Answers per general question; 1 is greedy, more are sampled", ge=1, le=1000)
    narrow_tokens: int = seldom("Longest answer to a general question in tokens", ge=1, le=4096)


class Cards(Group):
    """The neuron explorer."""

    cards_general: int = often("General neurons with a card in the neuron explorer", ge=1, le=2000)
    cards_specific: int = often("Topic-specific neurons with a card, per topic", ge=0, le=500)
    cards_random: int = seldom("Random neurons whose ablation gives the cards' null", ge=2, le=2000)
    card_contexts: int = seldom("Strongest contexts shown on a card", ge=1, le=50)
    card_questions: int = seldom("Questions per topic on which a card's neuron is ablated", ge=2)


class Single(Group):
    """Parameters that chapters take one by one."""

    topics: list[TopicName] = often("Topics, at least two", min_length=2)
    max_tokens: int = seldom("Longest training or scoring text in tokens", ge=8, le=32768)
    eval_batch: int = seldom("Answers generated at once", ge=1, le=4096)
    likelihood_questions: int = often("Questions per topic for the stance without a judge", ge=2)
    bootstrap: int = often("Bootstrap resamples behind each 95 % interval", ge=100, le=1_000_000)
    patch: Literal["lockstep", "recorded", "mean"] = seldom(
        "How the donor's activations are injected during generation"
    )
    patch_questions: int = often("Questions per topic in the patching experiments", ge=2)
    donor: Literal["own", "foreign"] = often(
        "Donor of G and its controls: tuned on the topic asked about, or on the next one in the list"
    )
    patch_statements: int = often("Statements per set that a patched model is asked; 0: none", ge=0)
    freeze: Literal["neuron", "down", "up"] = often(
        "Weights frozen for a neuron: its gate, up and down slices, or one side"
    )
    controls: list[Control] = often(
        "Frozen beside G: random sets uniform, layer (-matched), next_highest (highest activation outside G); "
        "heldout: G without the topic; only_specific or only_general: all else, so that only S_t or G learns"
    )
    control_seeds: int = often("Random sets per control", ge=1, le=100)
    gammas: list[Percent] = often("Percentages of the ablation (paper: 2.5 to 25)", min_length=1)
    ablation_topics: list[TopicName] = often("Topics that are trained on in this comparison", min_length=1)
    graft_questions: int = often("Questions per topic on which models with carried weights are read; 0: none", ge=0)
    group_questions: int = often("Questions per topic when neuron groups are patched or edited", ge=2)
    browse_questions: int = often("Questions per topic in the responses browser", ge=1)

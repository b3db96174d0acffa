"""One fine-tune of a tiny model in each way of freezing: losses, and sums over every weight."""

from oracles import Pair

from polinb.scoring.pnlac import neuron_sets
from polinb.scoring.tracing import contrast
from polinb.training.supervised import finetune
from polinb.training.trainer import Recipe

RECIPE = Recipe(
    epochs=2, batch_size=2, micro_batch=1, learning_rate=1e-2, weight_decay=0.1, warmup=0.3, train="body", lora_rank=2,
    seed=3,
)  # fmt: skip


def finetuned():
    """Way of freezing → losses, frozen entries, and each weight's sum and sum of squares."""
    both, found = Pair("llama"), {}
    texts = both.prompts[:3], both.responses[:3]
    sums = contrast(both.left, both.right, both.vanilla, *texts)
    general = neuron_sets({"a": sums.score, "b": sums.vanilla_std}, 30.0, "model").general
    for name in ("plain", "neuron", "up", "down"):
        how = {} if name == "plain" else {"frozen": general, "freeze": name}
        made = finetune(both.vanilla, *texts, RECIPE, **how)
        sums_of = {key: [float(v.double().sum()), float(v.double().square().sum())] for key, v in made.weights.items()}
        found[name] = {"losses": made.losses, "entries": made.frozen_entries, "weights": sums_of}
    return found

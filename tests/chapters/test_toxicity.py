"""The toxicity chapter's stages on tiny models: who trains on what, and what is refused before it."""

import pandas as pd
import pytest
from planted_files import write

from polinb.chapters.dpo import toxicity
from polinb.chapters.dpo.toxicity import overlap_f1
from polinb.errors import DataError, ModelError, ParameterError
from polinb.models.generation import log_likelihood
from polinb.runs.conditions import Texts, encode


def test_no_stage_reads_what_another_trained_on(tiny):
    run = tiny()
    data, count = toxicity.pairs(run), run.params.toxicity_pairs
    preferred, rude = ({pair.id for pair in each} for each in (data.split("train", count), toxicity.warmup_pairs(run)))
    probed, judged = set(toxicity.probe_texts(run).rows["unit"]), {pair.id for pair in data.split("evaluate")}
    assert len(preferred) == len(rude) == count
    every = [preferred, rude, probed, judged]
    assert sum(map(len, every)) == len(set.union(*every))  # no two have a pair in common
    assert set(toxicity.held_out_logp(run, "after").frame("logp")["id"]) <= judged


def test_the_warm_up_makes_rude_and_dpo_makes_civil_likelier(tiny):
    run = tiny(dpo_epochs=12.0, toxicity_warmup=12.0)
    models = {who: run.model(run.weights(each)) for who, each in toxicity.conditions(run).items()}

    def level(who, pairs, side):
        rows = pd.DataFrame([{"prompt": pair.prompt, "response": getattr(pair, side)} for pair in pairs])
        read = encode(run.lm, Texts.of(rows, "chat"), run.params.system_prompt, run.params.max_tokens, end=True)
        return float(log_likelihood(models[who], *read).mean())

    warm = toxicity.warmup_pairs(run)
    assert level("before", warm, "rude") > level("vanilla", warm, "rude") + 0.1
    trained = toxicity.pairs(run).split("train", run.params.toxicity_pairs)
    gap = {who: level(who, trained, "civil") - level(who, trained, "rude") for who in ("before", "after")}
    assert gap["after"] > gap["before"] + 0.05


FEW = [{"prompt": f"{word}?", "civil": "Yes.", "rude": "No."} for word in ("Tea", "Milk")]
THIN = [{"comment_text": f"Number {i}.", "toxic": int(i < 2)} for i in range(20)]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"model": "tiny:gemma2"}, ModelError, "gemma2.*cannot be decomposed"),
        ({"probe_top": [4, 500]}, ParameterError, "probe_top.*1 to 144"),
        ({"toxicity_model": "./nowhere"}, ModelError, "no such folder"),
        ({"challenge_data": "nowhere"}, DataError, "nowhere: no such data"),
        ({"toxicity_data": FEW}, DataError, r"none of 2 pairs is in the split"),
        ({"toxicity_comments": THIN}, ParameterError, "got '18 civil, 2 rude'; allowed: at least 3 civil"),
    ],
)
def test_refused_before_anything_is_trained(tiny, tmp_path, given, error, message):
    rows = {name: str(write(tmp_path, "csv", value)) for name, value in given.items() if value in (FEW, THIN)}
    run = tiny(**given | rows)
    with pytest.raises(error, match=message):
        toxicity.ready(run)
    assert not list(run.store.root.iterdir())


def test_word_overlap_by_hand():
    assert overlap_f1("The cat, the dog", "the cat sat") == pytest.approx(2 * 2 / (4 + 3))  # "the" counts once
    assert overlap_f1("A b", "B a.") == 1 and overlap_f1("", "a") == 0 and overlap_f1("x", "y") == 0

"""Civil and rude text: the bundled set, other sets by file or name, and the scorers that tell rude from civil."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from planted_classifiers import classifier
from planted_files import change, stand_in_hub, write
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from polinb.errors import DataError, ParameterError
from polinb.stance.civility import CivilPair, load_challenge, load_comments, load_pairs
from polinb.stance.rudeness import Scorer, accuracy, hub_scorer, insulting, local_scorer, rate, texts_of


def test_pairs_in_any_order_and_under_either_name_are_the_same(tmp_path):
    said = [("Hello?", "Good day.", "Go away."), ("hello? ", "Yes?", "No."), ("Tea?", "Please.", "Never from you.")]
    own = [dict(zip(("prompt", "civil", "rude"), texts, strict=True)) for texts in said]  # one prompt twice
    data = load_pairs(str(write(tmp_path, "jsonl", own)))
    assert [(p.prompt, p.civil, p.rude) for p in data.pairs] == [said[0], said[2]] and data.form == "reply"
    other = [dict(zip(("prompt", "chosen", "rejected"), texts, strict=True)) for texts in said]
    for rows in (other, own[2:] + own[:2]):
        assert load_pairs(str(write(tmp_path, "jsonl", rows))).digest() == data.digest()


def test_comments_of_the_public_sets(tmp_path, monkeypatch):
    """Jigsaw's toxic comments, where −1 marks the unlabelled rows of the test file, and civil comments."""
    texts = [("Thank you.", 0), ("You fool!\nGo.", 1), ("Hm.", -1), (" ", 0), ("Fine, then.", 0)]
    rows = [{"comment_text": text, "toxic": told, "insult": max(told, 0)} for text, told in texts]
    found = load_comments(str(write(tmp_path, "csv", rows)))
    assert found.texts == ("Thank you.", "You fool!\nGo.", "Fine, then.") and found.rude == (False, True, False)
    rows = [{"text": f"Comment {i}.", "toxicity": i / 4, "insult": 0.1} for i in range(5)]
    path = str(write(tmp_path, "parquet", rows))
    stand_in_hub(monkeypatch, "parquet", {"train": path, "validation": path, "test": path}, tmp_path / "cache")
    found = load_comments("hub:google/civil_comments")
    assert found.rude == (False, False, True, True, True)
    renamed = [{"comment_text": r["text"], "target": r["toxicity"]} for r in rows]  # as in the Kaggle file
    assert load_comments(str(write(tmp_path, "csv", renamed, "kaggle"))).rude == found.rude
    for told, message in ((0, "found 0 rude of 1"), (3, "row 1, column 'toxic': expected a number from 0 to 1")):
        with pytest.raises(DataError, match=message):
            load_comments(str(write(tmp_path, "json", [{"comment_text": "Hi.", "toxic": told}])))


def test_real_toxicity_prompts(tmp_path, monkeypatch):
    texts = ("So he said that you", True), ("The sun", False), ("What a load of", True)
    rows = [{"prompt": {"text": text, "toxicity": 0.9, "insult": None}, "challenging": hard} for text, hard in texts]
    path = write(tmp_path, "jsonl", rows)
    stand_in_hub(monkeypatch, "json", {"train": str(path)}, tmp_path / "cache")
    for found in (load_challenge("hub:allenai/real-toxicity-prompts"), load_challenge(str(path))):
        assert [item.prompt for item in found] == ["So he said that you", "What a load of"]
        assert {item.form for item in found} == {"continuation"}


def turned(pair):
    """The pair with its sides exchanged."""
    return pair.model_copy(update={"civil": pair.rude, "rude": pair.civil})


def test_the_embedded_scorer_separates_held_out_pairs_that_it_never_sees(tmp_path):
    data = load_pairs()
    held, scorer = data.split("evaluate"), local_scorer(data)
    whole = accuracy(scorer, held)
    assert whole["low"] > 0.75 and whole["contrast"] > 0.6 and whole["ece"] < 0.2
    mixed = replace(data, pairs=tuple(turned(pair) if i % 2 else pair for i, pair in enumerate(data.pairs)))
    assert accuracy(local_scorer(mixed), held)["low"] < 0.5, "labels at random: nothing to learn"
    changed = replace(data, pairs=tuple(turned(pair) if pair in held else pair for pair in data.pairs))
    texts = texts_of(data.pairs)[0]
    np.testing.assert_array_equal(scorer.probabilities(texts), local_scorer(changed).probabilities(texts))
    rows = [{"text": f"{word} number {i}", "toxic": word == "grim"} for i in range(8) for word in ("grim", "mild")]
    own = local_scorer(data, load_comments(str(write(tmp_path, "jsonl", rows))))
    grim, mild, unknown = own.probabilities(["a grim thing", "a mild thing", "¿"])
    assert grim > 0.5 > mild and np.isnan(unknown) and own.identity != scorer.identity


def told(known):
    """A scorer that says what it was told."""
    return Scorer({}, lambda texts: np.array([known[text] for text in texts]))


def test_accuracy_by_hand():
    pairs = [CivilPair(prompt="p", civil="a b", rude="c d"), CivilPair(prompt="q", civil="e f", rude="g h")]
    out = accuracy(told({"a b": 0.1, "c d": 0.9, "e f": 0.6, "g h": np.nan}), pairs)
    assert (out["texts"], out["accuracy"], out["civil_recall"], out["rude_recall"]) == (4, 0.5, 0.5, 0.5)
    assert out["contrast"] == 0 and out["brier"] == pytest.approx((0.01 + 0.01 + 0.36 + 0.25) / 4)
    assert out["ece"] == pytest.approx((0.1 + 0.1 + 0.6 + 0.5) / 4)


def test_rating_by_hand():
    frame = pd.DataFrame({"response": ["You fool.", "", "Good day.", "¿", None]}, index=[3, 1, 4, 0, 9])
    out = rate(told({"You fool.": 0.8, "": 0.9, "Good day.": 0.5, "¿": np.nan}), frame)
    assert out["rude"].tolist() == [1, 0, 1, 0, 0]  # 0.5 counts as rude; empty and untold do not
    assert out["insult"].tolist() == [1, 0, 0, 0, 0]
    np.testing.assert_array_equal(out["p_rude"], [0.8, np.nan, 0.5, np.nan, np.nan])
    assert list(out.index) == [3, 1, 4, 0, 9]
    assert insulting("What an IDIOT!") and not insulting("A foolproof, dullish jokester.")


@pytest.mark.parametrize("many", [True, False])
def test_a_toxicity_classifier(tmp_path, many):
    """``many``: of several labels at once, as unitary/toxic-bert is."""
    folder = classifier(tmp_path / "a@b", {0: "insult", 1: "toxic", 2: "threat"})
    change(folder / "config.json", problem_type=f"{'multi' if many else 'single'}_label_classification")
    scorer = hub_scorer(str(folder), device="cpu")
    assert scorer.identity["label"] == "toxic"  # before "insult", which the model has as well
    assert hub_scorer(f"{folder}:insult").identity["label"] == "insult"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    texts = ["we want tradition", "solidarity we want we want we", "weather"]
    logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits.detach() for text in texts])
    expected = (torch.sigmoid(logits) if many else torch.softmax(logits, -1))[:, 1].tolist()
    np.testing.assert_allclose(scorer.probabilities([*texts, ""]), [*expected, np.nan], atol=1e-6)
    other = classifier(tmp_path / "o", {0: "LABEL_0", 1: "LABEL_1"})
    with pytest.raises(ParameterError, match=r"toxicity_model.*LABEL_0, LABEL_1"):
        hub_scorer(str(other))

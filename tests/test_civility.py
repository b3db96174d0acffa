"""Civil and rude text: the bundled set, other sets by file or name, and the scorers that tell rude from civil."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from test_bundled_data import flesch, near_duplicates, sentences
from test_data_files import stand_in_hub, write
from test_judges import classifier

from polinb.data.civility import CivilityData, CivilPair, load_challenge, load_comments, load_neutral, load_pairs
from polinb.data.pairs import SPLITS
from polinb.errors import DataError, ModelError, ParameterError
from polinb.stance.rudeness import HubScorer, LocalScorer, accuracy, insulting, make_scorer, rate, texts_of

# Not one of these in a rude reply: profanity, threats, groups of people. Slurs are not listed here for decency; each
# text was read, and none holds one.
NEVER = re.compile(
    r"\b(fuck\w*|shit\w*|crap|bitch\w*|bastard\w*|arse\w*|ass|hell|kill you|die|murder|beat you|hit you|punch\w*"
    r"|slap\w*|shoot|women|woman|girls?|boys?|men|man|wife|black|brown|jews?|jewish|muslims?|christians?|hindus?"
    r"|gays?|lesbians?|trans|foreigners?|immigrants?|refugees?|blind|deaf|cripple\w*|disabled|autis\w*|insane|mental"
    r"|fat people|old people)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def data() -> CivilityData:
    return load_pairs()


@pytest.fixture(scope="module")
def scorer(data: CivilityData) -> LocalScorer:
    return LocalScorer(data)


# ---- the bundled set -------------------------------------------------------------------------------------------------


def test_counts_ids_and_splits(data: CivilityData) -> None:
    assert len(data.pairs) == 180 and data.form == "reply"
    settings = Counter(pair.setting for pair in data.pairs)
    assert len(settings) == 15 and set(settings.values()) == {12}
    assert all(re.fullmatch(rf"{pair.setting}-\d\d", pair.id) for pair in data.pairs)
    sizes = [len(data.split(name)) for name in SPLITS]
    assert sum(sizes) == 180 and min(sizes) >= 30
    assert all(12 <= len(text.split()) <= 40 for text in texts_of(data.pairs)[0])


def test_nothing_repeats(data: CivilityData) -> None:
    challenge, neutral = load_challenge(), load_neutral()
    assert (len(challenge.prompts), len(neutral.prompts)) == (40, 24)
    assert Counter(item.kind for item in challenge.prompts) == {"provocation": 16, "request": 12, "opening": 12}
    asked = [p.prompt for p in data.pairs] + [p.prompt for p in (*challenge.prompts, *neutral.prompts)]
    replies = texts_of(data.pairs)[0] + [p.reference for p in neutral.prompts]
    assert near_duplicates(asked) == [] and near_duplicates(replies) == []
    assert near_duplicates(["You are the worst cook.", "You are the worst cook!"]) != []  # the check itself can fail


def phrases(texts: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    """In how many texts each phrase of ``length`` words occurs."""
    found: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = re.findall(r"[a-z']+", text.lower())
        found.update({tuple(words[i : i + length]) for i in range(len(words) - length + 1)})
    return found


def test_no_template(data: CivilityData) -> None:
    for side in ("civil", "rude"):
        texts = [getattr(pair, side) for pair in data.pairs]
        assert max(phrases(texts, 5).values()) <= 3  # three of 180 texts share five words in a row, at most
        assert max(Counter(tuple(text.lower().split()[:2]) for text in texts).values()) <= 9
    assert max(phrases([f"You are such a {x}." for x in "abcdefg"], 4).values()) == 7


def test_rude_replies_stay_mild(data: CivilityData) -> None:
    texts = [text for pair in data.pairs for text in (pair.civil, pair.rude)]
    found = {text: NEVER.findall(text) for text in texts[1::2] if NEVER.search(text)}
    assert found == {}
    assert NEVER.search("Go to hell") and NEVER.search("all foreigners")
    civil, rude = (np.mean([insulting(text) for text in texts[k::2]]) for k in (0, 1))
    assert civil < 0.05 and rude > 0.4


def features(data: CivilityData) -> np.ndarray:
    return np.array([[len(t.split()), len(t), sentences(t)] for t in texts_of(data.pairs)[0]], dtype=float)


def length_accuracy(data: CivilityData) -> float:
    """Accuracy of telling rude from civil by words, characters and sentences alone; folds never part a prompt."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rude, prompt = texts_of(data.pairs)[1], np.repeat(np.arange(len(data.pairs)), 2)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return float((cross_val_predict(model, features(data), rude, groups=prompt, cv=GroupKFold(10)) == rude).mean())


def test_length_alone_is_at_chance(data: CivilityData) -> None:
    # As in test_bundled_data: 180 prompts are 180 trials at worst, standard deviation 0.037; the bound is 2.3 of them.
    assert 0.415 <= length_accuracy(data) <= 0.585
    civil, rude = features(data)[0::2].mean(0), features(data)[1::2].mean(0)
    assert np.all(np.abs(civil - rude) < [0.5, 4, 0.25])


def test_length_check_finds_a_planted_difference(data: CivilityData) -> None:
    longer = [replace(pair, rude=pair.rude + " So there, and good riddance.") for pair in data.pairs]
    assert length_accuracy(replace(data, pairs=tuple(longer))) > 0.65


def test_both_sides_read_equally_easily(data: CivilityData) -> None:
    scores = np.array([flesch(text) for text in texts_of(data.pairs)[0]])
    gap = scores[0::2] - scores[1::2]
    half = 1.96 * gap.std(ddof=1) / len(gap) ** 0.5
    assert abs(gap.mean()) + half < 0.3 * scores.std()  # with 180 pairs the interval is too wide for a smaller bound


def test_the_data_card_counts_right() -> None:
    card = (resources.files("polinb") / "resources" / "civility" / "DATA_CARD.md").read_text("utf-8")
    for file, rows in (("pairs", 180), ("challenge", 40), ("neutral", 24)):
        assert re.search(rf"`{file}\.jsonl` \| {rows} \|", card)
    assert "CC BY 4.0" in card
    for heading in ("How it was written", "Why it is mild", "What it is not", "Known limits", "Licence"):
        assert f"## {heading}" in card


# ---- other sets ------------------------------------------------------------------------------------------------------

OWN = [
    {"prompt": "Hello?", "civil": "Good day.", "rude": "Go away."},
    {"prompt": "hello? ", "civil": "Yes?", "rude": "No."},  # the same prompt again
    {"prompt": "Tea?", "civil": "Please.", "rude": "Never from you."},
]
# Rows as ajyl/dpo_toxic writes them: the continuations may or may not repeat the prompt.
PAIRWISE = [
    {
        "prompt_text": "The game",
        "unpert_gen_text": "The game was long.",
        "pert_gen_text": " was rotten.",
        "prompt_input_ids": [1, 2],
    },
    {
        "prompt_text": "Rain fell",
        "unpert_gen_text": " on the hill.",
        "pert_gen_text": " on the idiots.",
        "prompt_input_ids": [3],
    },
]


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet"])
def test_pairs_from_any_file(tmp_path: Path, suffix: str) -> None:
    data = load_pairs(str(write(tmp_path, suffix, OWN)))
    assert [(p.prompt, p.civil, p.rude) for p in data.pairs] == [tuple(OWN[i].values()) for i in (0, 2)]
    assert data.form == "reply" and (data.source["rows"], data.source["kept"]) == (3, 2)
    other = [{"prompt": r["prompt"], "chosen": r["civil"], "rejected": r["rude"]} for r in OWN]
    assert load_pairs(str(write(tmp_path, suffix, other, "other"))).digest() == data.digest()
    assert load_pairs(str(write(tmp_path, suffix, OWN[2:] + OWN[:2], "turned"))).digest() == data.digest()


def test_paired_toxicity_data(tmp_path: Path) -> None:
    data = load_pairs(str(write(tmp_path, "jsonl", PAIRWISE)))
    assert data.form == "continuation"
    assert [(p.prompt, p.civil, p.rude) for p in data.pairs] == [
        ("The game", "was long.", "was rotten."),
        ("Rain fell", "on the hill.", "on the idiots."),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "A?", "civil": "Yes."}], "rude or rejected or pert_gen_text, found civil, prompt"),
        ([{"prompt": "A?", "civil": "Yes.", "rude": ""}], "row 1, column 'rude': .*empty"),
        ([{"prompt": "A?", "civil": "Yes.", "rude": "yes. "}], "row 1, column 'rude': expected a text that differs"),
        ([{"prompt": "A?", "civil": "Yes.", "rude": "No.", "id": 1}] * 2, "row 2, column 'id'"),
        ([{"comment_text": "Hi.", "toxic": 0}], "this column is missing; .*found comment_text, toxic"),
    ],
)
def test_wrong_pairs(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_pairs(str(write(tmp_path, "json", rows)))


def test_places_that_are_not_there(tmp_path: Path) -> None:
    for load in (load_pairs, load_challenge, load_neutral):
        with pytest.raises(DataError, match="expected bundled, a file"):
            load("bundle")
    with pytest.raises(DataError, match="no such data; expected a file"):
        load_comments("bundled")
    with pytest.raises(DataError, match="expected hub:owner/name"):
        load_pairs("hub:../x")
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="pickle"):
        load_pairs(str(tmp_path / "x.pkl"))


def test_splits_refuse(data: CivilityData) -> None:
    with pytest.raises(ParameterError, match="train, localise, evaluate"):
        data.split("test")
    with pytest.raises(ParameterError, match="at least 1"):
        data.split("train", 0)
    alone = replace(data, pairs=data.split("train")[:1])
    with pytest.raises(DataError, match="none of 1 pairs is in the split 'evaluate'"):
        alone.split("evaluate")
    assert data.split("train", 5) == data.split("train")[:5]


def wikipedia() -> list[dict[str, Any]]:
    """Columns of Jigsaw's toxic comment data; −1 marks the unlabelled rows of its test file."""
    rows = []
    for i, (text, toxic) in enumerate(
        [("Thank you.", 0), ("You fool!\nGo.", 1), ("Hm.", -1), (" ", 0), ("Fine, then.", 0)]
    ):
        rest = dict.fromkeys(("severe_toxic", "obscene", "threat", "insult", "identity_hate"), max(toxic, 0))
        rows.append({"id": f"{i:016x}", "comment_text": text, "toxic": toxic, **rest})
    return rows


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_jigsaw_comments(tmp_path: Path, suffix: str) -> None:
    found = load_comments(str(write(tmp_path, suffix, wikipedia())))
    assert found.texts == ("Thank you.", "You fool!\nGo.", "Fine, then.")
    assert found.rude == (False, True, False)
    assert (found.source["rows"], found.source["kept"], found.source["rude"]) == (5, 3, 1)


def test_civil_comments_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"severe_toxicity": 0.0, "obscene": 0.0, "threat": 0.0, "insult": 0.1, "identity_attack": 0.0}
    rows = [{"text": f"Comment {i}.", "toxicity": i / 4, **shares, "sexual_explicit": 0.0} for i in range(5)]
    path = str(write(tmp_path, "parquet", rows))
    stand_in_hub(monkeypatch, "parquet", {"train": path, "validation": path, "test": path}, tmp_path / "cache")
    found = load_comments("hub:google/civil_comments")
    assert found.rude == (False, False, True, True, True)
    assert found.source["origin"].endswith("google/civil_comments")
    assert load_comments("hub:google/civil_comments", cut=0.9).rude == (False, False, False, False, True)
    renamed = [{"comment_text": r["text"], "target": r["toxicity"]} for r in rows]  # as in the Kaggle file
    assert load_comments(str(write(tmp_path, "csv", renamed, "kaggle"))).rude == found.rude


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"comment_text": "Hi.", "toxic": 0}, {"comment_text": "Ho.", "toxic": 0}], "found 0 rude of 2"),
        ([{"comment_text": "Hi.", "toxic": 1}], "found 1 rude of 1"),
        ([{"comment_text": "Hi.", "toxic": 3}], "row 1, column 'toxic': expected a number from 0 to 1"),
        ([{"comment_text": "Hi.", "toxic": "very"}], "row 1, column 'toxic': expected a number from 0 to 1"),
        ([{"comment_text": "Hi.", "label": 1}], "a column toxic or toxicity or target or rude; found"),
        ([{"sentence": "Hi.", "toxic": 1}], "a column comment_text or text or comment; found"),
    ],
)
def test_wrong_comments(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_comments(str(write(tmp_path, "json", rows)))


def openings() -> list[dict[str, Any]]:
    """Rows as allenai/real-toxicity-prompts has them."""
    scores = {"profanity": 0.1, "toxicity": 0.9, "insult": None, "threat": 0.2}
    rows = []
    for i, (text, hard) in enumerate([("So he said that you", True), ("The sun", False), ("What a load of", True)]):
        words = {"prompt": {"text": text, **scores}, "continuation": {"text": " and so on", **scores}}
        rows.append({"filename": f"{i}.txt", "begin": 0, "end": 9, "challenging": hard, **words})
    return rows


def test_real_toxicity_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "jsonl", openings())
    stand_in_hub(monkeypatch, "json", {"train": str(path)}, tmp_path / "cache")
    for found in (load_challenge("hub:allenai/real-toxicity-prompts"), load_challenge(str(path))):
        assert [item.prompt for item in found.prompts] == ["So he said that you", "What a load of"]
        assert found.form == "continuation"
    easy = [row | {"challenging": False} for row in openings()]
    with pytest.raises(DataError, match="no challenging prompt among 3 rows"):
        load_challenge(str(write(tmp_path, "jsonl", easy, "easy")))
    with pytest.raises(DataError, match="column 'prompt': this column is missing"):
        load_challenge(str(write(tmp_path, "jsonl", [{"question": "Well?"}], "other")))
    with pytest.raises(DataError, match="column 'reference'"):
        load_neutral(str(write(tmp_path, "jsonl", [{"prompt": "Well?"}], "bare")))


# ---- scorers ---------------------------------------------------------------------------------------------------------


def test_the_embedded_scorer_separates_held_out_pairs(data: CivilityData, scorer: LocalScorer) -> None:
    held = data.split("evaluate")
    whole = accuracy(scorer, held)
    assert whole["low"] > 0.75 and whole["contrast"] > 0.6 and whole["ece"] < 0.2
    assert accuracy(scorer, held, words=12)["low"] > 0.6
    swapped = [replace(p, civil=p.rude, rude=p.civil) for p in data.pairs]
    mixed = replace(
        data, pairs=tuple(s if i % 2 else p for i, (p, s) in enumerate(zip(data.pairs, swapped, strict=True)))
    )
    assert accuracy(LocalScorer(mixed), held)["low"] < 0.5 < 0.7  # labels at random: nothing to learn


def test_the_embedded_scorer_never_sees_the_evaluate_split(data: CivilityData, scorer: LocalScorer) -> None:
    held = {pair.id for pair in data.split("evaluate")}
    changed = [replace(p, civil=p.rude, rude=p.civil) if p.id in held else p for p in data.pairs]
    texts = texts_of(data.pairs)[0]
    again = LocalScorer(replace(data, pairs=tuple(changed))).probabilities(texts)
    np.testing.assert_array_equal(scorer.probabilities(texts), again)


def test_civil_prompts_lower_false_alarms(data: CivilityData, scorer: LocalScorer) -> None:
    bare = LocalScorer(replace(data, civil_prompts=False))
    asked = [pair.prompt for pair in data.split("evaluate")]  # civil, and of another kind than replies
    assert data.civil_prompts and scorer.identity != bare.identity
    alarms = [float((each.probabilities(asked) >= 0.5).mean()) for each in (scorer, bare)]
    assert alarms[0] < 0.15 < alarms[1]


def test_a_scorer_of_comments(tmp_path: Path, data: CivilityData, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": f"{word} number {i}", "toxic": word == "grim"} for i in range(8) for word in ("grim", "mild")]
    own = make_scorer("", data, load_comments(str(write(tmp_path, "jsonl", rows))))
    grim, mild, unknown = own.probabilities(["a grim thing", "a mild thing", "¿"])
    assert grim > 0.5 > mild and np.isnan(unknown)
    assert own.identity != make_scorer("", data).identity
    monkeypatch.setattr("polinb.stance.rudeness.MOST", 3)
    few = make_scorer("", data, load_comments(str(tmp_path / "set.jsonl")))
    assert (few.probabilities(["a grim thing", "a mild thing"]) > 0.5).tolist() == [True, False]
    two = [{"text": "Hi you.", "toxic": 0}, {"text": "Ho you.", "toxic": 1}]
    with pytest.raises(DataError, match="two texts of each class; it has 1 rude, 1 civil"):
        make_scorer("", data, load_comments(str(write(tmp_path, "jsonl", two, "two"))))


class Told:
    """A scorer that says what it was told."""

    name = "told"
    identity: ClassVar[dict[str, Any]] = {}

    def __init__(self, values: dict[str, float]) -> None:
        self.values = values

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([self.values[text] for text in texts])


def test_accuracy_by_hand() -> None:
    pairs = [CivilPair("1", "p", "a b", "c d"), CivilPair("2", "q", "e f", "g h")]
    out = accuracy(Told({"a b": 0.1, "c d": 0.9, "e f": 0.6, "g h": np.nan}), pairs)
    assert (out["texts"], out["accuracy"], out["civil_recall"], out["rude_recall"]) == (4, 0.5, 0.5, 0.5)
    assert out["contrast"] == 0 and out["brier"] == pytest.approx((0.01 + 0.01 + 0.36 + 0.25) / 4)
    assert out["ece"] == pytest.approx((0.1 + 0.1 + 0.6 + 0.5) / 4)
    assert accuracy(Told({"a": 0.1, "c": 0.9, "e": 0.2, "g": 0.8}), pairs, words=1)["accuracy"] == 1


def test_rating_by_hand() -> None:
    frame = pd.DataFrame({"response": ["You fool.", "", "Good day.", "¿", None]}, index=[3, 1, 4, 0, 9])
    out = rate(Told({"You fool.": 0.8, "": 0.9, "Good day.": 0.5, "¿": np.nan}), frame)
    assert out["rude"].tolist() == [1, 0, 1, 0, 0]  # 0.5 counts as rude; empty and untold do not
    assert out["insult"].tolist() == [1, 0, 0, 0, 0]
    assert out["p_rude"].tolist()[0::2][:2] == [0.8, 0.5] and out["p_rude"].isna().tolist() == [
        False,
        True,
        False,
        True,
        True,
    ]
    assert list(out.index) == [3, 1, 4, 0, 9]


def test_insults_are_whole_words() -> None:
    assert insulting("What an IDIOT!") and not insulting("A foolproof, dullish jokester.")


def toxic_model(folder: Path, labels: dict[int, str], many: bool) -> Path:
    """A planted classifier; ``many``: of several labels at once, as unitary/toxic-bert is."""
    classifier(folder, labels)
    config = json.loads((folder / "config.json").read_text())
    config["problem_type"] = "multi_label_classification" if many else "single_label_classification"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


LABELS = {0: "insult", 1: "toxic", 2: "threat"}


@pytest.mark.parametrize("many", [True, False])
def test_a_toxicity_classifier(tmp_path: Path, many: bool) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = toxic_model(tmp_path / "m", LABELS, many)
    texts = ["we want tradition", "", "solidarity we want we want we", "weather"]
    scorer = HubScorer(str(folder), device="cpu")
    assert scorer.label == "toxic"  # before "insult", which the model has as well
    found = scorer.probabilities(texts)
    assert np.isnan(found[1])
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    for text, value in zip(texts, found, strict=True):
        if text:
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0].detach()
            expected = torch.sigmoid(logits) if many else torch.softmax(logits, -1)
            assert value == pytest.approx(float(expected[1]), abs=1e-6)
    assert found[0] > 0.5 > found[3] if not many else found[0] > found[3]


def test_toxicity_classifiers_that_are_refused(tmp_path: Path, data: CivilityData, monkeypatch: Any) -> None:
    other = toxic_model(tmp_path / "o", {0: "LABEL_0", 1: "LABEL_1"}, False)
    with pytest.raises(ParameterError, match=r"toxicity_model.*labels: LABEL_0, LABEL_1"):
        HubScorer(str(other))
    seen: list[tuple[str, str]] = []

    def config_of(model: str, revision: str) -> Any:
        from transformers import AutoConfig

        seen.append((model, revision))
        return AutoConfig.from_pretrained(other), "abc"

    monkeypatch.setattr("polinb.stance.classifiers._config", config_of)
    monkeypatch.setattr("polinb.stance.classifiers._place", lambda model: str(other))
    named = make_scorer("owner/name@refs/pr/1:label_1", data)
    assert isinstance(named, HubScorer) and named.label == "LABEL_1" and set(seen) == {("owner/name", "refs/pr/1")}
    assert named.identity == {"model": "owner/name", "commit": "abc", "label": "LABEL_1"}
    with pytest.raises(ParameterError, match="owner/name:toxic"):
        make_scorer("owner/name:toxic", data)
    monkeypatch.undo()
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no safetensors weights"):
        HubScorer(str(other))
    with pytest.raises(ModelError, match="no such folder"):
        HubScorer("./nowhere")
    with pytest.raises(ParameterError, match="hub id"):
        HubScorer(" ")


def test_scorers_tell_their_weights_apart(tmp_path: Path) -> None:
    def make(name: str) -> dict[str, Any]:
        return HubScorer(str(toxic_model(tmp_path / name, LABELS, True))).identity

    assert make("a") == make("b")
    folder = toxic_model(tmp_path / "c", {0: "threat", 1: "toxic", 2: "insult"}, True)
    assert HubScorer(str(folder)).identity != make("d")

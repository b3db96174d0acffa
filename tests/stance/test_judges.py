"""The local judge on planted texts and the bundled data; the hf judge on classifiers with planted weights."""

import math

import numpy as np
import pandas as pd
import pytest
from planted_classifiers import PLAIN, TELLING, TOPICS, classifier, planted
from planted_files import change
from safetensors.torch import load_file, save_file

from polinb.data.loading import StanceData, load_data, split_of
from polinb.errors import DataError, ModelError, ParameterError
from polinb.stance.calibration import reliability
from polinb.stance.judges import HFJudge, LocalJudge, training_rows


def answers(*texts):
    frame = pd.DataFrame({"topic": "race", "id": range(len(texts)), "prompt": "?", "response": list(texts)})
    return frame.set_index(frame.index + 10)


def test_local_reads_planted_texts():
    frame = answers("We want solidarity.", "We want tradition.", "", "  \n", None, "zzz qqq", "TRADITION!")
    out = LocalJudge(planted()).rate(frame)
    pd.testing.assert_frame_equal(out[list(frame.columns)], frame)
    assert list(out["label"]) == ["left", "right", "unrated", "unrated", "unrated", "other", "right"]
    assert list(out["score"]) == [-1, 1, 0, 0, 0, 0, 1]
    assert out["p_right"].iloc[0] < 0.5 < out["p_right"].iloc[1]
    assert out["p_right"].isna().tolist() == [False, False, True, True, True, True, False]


def turned(pair):
    return pair.model_copy(update={"left": pair.right, "right": pair.left})


def test_local_learns_nothing_from_evaluation_prompts():
    pairs = planted().pairs
    held_out = [pair for pair in pairs if split_of(pair.prompt) == "evaluate"]
    swapped = [turned(pair) if pair in held_out else pair for pair in pairs]
    texts = answers("solidarity", "tradition", "our wages need tradition now")
    first, *others = (
        LocalJudge(StanceData("planted", tuple(each))).rate(texts)["p_right"].tolist()
        for each in (pairs, swapped, pairs[::-1])
    )
    assert held_out and others == [first, first], "in any order of the data, too"
    said = {"right": "More solidarity!", "right_agrees": False}
    mixed = StanceData("mixed", (*[p.model_copy(update=said) for p in pairs[::2]], *pairs[1::2]))
    assert not training_rows(mixed)["text"].isin(["More solidarity!"]).any(), "labels that agree only"
    assert LocalJudge(mixed).rate(answers("solidarity"))["label"].tolist() == ["left"]
    for one_sided in ([pair.model_copy(update={"right_agrees": False}) for pair in pairs], []):
        with pytest.raises(DataError):
            LocalJudge(StanceData("one-sided", tuple(one_sided)))


def test_local_has_no_opinion_on_a_topics_words():
    """Race has one right-leaning response in ten; counted plainly, its name would be left-leaning at 0.8."""
    pairs = []
    for i, pair in enumerate(planted(40).pairs):
        said = {side: f"On {pair.topic} we need {of}." for side, of in (("left", "solidarity"), ("right", "tradition"))}
        pairs.append(pair.model_copy(update=said | {"right_agrees": pair.topic != "race" or i % 10 == 0}))
    judge = LocalJudge(StanceData("uneven", tuple(pairs)))
    assert judge.rate(answers("on race"))["p_right"].iloc[0] == pytest.approx(0.5, abs=0.15)


def test_local_on_topics_it_never_saw():
    assert LocalJudge(planted()).unseen() == dict.fromkeys([*sorted(TOPICS), "all"], 1.0)
    assert LocalJudge(load_data("bundled")).unseen()["all"] > 0.8, "else a stance is mostly the judge's error"
    # sides given by a coin: at chance, whatever the training rows say
    rng = np.random.default_rng(0)
    pairs = [turned(p) if rng.random() < 0.5 else p for p in planted(60).pairs]
    assert 0.3 < LocalJudge(StanceData("noise", tuple(pairs))).unseen()["all"] < 0.7


def test_reliability_bins():
    table = reliability(np.array([0.0, 0.04, 0.55, 0.51, 1.0]), np.array([False, True, True, False, True]))
    expected = {"low": [0.0, 0.5, 0.9], "high": [0.1, 0.6, 1.0], "n": [2, 2, 1], "p_right": [0.02, 0.53, 1.0]}
    pd.testing.assert_frame_equal(table, pd.DataFrame({**expected, "right": [0.5, 0.5, 1.0]}))


def test_hf_reads_planted_weights(tmp_path):
    judge = HFJudge(str(classifier(tmp_path / "m", TELLING)), device="cpu")
    long = "tradition " + "we " * 100  # is cut
    texts = answers("we want tradition", "solidarity", "", "weather", "we want solidarity we want", long)
    out = judge.rate(texts)
    assert list(out["label"]) == ["right", "left", "unrated", "other", "left", "right"]
    assert list(out["score"]) == [1, -1, 0, 0, -1, 1]
    assert out["p_right"].iloc[0] > 0.6 and out["p_right"].iloc[1] < 0.4 and math.isnan(out["p_right"].iloc[2])
    alone = [judge.rate(texts.iloc[[k]])["p_right"].iloc[0] for k in range(len(texts))]
    np.testing.assert_allclose(out["p_right"], alone, atol=1e-6)  # it does not depend on the batches


def test_hf_labels_are_mapped_and_what_cannot_be_trusted_is_refused(tmp_path):
    folder = classifier(tmp_path / "m", PLAIN)
    for left, right, side in (("0", "1", "right"), ("LABEL_1", "LABEL_0", "left")):
        judge = HFJudge(str(folder), labels={left: "left", right: "right"})
        assert judge.rate(answers("tradition"))["label"].tolist() == [side]
    for wrong, says in ((None, "LABEL_0, LABEL_1"), (dict.fromkeys(PLAIN.values(), "left"), "left and right at least")):
        with pytest.raises(ParameterError, match=says):
            HFJudge(str(folder), labels=wrong)
    path, labels = folder / "model.safetensors", {"0": "left", "1": "right"}
    kept = {name: value for name, value in load_file(path).items() if not name.startswith("classifier")}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights"):  # of a head that would be filled at random
        HFJudge(str(folder), labels=labels)
    change(folder / "config.json", architectures=["BertForMaskedLM"])
    with pytest.raises(ModelError, match="BertForMaskedLM"):
        HFJudge(str(folder), labels=labels)

"""The local judge on planted texts and the bundled data; the hf judge on classifiers with planted weights."""

import math

import numpy as np
import pandas as pd
import pytest
from planted_classifiers import PLAIN, TELLING, TOPICS, classifier, planted
from planted_files import change

from polinb.data.loading import StanceData, load_data, split_of
from polinb.errors import DataError, ModelError, ParameterError
from polinb.stance.calibration import reliability
from polinb.stance.judges import HFJudge, LocalJudge, training_rows
from polinb.stance.stance import responses_of


def answers(*texts):
    return pd.DataFrame(
        {"topic": "race", "id": range(len(texts)), "prompt": "?", "response": list(texts)},
        index=range(10, 10 + len(texts)),
    )


@pytest.fixture(scope="module")
def local():
    return LocalJudge(planted())


def test_local_reads_planted_texts(local):
    frame = answers("We want solidarity.", "We want tradition.", "", "  \n", None, "zzz qqq", "TRADITION!")
    out = local.rate(frame)
    pd.testing.assert_frame_equal(out[list(frame.columns)], frame)
    assert list(out["label"]) == ["left", "right", "unrated", "unrated", "unrated", "other", "right"]
    assert list(out["score"]) == [-1, 1, 0, 0, 0, 0, 1]
    assert out["p_right"].iloc[0] < 0.5 < out["p_right"].iloc[1]
    assert out["p_right"].isna().tolist() == [False, False, True, True, True, True, False]


def turned(pair):
    """The pair with its sides exchanged."""
    return pair.model_copy(update={"left": pair.right, "right": pair.left})


def test_local_learns_nothing_from_evaluation_prompts():
    data = planted()
    held_out = [pair for pair in data.pairs if split_of(pair.prompt) == "evaluate"]
    assert held_out
    swapped = tuple(turned(pair) if pair in held_out else pair for pair in data.pairs)
    texts = answers("solidarity", "tradition", "our wages need tradition now")
    first, second = (LocalJudge(d).rate(texts)["p_right"].tolist() for d in (data, StanceData("swapped", swapped)))
    assert first == second
    shuffled = StanceData("planted", data.pairs[::-1])
    assert LocalJudge(shuffled).rate(texts)["p_right"].tolist() == first, "in any order of the data"
    said = {"right": "More solidarity!", "right_agrees": False}
    wrong = [pair.model_copy(update=said) for pair in data.pairs[::2]]
    mixed = StanceData("mixed", (*wrong, *data.pairs[1::2]))
    assert not training_rows(mixed)["text"].isin(["More solidarity!"]).any(), "labels that agree only"
    assert LocalJudge(mixed).rate(answers("solidarity"))["label"].tolist() == ["left"]


def test_local_has_no_opinion_on_a_topics_words():
    """Race has one right-leaning response in ten; counted plainly, its name would be left-leaning at 0.8."""
    pairs = [
        pair.model_copy(
            update={
                "left": f"On {pair.topic} we need solidarity.",
                "right": f"On {pair.topic} we need tradition.",
                "right_agrees": pair.topic != "race" or i % 10 == 0,
            }
        )
        for i, pair in enumerate(planted(40).pairs)
    ]
    judge = LocalJudge(StanceData("uneven", tuple(pairs)))
    assert judge.rate(answers("on race"))["p_right"].iloc[0] == pytest.approx(0.5, abs=0.15)


def test_local_on_topics_it_never_saw(local):
    assert local.unseen() == dict.fromkeys([*sorted(TOPICS), "all"], 1.0)
    assert LocalJudge(load_data("bundled")).unseen()["all"] > 0.8, "else a stance is mostly the judge's error"
    # sides given by a coin: at chance, whatever the training rows say
    rng = np.random.default_rng(0)
    pairs = [turned(p) if rng.random() < 0.5 else p for p in planted(60).pairs]
    assert 0.3 < LocalJudge(StanceData("noise", tuple(pairs))).unseen()["all"] < 0.7


def test_wrong_input_is_refused():
    one_sided = tuple(pair.model_copy(update={"right_agrees": False}) for pair in planted().pairs)
    with pytest.raises(DataError, match="right"):
        LocalJudge(StanceData("one-sided", one_sided))
    with pytest.raises(DataError):
        LocalJudge(StanceData("empty", ()))
    assert responses_of(answers("a", None, float("nan"))) == ["a", "", ""]
    for frame, says in (({"text": ["a"]}, "response"), ({"response": [3]}, "int")):
        with pytest.raises(DataError, match=says):
            responses_of(pd.DataFrame(frame))


def test_reliability_bins():
    table = reliability(np.array([0.0, 0.04, 0.55, 0.51, 1.0]), np.array([False, True, True, False, True]))
    expected = {"low": [0.0, 0.5, 0.9], "high": [0.1, 0.6, 1.0], "n": [2, 2, 1], "p_right": [0.02, 0.53, 1.0]}
    pd.testing.assert_frame_equal(table, pd.DataFrame({**expected, "right": [0.5, 0.5, 1.0]}))


def test_hf_reads_planted_weights(tmp_path):
    judge = HFJudge(str(classifier(tmp_path / "m", TELLING)), device="cpu")
    assert judge.sides == ["left", "right", "other"]
    long = "tradition " + "we " * 100  # is cut
    texts = answers("we want tradition", "solidarity", "", "weather", "we want solidarity we want", long)
    out = judge.rate(texts)
    assert list(out["label"]) == ["right", "left", "unrated", "other", "left", "right"]
    assert list(out["score"]) == [1, -1, 0, 0, -1, 1]
    assert out["p_right"].iloc[0] > 0.6 and out["p_right"].iloc[1] < 0.4 and math.isnan(out["p_right"].iloc[2])
    alone = [judge.rate(texts.iloc[[k]])["p_right"].iloc[0] for k in range(len(texts))]
    np.testing.assert_allclose(out["p_right"], alone, atol=1e-6)  # it does not depend on the batches


def test_hf_label_map(tmp_path):
    folder = str(classifier(tmp_path / "m", PLAIN))
    for left, right, side in (("LABEL_0", "LABEL_1", "right"), ("0", "1", "right"), ("LABEL_1", "LABEL_0", "left")):
        judge = HFJudge(folder, labels={left: "left", right: "right"})
        assert judge.rate(answers("tradition"))["label"].tolist() == [side]
    for wrong, says in (
        (None, "LABEL_0, LABEL_1"),
        ({"LABEL_0": "left", "LABEL_1": "up"}, "up"),
        ({"LABEL_0": "left", "LABEL_1": "left"}, "left and right at least once"),
    ):
        with pytest.raises(ParameterError, match=says):
            HFJudge(folder, labels=wrong)


def test_hf_refuses_what_it_cannot_trust(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = classifier(tmp_path / "m", TELLING)
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights"):  # of a head that would be filled at random
        HFJudge(str(folder))
    change(folder / "config.json", architectures=["BertForMaskedLM"])
    with pytest.raises(ModelError, match="BertForMaskedLM"):
        HFJudge(str(folder))

"""The paper's numbers as carried: unchanged, listed once, and with exactly the slips that its README names."""

from __future__ import annotations

import hashlib

import pytest

from polinb.chapters.paper import paper


def test_disagreements_are_the_known_ones() -> None:
    frame = paper.disagreements()
    by_model = frame.groupby("model").size().to_dict()
    llama = frame[frame.model == "Llama-3.1-8B"]
    assert (llama["main"] == llama["ablation_2_5"]).sum() == 5
    assert by_model["Qwen2.5-3B"] == 2
    slip = frame[frame.model == "Llama-3.2-3B"]
    assert slip[["topic", "column", "main", "ablation"]].values.tolist() == [["gender", "idrlabs_mnli", 0.112, 0.012]]


def test_every_figure_and_table_is_listed_once() -> None:
    frame = paper.exhibits()
    assert list(frame[frame.kind == "figure"].number) == list(range(1, 13))
    assert list(frame[frame.kind == "table"].number) == list(range(1, 11))
    assert frame.id.is_unique and (frame.caption.str.len() > 10).all() and (frame.section != "").all()
    readers = {
        "inhibitft": paper.inhibitft,
        "gamma_ablation": paper.gamma_ablation,
        "vanilla_stance_ideoinst": paper.vanilla_stance,
        "vanilla_stance_transfer": paper.vanilla_transfer,
    }
    for row in frame.itertuples():
        assert set(row.models) <= set(paper.MODELS)
        if row.kind == "table":
            rows = readers[row.numbers]().query("table == @row.number")
            assert set(rows.model) == set(row.models), row.id


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("vanilla_stance_ideoinst", "5d7d24ace381aa0e"),
        ("vanilla_stance_transfer", "9e01e404f1c34872"),
        ("inhibitft", "424cc521afcd7ef3"),
        ("gamma_ablation", "323b8f20ccd6262a"),
    ],
)
def test_the_copied_digits_have_not_changed(name: str, digest: str) -> None:
    text = (paper.resources.files("polinb") / "resources" / "paper" / f"{name}.csv").read_bytes()
    assert hashlib.sha256(text).hexdigest()[:16] == digest

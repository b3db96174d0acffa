"""The paper's numbers as carried: complete, in range, and with exactly the slips that its README names."""

from __future__ import annotations

import hashlib
import math

import pytest

from polinb.chapters.paper import paper

TOPICS = {"crime", "race", "economy", "immigration", "gender", "science"}


def test_vanilla_stance_is_table_2() -> None:
    frame = paper.vanilla_stance()
    assert len(frame) == 4 * 6 and set(frame.topic) == TOPICS and set(frame.model) == set(paper.MODELS)
    assert frame.stance.between(-1, 1).all() and set(frame.table) == {2}
    cell = frame.query("model == 'Llama-3.2-3B' and topic == 'crime'").stance
    assert cell.tolist() == [0.10]


def test_odd_hundredths_cannot_be_a_hundred_plus_or_minus_ones() -> None:
    hundredths = (paper.vanilla_stance().stance * 100).round().astype(int)
    assert (hundredths % 2 != 0).sum() == 12


def test_transfer_fits_61_and_29_statements() -> None:
    """Every value of Table 3 is k/61 or k/29 for an odd k, cut off after two digits."""
    frame = paper.vanilla_transfer()
    sizes = {"political_compass": 61, "idrlabs_ideologies": 29}
    for row in frame.itertuples():
        n = sizes[row.statements]
        assert any(math.trunc(100 * k / n) == round(100 * row.stance) for k in range(-n, n + 1, 2)), row


def test_inhibitft_is_complete() -> None:
    frame = paper.inhibitft()
    assert len(frame) == 4 * 6 * 3 and not frame.duplicated(["model", "topic", "method"]).any()
    assert set(frame.table) == {1, 4, 5, 6} and frame[["rmse", *paper.UTILITY]].notna().all().all()


def test_gamma_ablation_is_complete_and_lowest_where_the_readme_says() -> None:
    frame = paper.gamma_ablation()
    assert len(frame) == 4 * 6 * 8 and set(frame.table) == {7, 8, 9, 10}
    lowest = frame.groupby(["model", "gamma_percent"]).rmse.mean().unstack().idxmin(axis=1)
    assert lowest.to_dict() == {
        "Llama-3.1-8B": 7.5,
        "Llama-3.2-3B": 7.5,
        "Qwen2.5-3B": 5.0,
        "Qwen2.5-7B": 5.0,
    }


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

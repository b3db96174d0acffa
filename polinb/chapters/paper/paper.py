"""The numbers that the main paper prints, and the list of its figures and tables.

Source, conventions and the paper's known slips: ``resources/paper/README.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import pandas as pd

UTILITY = (
    "ideoinst_cola",
    "ideoinst_mnli",
    "political_compass_cola",
    "political_compass_mnli",
    "idrlabs_cola",
    "idrlabs_mnli",
)


def vanilla_stance() -> pd.DataFrame:
    """Table 2, tidy: ``table, model, topic, stance``; -1 left to 1 right, about 100 questions each."""
    return read("paper/vanilla_stance_ideoinst").melt(["table", "model"], var_name="topic", value_name="stance")


def vanilla_transfer() -> pd.DataFrame:
    """Table 3, tidy: ``table, model, statements, stance``; 61 and 29 statements."""
    return read("paper/vanilla_stance_transfer").melt(["table", "model"], var_name="statements", value_name="stance")


def inhibitft() -> pd.DataFrame:
    """Tables 1, 4, 5, 6: ``table, model, topic, method, rmse`` and the six columns of ``UTILITY``.

    ``topic`` is the one fine-tuned on; ``method`` is ``fine-tune``, ``inhibitft`` or ``inhibitft-random``;
    ``rmse`` is R.
    """
    return read("paper/inhibitft")


def gamma_ablation() -> pd.DataFrame:
    """Tables 7 to 10: ``table, model, topic, gamma_percent, rmse`` and the six columns of ``UTILITY``."""
    return read("paper/gamma_ablation")


def ablated(topics: Sequence[str]) -> pd.DataFrame:
    """:func:`gamma_ablation` on the topics of ours: means over other topics would not be comparable."""
    return gamma_ablation().query("topic in @topics")


def exhibits() -> pd.DataFrame:
    """Every figure and table of the paper, figures first.

    ``id`` (``figure-3``), ``kind``, ``number``, ``section``, ``caption`` in our words, ``numbers`` (name of the file
    here, empty where the paper prints none), ``chapter`` (the notebook that makes its counterpart), ``differs`` (in
    our words) and ``counterparts`` (tuple of labels here).
    """
    frame = read("paper/exhibits").fillna("")
    return frame.assign(counterparts=[tuple(filter(None, text.split(";"))) for text in frame["counterparts"]])


def disagreements() -> pd.DataFrame:
    """Cells printed twice with different values: InhibitFT at gamma = 5 % in Tables 1, 4-6 and 7-10.

    ``model, topic, column, main`` (Tables 1, 4-6), ``ablation`` (Tables 7-10), ``ablation_2_5`` (the row of
    gamma = 2.5 %).
    """
    keys, columns = ["model", "topic"], ["rmse", *UTILITY]
    ablation = gamma_ablation().set_index(keys)
    main = inhibitft().query("method == 'inhibitft'").set_index(keys)[columns].stack()
    at_5 = ablation.query("gamma_percent == 5")[columns].stack()
    at_2_5 = ablation.query("gamma_percent == 2.5")[columns].stack()
    both = pd.DataFrame({"main": main, "ablation": at_5, "ablation_2_5": at_2_5}).rename_axis([*keys, "column"])
    return both[both["main"] != both["ablation"]].reset_index()


def read(name: str) -> pd.DataFrame:
    """A table that comes with the package, such as ``paper/inhibitft``."""
    with (resources.files("polinb") / "resources" / f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"section": str})

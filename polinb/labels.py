"""Names that a reader sees in place of those of the code: headers of tables, and values of some columns."""

from __future__ import annotations

HEADERS = {
    "ablation_2_5": "ablation, γ = 2.5 %",
    "auc": "AUC",
    "bootstrap_share_no_drop": "share of resamples without a drop",
    "civil_recall": "recall, civil",
    "gamma": "γ (%)",
    "gamma_percent": "γ (%)",
    "idrlabs_cola": "IDRlabs, CoLA",
    "idrlabs_mnli": "IDRlabs, MNLI",
    "ideoinst_cola": "IDEOINST, CoLA",
    "ideoinst_mnli": "IDEOINST, MNLI",
    "in_raw_g": "share in raw G",
    "in_neutral_top": "share among the highest activations, neutral texts",
    "in_scale_top": "share among the highest activations",
    "kappa": "κ",
    "left_recall": "recall, left",
    "n_topics": "topics",
    "other_rate": "share neither",
    "p_no_gain": "share of resamples without a gain",
    "p_right": "P(right)",
    "p_right_mean": "mean P(right)",
    "percent_of_donor": "% of the donor's shift",
    "political_compass_cola": "Political Compass, CoLA",
    "political_compass_mnli": "Political Compass, MNLI",
    "r": "R",
    "r_weak": "R, trained less",
    "raw_drop": "drop of the raw R",
    "relative_percent": "relative drop (%)",
    "right_recall": "recall, right",
    "rude_recall": "recall, rude",
    "second_accuracy": "accuracy, second judge",
    "seeds_first": "seeds, the other condition",
    "seeds_second": "seeds, InhibitFT",
    "spillover_corrected": "spillover, corrected",
    "unrated_rate": "share unrated",
}
METRICS = {
    "cola": "CoLA",
    "fluency_under_vanilla": "log-likelihood under the vanilla model",
    "lexical_relevance": "word overlap with the question",
    "mean_words": "mean number of words",
    "mnli": "MNLI",
}
SETS = {"political_compass": "Political Compass", "idrlabs_ideologies": "IDRlabs ideologies"}


def header(column: str) -> str:
    """What stands over a column; a name that is not known loses its underscores."""
    return HEADERS.get(column, column.replace("_", " "))


def measured(column: str) -> str:
    """The name of a quantity within the text of a cell: a metric, or one of the paper's columns."""
    return METRICS.get(column) or header(column)

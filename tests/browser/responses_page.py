"""Made-up answers for the responses browser, the page that shows them, and what pandas says about the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polinb.display import responses
from polinb.display.responses import KINDS, Column
from polinb.display.webdata import embed

TOPICS = ("crime", "race", "science")
TRAINED = ("crime", "race")
SHARED = ("vanilla", "patch-g")  # the same whatever the trained topic
WORDS = np.array("the a law tax river people should not help fair state strong open tree work vote day".split())  # noqa: SIM905
PLANTED = {
    "crime-000": "<script>window.hacked = 1</script> and <b>bold</b>",
    "crime-001": "<img src=x onerror='window.hacked = 1'> **stars** `code` {ref}`sec-x` $x^2$ {{ x }}",
    "crime-002": "over\u202eride \u200bzero\x07bell\nsecond line\tend",
    "crime-003": '=HYPERLINK("http://x","y"), quoted',
    "crime-004": "+1 plus",
    "crime-005": "-1 minus",
    "crime-006": "@at",
    "crime-007": "",
}
FALLBACK = "<p id='fallback'>no script ran</p>"


def made_up() -> tuple[pd.DataFrame, list[Column]]:
    """Questions and columns; the patched ones were asked the first half of each topic only."""
    rng = np.random.default_rng(0)
    rows = [(t, f"{t}-{i:03d}", f"Question {i} on {t}?") for t in TOPICS for i in range(30)]
    asked = pd.DataFrame(rows, columns=["topic", "id", "prompt"])
    asked["left"], asked["right"] = "left reference " + asked["id"], "right reference " + asked["id"]
    cols = []
    for kind in KINDS:
        for trained in ("",) if kind in SHARED else TRAINED:
            own = asked[asked.groupby("topic").cumcount() < (15 if kind.startswith("patch") else 30)]
            frame = own[["topic", "id"]].copy()
            frame["response"] = [" ".join(rng.choice(WORDS, 12)) for _ in range(len(own))]
            frame["label"] = rng.choice(["left", "right", "other"], len(own), p=[0.45, 0.45, 0.1])
            frame["score"] = frame["label"].map({"left": -1, "right": 1, "other": 0})
            frame["p_right"] = np.where(frame["label"] == "other", np.nan, rng.integers(1, 9999, len(own)) / 10_000)
            frame["n_tokens"] = rng.integers(5, 29, len(own))
            if kind == "vanilla":
                frame["response"] = frame["id"].map(PLANTED).fillna(frame["response"])
            cols.append(Column(kind, trained, KINDS[kind][0], frame.reset_index(drop=True)))
    return asked, cols


def data_of(asked: pd.DataFrame, cols: list[Column]) -> dict:
    """What the page gets."""
    about = {"model": "tiny", "judge": "local", "longest": 28, "wanted": 1000, "whole": "quick run"}
    return responses.payload(asked, cols, 1000, about, 100, 0)


def shown_by(data: dict) -> str:
    """The browser's element."""
    return embed("responses", data, "Responses browser", FALLBACK).data


def wide(asked: pd.DataFrame, cols: list[Column], trained: str) -> pd.DataFrame:
    """Pandas' view of one trained topic: a row a question, columns ``<kind> answer, label, p, score``."""
    out = asked.copy()
    for col in cols:
        if col.trained in ("", trained):
            own = col.frame.rename(columns={"response": "answer", "p_right": "p"})
            own = own[["topic", "id", "answer", "label", "p", "score", "n_tokens"]]
            own.columns = ["topic", "id", *(f"{col.kind} {name}" for name in own.columns[2:])]
            out = out.merge(own, on=["topic", "id"], how="left")
    return out

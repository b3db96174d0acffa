"""The responses browser: what every model answered to the evaluation questions, side by side, with the judge's label.

Python packs the answers (``polinb.chapters.browse.side_by_side``); ``resources/web/responses.js`` draws them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from polinb.chapters.browse.side_by_side import KINDS, Column
from polinb.display.webdata import embed, packed
from polinb.errors import DataError
from polinb.resampling import STANCE, stratified_mean
from polinb.runs.run import Run
from polinb.stance.stance import LABELS, stance_table
from polinb.wording import escape, placeless

if TYPE_CHECKING:
    from IPython.display import HTML

LIMIT = 2_000_000  # characters that the packed data may add to the page
STEPS = 10_000  # P(right) is carried as a whole number of these steps
SHOWN = ("vanilla", "right", "patch-g", "inhibit")  # columns shown at first
SHAPES = {"left": "◀ left", "right": "▶ right", "other": "● neither", "unrated": "○ not rated"}


def payload(
    questions: pd.DataFrame, cols: Sequence[Column], a_topic: int, about: Mapping[str, Any], draws: int, seed: int
) -> dict[str, Any]:
    """What the page gets: texts once each in one list, everything else as numbers that point into it.

    Args:
        questions: topic, id, prompt, left, right (reference answers); the run's, in its order.
        cols: the models' answers.
        a_topic: the first so many questions of each topic are carried.
        about: facts on the run, handed on as they are.
        draws, seed: of the intervals of the whole run's stances.

    Raises:
        DataError: no question, or a label that is not one of the judge's.
    """
    kept = questions.groupby("topic", sort=False).head(a_topic).reset_index(drop=True)
    if kept.empty:
        raise DataError("responses browser: no question to show")
    answered = [kept[["topic", "id"]].merge(col.frame, how="left", on=["topic", "id"]) for col in cols]
    shown = pd.concat([kept[["prompt", "left", "right"]], *(each["response"] for each in answered)], axis=1)
    # numbered question by question: like texts compress together; an answer that is not there is -1
    numbers, texts = pd.factorize(shown.to_numpy(dtype=object).ravel())
    places = numbers.reshape(shown.shape).T.tolist()
    topic, topics = pd.factorize(kept["topic"])
    rows = {"topic": topic.tolist(), "id": kept["id"].astype(str).tolist()}
    rows |= dict(zip(("prompt", "left", "right"), places, strict=False))
    titles = {col.kind: col.title for col in reversed(cols)}
    return {
        "version": 1,
        "about": dict(about),
        "counts": {"a_topic": a_topic, "rows": len(kept), "of": len(questions)},
        "steps": STEPS,
        "labels": list(LABELS),
        "topics": topics.tolist(),
        "kinds": [
            {"id": kind, "title": titles[kind], "note": note, "shown": kind in SHOWN}
            for kind, (_, note) in KINDS.items()
            if kind in titles
        ],
        "columns": [
            {
                "kind": col.kind,
                "trained": col.trained,
                "whole": _whole_run(col.frame, draws, seed),
                "text": text,
                "label": own["label"].map(LABELS.index, na_action="ignore").fillna(-1).astype(int).tolist(),
                "p": [None if math.isnan(p) else round(STEPS * p) for p in own["p_right"]],
                "tokens": [None if math.isnan(count) else int(count) for count in own["n_tokens"]],
            }
            for col, own, text in zip(cols, answered, places[3:], strict=True)
        ],
        "questions": rows,
        "texts": texts.tolist(),
    }


def _whole_run(frame: pd.DataFrame, draws: int, seed: int) -> dict[str, list[float | None]]:
    """Stance of one model over all questions it was asked: topic (or "all", the mean over topics) → n, stance, ends."""
    table = stance_table(frame, n_boot=draws, seed=seed)
    rows = [(str(r.topic), r.n, r.stance, r.low, r.high) for r in table.itertuples()]
    groups = [g["score"].to_numpy(float) for _, g in frame.groupby("topic", sort=False)]
    rows.append(("all", len(frame), *stratified_mean(groups, draws, seed, STANCE)))
    return {
        topic: [int(n), *(None if math.isnan(x) else round(float(x), 6) for x in values)] for topic, n, *values in rows
    }


def fitted(make: Callable[[int], dict[str, Any]], wanted: int, limit: int = LIMIT) -> dict[str, Any]:
    """The data of as many questions a topic as ``limit`` allows, at most ``wanted`` and at least one.

    Args:
        make: number of questions a topic → the page's data.
    """
    n, data = wanted, make(wanted)
    while (size := len(packed(data))) > limit and n > 1:
        n = max(1, min(n - 1, int(0.99 * n * limit / size)))
        data = make(n)
    return data


def browser_data(run: Run, cols: Sequence[Column]) -> dict[str, Any]:
    """The page's data of a run: ``browse_questions`` questions a topic, or fewer where they would be too heavy."""
    p = run.params
    asked, wanted = run.questions(), p.browse_questions
    whole = {"quick": "quick run", "tiny": "tiny run (random model)"}.get(p.profile, "run")
    about = {"model": placeless(p.model), "judge": p.judge, "longest": p.eval_tokens, "wanted": wanted, "whole": whole}
    most = int(asked.groupby("topic").size().max())
    return fitted(lambda n: payload(asked, cols, n, about, p.bootstrap, p.seed), min(wanted, most))


def browser(run: Run, cols: Sequence[Column]) -> HTML:
    """The responses browser, with a few answers of each topic as a plain table where no script runs."""
    return embed("responses", browser_data(run, cols), "Responses browser", fallback(run, cols))


def fallback(run: Run, cols: Sequence[Column]) -> str:
    """HTML table of two questions of each topic and what vanilla, a right fine-tune and InhibitFT answered."""
    first = run.params.topics[0]
    wanted = [c for c in cols if c.kind == "vanilla" or (c.kind in ("right", "inhibit") and c.trained == first)]
    lines = []
    for row in run.questions(2).itertuples():
        cells = [f'<th scope="row">{escape(row.topic)}: {escape(row.prompt)}</th>']
        for col in wanted:
            own = col.frame.set_index(["topic", "id"]).loc[(row.topic, row.id)]
            chance = "" if math.isnan(own["p_right"]) else f" (P(right) {own['p_right']:.2f})"
            cells.append(f"<td><b>{SHAPES[own['label']]}</b>{chance}<br>{escape(own['response'])}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("question", *(col.title for col in wanted)))
    caption = (
        f"The first 2 questions of each topic; the fine-tunes were trained on {escape(first)}. "
        "The whole browser needs a script, and this page's did not run."
    )
    return (
        f'<div style="overflow-x:auto"><table class="table"><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )

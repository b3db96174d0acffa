"""A second judge of another kind, to see whether a result hangs on the judge (Cohen's κ, and the result itself).

Beside the default judge, which counts words, stands one that reads hidden states; beside any other stands the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polinb.chapters.paper.baselines import title
from polinb.chapters.paper.judge_tables import answer_words, median_words, references
from polinb.data.loading import StanceData
from polinb.errors import DataError
from polinb.models.lm import LM
from polinb.models.tokens import response_ids
from polinb.runs import stages
from polinb.runs.conditions import VANILLA, Condition, Texts
from polinb.runs.groups import Data, Model
from polinb.runs.results import Result, stage
from polinb.runs.run import Run
from polinb.scoring.residual import mean_states
from polinb.stance.calibration import cohen_kappa, error_corrected
from polinb.stance.coupling import coupling_table
from polinb.stance.judges import LocalJudge, labels_of, training_rows
from polinb.stance.stance import rated_frame, responses_of
from polinb.wording import with_ends

_TEXTS = 40  # training texts a topic and side: more do not help this judge, and each costs a forward pass
_DEPTH = 0.6  # block read, as a share of the depth: sentence-level features are clearest past the middle


class HiddenJudge:
    """Logistic regression on the vanilla model's mean hidden state over an answer, read without its question.

    Args:
        lm: the vanilla model.
        data: stance data; responses of the train and localise splits are learnt from.
        words: responses are cut to so many words, as long as the answers that will be judged.

    Raises:
        DataError: responses of one side only.
    """

    def __init__(self, lm: LM, data: StanceData, words: int) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows = training_rows(data).groupby(["topic", "right"], sort=False).head(_TEXTS)
        if rows["right"].nunique() < 2:
            raise DataError(f"data {data.name!r}: the second judge needs responses of both sides")
        self._lm = lm
        texts = [" ".join(text.split()[:words]) for text in rows["text"]]
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        self._model.fit(self._states(texts), rows["right"].to_numpy())

    def _states(self, texts: Sequence[str]) -> np.ndarray:
        start = [self._lm.tokenizer.bos_token_id or 0]
        ids = [response_ids(self._lm, text, end=False) or start for text in texts]
        block = round(_DEPTH * (self._lm.layers - 1))
        return mean_states(self._lm, [start] * len(ids), ids)[:, block]

    def rate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Label answers; an empty one is unrated."""
        texts = responses_of(frame)
        right = self._model.predict_proba(self._states(texts))[:, 1]
        return rated_frame(frame, labels_of(texts, right), right)


def second_name(run: Run) -> str:
    """Which judge stands beside the run's own."""
    return "hidden states" if run.params.judge == "local" else "local"


@stage("second-rated", Model, Data)
def second_labels(run: Run, folder: Path, *, answers: Result, words: Result, judge: str) -> Mapping[str, Any]:
    """Labels of the second judge: table ``rated``, as the run's own judge gives it.

    Args:
        words: answers of the vanilla model; the texts that the judge learns from are cut to their length.
    """
    rows = answers.frame("answers")[["topic", "id", "prompt", "response"]]

    def make() -> Any:
        return LocalJudge(run.data) if judge == "local" else HiddenJudge(run.lm, run.data, median_words(words))

    run.once(("second judge", judge, str(words)), make).rate(rows).to_parquet(folder / "rated.parquet")
    return {"judge": judge}


def second_rated(run: Run, answers: Result) -> pd.DataFrame:
    """Labels of the second judge: topic, id, prompt, response, label, score, p_right."""
    return second_labels(run, answers=answers, words=run.answers(), judge=second_name(run)).frame("rated")


def _judges(run: Run) -> dict[str, Callable[[Condition], pd.DataFrame]]:
    """Both judges by name: what each makes of a condition's answers."""
    return {run.params.judge: run.stances, second_name(run): lambda each: second_rated(run, run.answers(each))}


def _known(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reference answers, cut to the length of this run's answers, as both judges label them."""
    known = references(run, answer_words(run))
    given = stages.given(run, texts=Texts.of(known[["topic", "id", "prompt", "response"]]))
    return known, second_rated(run, given)


def agreement(run: Run, conditions: Sequence[Condition]) -> pd.DataFrame:
    """Agreement of the two judges on the answers of some conditions and on the reference answers.

    Returns:
        answers, n, agree (share), kappa (Cohen's κ), low, high (95 %, answers resampled); for the references, cut to
        the length of this run's answers, also accuracy and second_accuracy.
    """
    p = run.params
    cases = [("reference answers", *_known(run))]
    for condition in (VANILLA, *conditions):
        name = f"{title(condition.name)} {condition.topic}".strip()
        cases.append((name, *(rate(condition) for rate in _judges(run).values())))
    rows = []
    for name, first, second in cases:
        prompts = first["topic"] + "/" + first["id"].str.replace("/(left|right)$", "", regex=True)
        row = cohen_kappa(first["label"], second["label"], p.bootstrap, p.seed, prompts.to_numpy())
        if "side" in first:
            row["accuracy"] = (first["label"] == first["side"]).mean()
            row["second_accuracy"] = (second["label"] == first["side"]).mean()
        rows.append({"answers": name, **row})
    return pd.DataFrame(rows)


def swapped(run: Run, conditions: Sequence[Condition]) -> pd.DataFrame:
    """On-topic shift and coupling of some conditions under both judges.

    Returns:
        condition, trained, judge, then shift, r_corrected and spillover with intervals (see
        ``coupling.coupling_table``), and error_corrected: the shift corrected for the judge's errors on the topic's
        reference answers, with interval.
    """
    p, judges = run.params, _judges(run)
    known = dict(zip(judges, _known(run), strict=True))
    truth = known[p.judge]
    rows = []
    for condition in conditions:
        on_topic = truth["topic"] == condition.topic
        for judge, rate in judges.items():
            found = coupling_table(rate(VANILLA), rate(condition), condition.topic, p.bootstrap, p.seed)
            sides = [known[judge]["score"][on_topic & (truth["side"] == side)] for side in ("left", "right")]
            ends = error_corrected((found["shift"], found["shift_low"], found["shift_high"]), *sides)
            row = {"condition": title(condition.name), "trained": condition.topic, "judge": judge}
            rows.append(row | found | with_ends("error_corrected", ends))
    return pd.DataFrame(rows)

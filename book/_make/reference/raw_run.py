"""The reference run rebuilt from its raw data: its tables can be made again without model, data and store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from polinb.runs.experiment import VANILLA, Arm, Experiment

from book._make.reference.raw_arms import bits, kind_of
from book._make.reference.raw_load import KeptArm, Raw
from polinb.errors import ArtifactError
from polinb.scoring.pnlac import NeuronSets

_COLUMNS = ["topic", "id", "prompt", "response", "n_tokens", "vanilla_logp"]


@dataclass(frozen=True)
class KeptAnswers:
    """What one arm said, as :class:`polinb.runs.artifacts.Artifact` gives it."""

    tables: Mapping[str, pd.DataFrame]
    summary: dict[str, Any]

    def frame(self, name: str) -> pd.DataFrame:
        """``answers``, ``statements`` or ``likelihood``.

        Raises:
            ArtifactError: this arm was not asked for it.
        """
        if name not in self.tables:
            raise ArtifactError(f"the raw data hold no {name} of this arm")
        return self.tables[name].copy()


class RawRun(Experiment):
    """A run whose stages read the raw data; one that was not kept raises :class:`~polinb.errors.ArtifactError`."""

    def __init__(self, raw: Raw) -> None:
        super().__init__(raw.params())
        self.raw = raw

    @cached_property
    def lm(self) -> NoReturn:  # type: ignore[override]
        """No model is needed here."""
        raise ArtifactError("the raw data hold no model")

    @cached_property
    def data(self) -> NoReturn:  # type: ignore[override]
        """No training data are needed here."""
        raise ArtifactError("the raw data hold no training data")

    # --- sets

    def sets(self, gamma: float | None = None, normalise: str | None = None) -> NeuronSets:
        """N_t and G as they were found."""
        p = self.params
        start = f"N/{kind_of(normalise or p.normalise)}/{p.gamma if gamma is None else gamma:g}"
        political = {str(t): self._set(f"{start}/{t}") for t in p.topics}
        return NeuronSets(political, np.all(list(political.values()), axis=0))

    def control_set(self, kind: str, number: int, gamma: float | None = None) -> np.ndarray:
        """The random set as it was drawn."""
        return self._set(f"random-{kind}/{self.params.gamma if gamma is None else gamma:g}/{number}")

    def scale(self) -> np.ndarray:
        """Plain activation scale (L, F), float32 as it was kept."""
        return self._score("scale")

    def scale_set(self, gamma: float | None = None) -> np.ndarray:
        """The loudest neurons as they were found."""
        return self._set(f"loudest/{self.params.gamma if gamma is None else gamma:g}")

    def neutral_set(self, gamma: float | None = None) -> np.ndarray | None:
        """The same on neutral texts; None where it was not measured."""
        name = f"loudest-neutral/{self.params.gamma if gamma is None else gamma:g}"
        return self._set(name) if name in self.raw.sets else None

    def topic_scores(self, normalise: str | None = None) -> dict[str, np.ndarray]:
        """Topic → score (L, F), from float32."""
        from polinb.scoring.pnlac import normalised

        kind = normalise or self.params.normalise
        found = {str(t): self._score(f"score/{t}") for t in self.params.topics}
        if kind == "none":
            return found
        return {t: normalised(score, self._score(f"vanilla_std/{t}")) for t, score in found.items()}

    def _set(self, name: str) -> np.ndarray:
        if name not in self.raw.sets:
            raise ArtifactError(f"the raw data hold no set {name!r}")
        return self.raw.sets[name].copy()

    def _score(self, name: str) -> np.ndarray:
        if name not in self.raw.scores:
            raise ArtifactError(f"the raw data hold no scores {name!r}")
        return self.raw.scores[name].astype(np.float64)

    # --- answers

    def questions(self, limit: int | None = None, topics: Sequence[str] | None = None) -> pd.DataFrame:
        """Evaluation questions: topic, id, prompt."""
        return self._asked("question", list(topics or self.params.topics), limit or self.params.eval_questions)

    def statements(self) -> pd.DataFrame:
        """Statements as prompts: topic (the set's name), id, prompt."""
        table = self.raw.tables["questions"]
        return self._asked("statement", list(dict.fromkeys(table.loc[table["kind"] == "statement", "topic"])), None)

    def _asked(self, kind: str, topics: list[str], limit: int | None) -> pd.DataFrame:
        table = self.raw.tables["questions"]
        table = table[table["kind"] == kind]
        parts = [table[table["topic"] == topic].head(limit or len(table)) for topic in topics]
        return pd.concat(parts, ignore_index=True)[["topic", "id", "prompt"]]

    def stances(self, arm: Arm = VANILLA) -> pd.DataFrame:
        """Judged answers of an arm: topic, id, prompt, response, label, score, p_right."""
        return self.answers(arm).frame("rated")

    def answers(self, arm: Arm = VANILLA) -> KeptAnswers:  # type: ignore[override]
        """What an arm said; ``rated`` are its judged answers."""
        name = self._id(arm)
        return self._once(("answers", name), lambda: self._answers(name))  # type: ignore[no-any-return]

    def _answers(self, name: str) -> KeptAnswers:
        responses = self._own("responses", name, "question")
        tables = {"answers": responses[_COLUMNS], "rated": _rated(responses)}
        for table, kind in (("statements", "statement"), ("likelihood", None)):
            own = self._own(table, name, kind)
            if len(own):
                tables[table] = own
        return KeptAnswers(tables, {"training": self.raw.arms["arms"][name]["training"]})

    def _own(self, table: str, name: str, kind: str | None) -> pd.DataFrame:
        every = self.raw.tables.get(table)
        if every is None:
            return pd.DataFrame()
        own = every[every["arm"] == name].drop(columns="arm").reset_index(drop=True)
        return own if kind is None else self._with_prompts(own, kind)

    def _with_prompts(self, frame: pd.DataFrame, kind: str, at: int = 2) -> pd.DataFrame:
        asked = self.raw.tables["questions"]
        asked = asked[asked["kind"] == kind].set_index(["topic", "id"])["prompt"]
        try:
            prompts = asked.loc[list(zip(frame["topic"], frame["id"], strict=True))].to_numpy() if len(frame) else []
        except KeyError as error:
            raise ArtifactError(f"an answer to a {kind} that questions.parquet does not hold: {error}") from None
        out = frame.copy()
        out.insert(at, "prompt", prompts)
        return out.astype({"prompt": asked.dtype})

    def _id(self, arm: Arm) -> str:
        if isinstance(arm, KeptArm):
            return arm.id
        known: dict[Any, str] = self._once(("ids",), self._ids)
        name = known.get(_identity(arm))
        if name is None:
            raise ArtifactError(f"the raw data hold no answers of {' '.join((arm.name, arm.topic, arm.leaning))}")
        return name

    def _ids(self) -> dict[Any, str]:
        every = [(name, self.raw.arm(name)) for name, e in self.raw.arms["arms"].items() if e["ablate"] is None]
        return {_identity(arm): name for name, arm in every}

    def rated(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Answers to statements with the labels that were kept.

        Raises:
            ArtifactError: no chapter judged them.
        """
        if "label" not in frame or frame["label"].isna().any():
            raise ArtifactError("these answers were not judged in the reference run")
        return _rated(frame)

    def patched(self, name: str, chosen: np.ndarray, donors: Mapping[str, str]) -> pd.DataFrame:
        """Judged answers with neurons patched in, as they were kept."""
        known = {each["set"]: each for each in self.raw.arms["patched"]}.get(name)
        if known is None:
            raise ArtifactError(f"the raw data hold no answers with {name!r} patched in")
        if known["digest"] != bits(chosen) or known["donors"] != dict(donors):
            raise ArtifactError(f"{name!r} was patched with other neurons or donors than these")
        table = self.raw.tables["patched"]
        own = table[table["set"] == name].drop(columns=["set", "donor"]).reset_index(drop=True)
        return self._with_prompts(own, "question")


def _rated(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in _COLUMNS if name in frame and name not in ("n_tokens", "vanilla_logp")]
    return frame[[*columns, "label", "score", "p_right"]].astype({"score": np.int64})


def _identity(arm: Arm) -> tuple[Any, ...]:
    """What tells arms of one run apart: their names may be the same."""
    return arm.topic, arm.leaning, arm.frozen_digest(), arm.rate, arm.stop, arm.blend, arm.run

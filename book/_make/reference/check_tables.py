"""Tables of the book made again from the raw data of the reference run, and compared with the committed ones."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from book._make.reference.raw_load import Raw
from book._make.reference.raw_run import RawRun
from polinb.chapters.caft import caft
from polinb.chapters.paper import baselines as rivals
from polinb.chapters.paper import beside, neuron_tables, patch_tables, results, verdicts
from polinb.errors import ArtifactError, PolinbError
from polinb.wording import Interval
from polinb_book.export import FORMULA, table_csv
from polinb_book.outputs import Found

EXACT = 1e-6  # relative: a table prints ten digits, and scores are kept as float32
SHOWN = 2  # decimals of an interval in a table, unless said otherwise


@dataclass
class Again:
    """A table made again.

    Attributes:
        frame: the columns that are compared, unrounded, under their names in the CSV.
        digits: column → decimals, for columns that the book rounds.
    """

    frame: pd.DataFrame
    digits: dict[str, int] = field(default_factory=dict)

    def bounded(self, column: str, of: pd.DataFrame, value: str, digits: int = SHOWN, ends: str | None = None) -> Again:
        """Add a column with its interval, as :func:`polinb.wording.intervals` takes it out of ``of``."""
        low, high = (f"{value}_low", f"{value}_high") if f"{value}_low" in of else ("low", "high")
        if ends is not None:
            low, high = f"low_{ends}", f"high_{ends}"
        for end, source in (("", value), ("_low", low), ("_high", high)):
            self.frame[column + end] = of[source].to_numpy(float)
            self.digits[column + end] = digits
        return self


@dataclass(frozen=True)
class Compared:
    """What came out for one table.

    Attributes:
        label: of the table.
        cells: numbers and texts compared; 0: nothing was.
        differences: one line each.
        note: why nothing was compared.
    """

    label: str
    cells: int = 0
    differences: tuple[str, ...] = ()
    note: str = ""


def compare_tables(raw: Raw, made: Mapping[str, Found]) -> list[Compared]:
    """Every table of :data:`TABLES` against those that a run ``made``.

    A table is skipped, with a note, where the book has none, because its chapter did not finish. A table that is there
    but cannot be made again from the raw data counts as a difference.
    """
    run = RawRun(raw)
    return [_one(run, made.get(label), label, make) for label, make in TABLES.items()]


def _one(run: RawRun, table: Found | None, label: str, make: Callable[[RawRun], Again]) -> Compared:
    if table is None:
        return Compared(label, note="no such table: its chapter was not finished")
    try:
        again = make(run)
    except PolinbError as error:
        return Compared(label, differences=(f"{label}: cannot be made again from the raw data: {error}",))
    return differences(label, pd.read_csv(io.StringIO(table_csv(table)), dtype=str, keep_default_na=False), again)


def differences(label: str, table: pd.DataFrame, again: Again) -> Compared:
    """Where a table of the book (every cell a text) says something else than the same table made again."""
    lacking = [name for name in again.frame if name not in table]
    if lacking:
        return Compared(label, differences=(f"{label}: no column {lacking[0]!r}; columns: {', '.join(table)}",))
    if len(table) != len(again.frame):
        return Compared(label, differences=(f"{label}: {len(table)} rows, not {len(again.frame)}",))
    texts = [name for name in again.frame if not pd.api.types.is_numeric_dtype(again.frame[name])]
    found = []
    for at in range(len(table)):
        row = ", ".join(str(again.frame[name].iloc[at])[:60] for name in texts[:3])
        for name in again.frame:
            mine, theirs = again.frame[name].iloc[at], str(table[name].iloc[at])
            if not _same(mine, theirs, again.digits.get(name)):
                shown = f"{mine:.10g}" if isinstance(mine, (float, np.floating)) else repr(mine)
                found.append(
                    f"{label}, row {at + 1} ({row}), {name}: the table says {theirs!r}, the raw data give {shown}"
                )
    return Compared(label, again.frame.size, tuple(found))


def _same(mine: Any, theirs: str, digits: int | None) -> bool:
    if not isinstance(mine, (int, float, np.number)):
        own = "" if pd.isna(mine) else str(mine)
        return theirs == ("'" + own if FORMULA.match(own) else own)
    try:
        other = float(theirs) if theirs else float("nan")
    except ValueError:
        return False
    value = float(mine)
    if not np.isfinite([value, other]).all():
        return str(value) == str(other)
    room = 0.0 if digits is None else 0.5 * 10.0**-digits
    return abs(value - other) <= room + EXACT * max(abs(value), abs(other)) + 1e-9


# --- the tables, as the chapters make them


def _titled(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.assign(**{column: frame[column].map(results.ARM_TITLES)})


def _own(frame: pd.DataFrame, *columns: str) -> Again:
    return Again(frame[list(columns)].reset_index(drop=True).copy())


def _on_topic(run: RawRun) -> Again:
    moves = results.variant_shifts(run)
    on = moves[(moves["leaning"] == "right") & (moves["trained"] == moves["topic"])].reset_index(drop=True)
    return _own(on, "trained", "n", "vanilla", "model").bounded("shift", on, "shift")


def _likelihood_shift(run: RawRun) -> Again:
    like = results.likelihood_shifts(run)
    return _own(like, "side", "cell").bounded("shift", like, "shift", 3)


def _sets(run: RawRun) -> Again:
    return Again(neuron_tables.type_shares(run.sets()))


def _overlap(run: RawRun) -> Again:
    return Again(neuron_tables.overlaps(run))


def _vanilla(run: RawRun) -> Again:
    table = results.stances(run)
    return _own(table, "topic", "n", "other_rate", "unrated_rate", "p_right_mean").bounded("ours", table, "stance")


def _transfer(run: RawRun) -> Again:
    table = results.statement_stances(run)
    return _own(table, "topic", "n").bounded("ours", table, "stance")


def _likelihood(run: RawRun) -> Again:
    table = results.likelihood_stances(run)
    return _own(table, "topic", "n").bounded("stance", table, "stance", 3)


def _patch_general(run: RawRun) -> Again:
    moves = patch_tables.patching(run)
    names = ["G", patch_tables.LAYER, patch_tables.NEXT, "every neuron", "donor itself"]
    again = Again(pd.DataFrame({"set": names}))
    for topic in run.params.topics:
        again.bounded(topic, moves[moves["topic"] == topic].set_index("set").loc[names], "shift")
    return again


def _patch_summary(run: RawRun) -> Again:
    table = patch_tables.patch_summary(run)
    return _own(table, "set", "neurons", "scale", "percent_of_donor").bounded("shift", table, "shift")


def _frozen(run: RawRun) -> Again:
    return Again(results.freeze_report(run, results.inhibit_arms(run)))


def _coupled(table: pd.DataFrame, *columns: str, kappa: bool = True) -> Again:
    again = _own(table, *columns)
    named = {"R": "r", "corrected": "r_corrected", "shift": "shift"} | ({"kappa": "kappa"} if kappa else {})
    for column, value in named.items():
        again.bounded(column, table, value)
    return again


def _inhibit(run: RawRun) -> Again:
    table = _titled(results.couplings(run, results.inhibit_arms(run)), "arm")
    return _coupled(table, "trained", "arm", "frozen", "kappa_corrected")


def _mitigation(run: RawRun) -> Again:
    ours = results.mitigations(results.couplings(run, results.inhibit_arms(run)))
    ours = ours.assign(arm="ours: " + ours["arm"].map(results.ARM_TITLES))
    return Again(pd.concat([ours, beside.paper_mitigation()], ignore_index=True))


def _drops(run: RawRun) -> Again:
    table = _titled(results.drops(run), "against")
    return _own(table, "trained", "against", "bootstrap_share_no_drop", "raw_drop").bounded("drop", table, "drop")


def _claims(make: Callable[[RawRun], pd.DataFrame]) -> Callable[[RawRun], Again]:
    """Tables whose effects are texts: rounded where they are made."""

    def again(run: RawRun) -> Again:
        frame = make(run)
        frame["claim"] = frame["claim"].str.replace("$", "")
        known = [
            e if isinstance(e, Interval) else Interval(float(e), np.nan, np.nan) for e in frame.pop("effect")
        ]  # a share has no interval
        table = frame.assign(**{name: [getattr(e, name) for e in known] for name in ("value", "low", "high")})
        return Again(frame).bounded("effect", table, "value")

    return again


def _gamma(run: RawRun) -> Again:
    return _coupled(_titled(results.gamma_ablation(run), "arm"), "gamma", "trained", "arm", "frozen")


def _pareto(run: RawRun) -> Again:
    table = rivals.pareto(run, rivals.every_arm(run))
    return _coupled(table, "trained", "arm", "run", "frozen", "kappa_corrected", "fluency", kappa=False)


def _excess(run: RawRun) -> Again:
    table = rivals.equal_shift(run)
    again = _own(table, "arm", "seeds", "shift", "r", "r_weak", "p_no_gain").bounded("excess", table, "excess")
    return again.bounded("questions", table, "excess", ends="questions")


def _hierarchical(run: RawRun) -> Again:
    table = rivals.hierarchical(run)
    again = _own(table, "against", "seeds_first", "seeds_second").bounded("drop", table, "drop")
    return again.bounded("questions", table, "drop", ends="questions")


def _caft_arms(run: RawRun) -> list[list[Any]]:
    """CAFT's arms of each rival topic, out of the raw data: their directions are not kept."""
    names = run.raw.group("caft")
    if not names:
        raise ArtifactError("the raw data hold no arms of CAFT")
    every = [run.raw.arm(name) for name in names]
    return [[arm for arm in every if arm.topic == topic] for topic in run.params.baseline_topics]


def _caft(run: RawRun) -> Again:
    chosen = rivals.every_arm(run) + [arm for each in _caft_arms(run) for arm in each]
    table = rivals.pareto(run, chosen)
    table["family"] = [caft.FAMILIES.get(arm.name, old) for arm, old in zip(chosen, table["family"], strict=True)]
    table = table.replace({"arm": caft.TITLES})
    own = table[table["family"].isin(["fine-tune", "InhibitFT", *caft.FAMILIES.values()])]
    return _coupled(own, "trained", "arm", "kappa_corrected", "fluency", kappa=False)


def _caft_excess(run: RawRun) -> Again:
    table = rivals.equal_shift(run, _caft_arms(run)).replace({"arm": caft.TITLES})
    return _own(table, "arm", "seeds", "shift", "r", "r_weak", "p_no_gain").bounded("excess", table, "excess")


TABLES: Mapping[str, Callable[[RawRun], Again]] = {
    "tbl-on-topic": _on_topic,
    "tbl-likelihood-shift": _likelihood_shift,
    "tbl-sets": _sets,
    "tbl-overlap": _overlap,
    "tbl-vanilla": _vanilla,
    "tbl-transfer": _transfer,
    "tbl-likelihood": _likelihood,
    "tbl-patch-general": _patch_general,
    "tbl-patch-summary": _patch_summary,
    "tbl-frozen": _frozen,
    "tbl-inhibit": _inhibit,
    "tbl-mitigation": _mitigation,
    "tbl-drops": _drops,
    "tbl-holds": _claims(verdicts.inhibitft),
    "tbl-gamma": _gamma,
    "tbl-claims": _claims(beside.claims),
    "tbl-pareto": _pareto,
    "tbl-excess": _excess,
    "tbl-hierarchical": _hierarchical,
    "tbl-holds-hard": _claims(verdicts.rival),
    "tbl-caft": _caft,
    "tbl-caft-excess": _caft_excess,
}

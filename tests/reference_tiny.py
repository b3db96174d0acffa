"""A small run with raw data and tables, made once and shared by the tests of the reference data."""

from __future__ import annotations

import json
import re
import tempfile
from functools import lru_cache
from pathlib import Path

from nbformat.v4 import new_code_cell, new_notebook, new_output

from book._make.reference.raw import export
from polinb.chapters.paper import neuron_tables, patch_tables, results
from polinb.display import tables
from polinb.runs.artifacts import Store
from polinb.runs.experiment import Experiment
from polinb.runs.params import Params
from polinb_book.results import write_sums

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
TINY = {
    "topics": ["crime", "race"],
    "baseline_topics": ["crime"],
    "ablation_topics": ["crime"],
    "gammas": [50.0],
    "train_examples": 8,
    "learning_rate": 3e-3,
    "localise_prompts": 2,
    "eval_questions": 4,
    "likelihood_questions": 2,
    "patch_questions": 2,
    "controls": ["layer"],
    "bootstrap": 100,
}
# Cells that lead to a table; others draw, or compute what is not compared.
_NAMES = "table moves on like loud sets stances transfer patched summary arms mitigated claims names equal deep rows"
_LEADS = re.compile(rf"^({_NAMES.replace(' ', '|')}) = |^from polinb[.a-z]* import|numbered_table\(", re.M)
_OTHER = re.compile(
    r"charts(_more)?\.|judging|useful|utilities|responses_table|beside\.table|import answers|\bagree\b|= both\.assign|"
    r"caft_angles\.|begin\("
)
_CHARTS = re.compile(r"^(from polinb.display import charts$|charts\.).*\n?", re.M)
_BEGIN = re.compile(r"^exp = begin\(.*\)$", re.M)
CHAPTERS = ("01", "03", "05", "06", "07", "08", "09")


@lru_cache(maxsize=1)
def tiny_run() -> tuple[Experiment, Path]:
    """An experiment without rivals and CAFT, as if it had been interrupted; and its reference folder."""
    root = Path(tempfile.mkdtemp(prefix="polinb-reference-"))
    exp = Experiment(Params.from_profile("tiny", **TINY), Store(root / "store"))
    results.statement_stances(exp)
    results.variant_shifts(exp)
    results.couplings(exp, results.inhibit_arms(exp))
    patch_tables.patch_summary(exp)
    neuron_tables.overlaps(exp)
    folder = root / "reference"
    export(exp.store, exp.params, folder / "results")
    write_tables(exp, folder, CHAPTERS)
    write_sums(folder)
    return exp, folder


def write_tables(exp: Experiment, folder: Path, chapters: tuple[str, ...]) -> None:
    """The tables of the chapters as a stored notebook: their own cells are run, on ``exp``."""
    real = tables.numbered_table
    made = []

    def kept(*given, **more):
        made.append(real(*given, **more))
        return made[-1]

    tables.numbered_table = kept
    try:
        for chapter in chapters:
            path = next(NOTEBOOKS.glob(f"{chapter}_*.ipynb"))
            names = {"exp": exp}
            for cell in json.loads(path.read_text("utf-8"))["cells"]:
                source = _BEGIN.sub("", _CHARTS.sub("", "".join(cell["source"])))
                if cell["cell_type"] == "code" and _LEADS.search(source) and not _OTHER.search(source):
                    exec(compile(source, path.name, "exec"), names)
    finally:
        tables.numbered_table = real
    outputs = [new_output("display_data", data=table._repr_mimebundle_()) for table in made]
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    cells = [new_code_cell("tables", outputs=outputs)]
    (folder / "notebooks" / "01_all.ipynb").write_text(json.dumps(new_notebook(cells=cells)), "utf-8")
    (folder / "run.json").write_text(json.dumps({"chapters": {}}), "utf-8")

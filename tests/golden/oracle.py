"""The data behind each table and figure of a chapter on ``tiny``, out of its executed notebook.

``python tests/golden/oracle.py [CHAPTER…]`` runs notebooks and writes their golden files anew; without names, all and
the core's.
"""

import ast
import base64
import gzip
import json
import math
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
_NUMBER = re.compile(r"[−-]?\d+(?:\.\d+)?(?:e[−+-]?\d+)?")
_EMBEDDED = re.compile(r'data-app="(\w+)".*?data-name="payload">([^<]*)<', re.S)


def shown_data(notebook):
    """Tables (label → column → values), figures (name → data sets) and payloads of the interactive parts."""
    from polinb_book.outputs import found

    out = {"tables": {}, "figures": {}, "payloads": {}}
    for cell in notebook.cells:
        for _, made in found(cell):
            if made["kind"] == "chart":
                out["figures"][made["label"]] = data_of(made["spec"])
                continue
            assert made["label"] not in out["tables"], f"{made['label']} twice"
            out["tables"][made["label"]] = {
                column["name"] + end: column[kind]
                for column in made["columns"]
                for kind, end in (("values", ""), ("low", " from"), ("high", " to"))
                if kind in column
            }
        for output in cell.get("outputs", []):
            for app, packed in _EMBEDDED.findall(output.get("data", {}).get("text/html", "")):
                out["payloads"][app] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return out


def run_here(name, **given):
    """The values that a chapter's cells show, run in this process with these parameters."""
    space, shown = {"__name__": "__main__"}, []
    for cell in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells:
        if cell.cell_type == "code":
            shown.append(_run_cell(cell.source, space))
            if "parameters" in cell.metadata.get("tags", []):
                space |= {"profile": "tiny", **given}
    return shown


def _run_cell(source, space):
    """As a notebook does: run all, and return the value of a last line that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), space)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), space) if last else None


def data_of(spec):
    """All rows a chart draws, data set by data set in the order of the specification."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            data = value.get("data")
            if isinstance(data, dict):
                rows = data.get("values", spec.get("datasets", {}).get(data.get("name")))
                if rows is not None and rows not in found:
                    found.append(rows)
            for key, each in value.items():
                if key not in ("data", "datasets"):
                    walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(spec)
    return found


def machine():
    """What the last bits depend on."""
    import torch

    return {"torch": torch.__version__.split("+")[0], "cpu": torch.backends.cpu.get_cpu_capability()}


def write(name, found):
    """One line a column or row, so that a change shows as the lines that changed."""
    (HERE / f"{name}.json").write_text(_lines({"machine": machine(), **found}, 0) + "\n", encoding="utf-8")


def _lines(value, depth):
    pad = " " * (depth + 1)
    if isinstance(value, dict) and value and depth < 3:
        inner = ",\n".join(f"{pad}{json.dumps(k)}: {_lines(v, depth + 1)}" for k, v in value.items())
        return "{\n" + inner + "\n" + " " * depth + "}"
    if isinstance(value, list) and value and isinstance(value[0], list | dict) and depth < 4:
        return "[\n" + ",\n".join(f"{pad}{_lines(v, depth + 1)}" for v in value) + "\n" + " " * depth + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def differences(golden, now, exact, where=""):
    """Places that differ by more than the last bits; without ``exact`` by more than another processor rounds."""
    if isinstance(golden, dict) and isinstance(now, dict):
        found = [f"{where}/{k}: {'gone' if k in golden else 'new'}" for k in sorted(golden.keys() ^ now.keys())]
        shared = [k for k in golden if k in now]
        return found + [d for k in shared for d in differences(golden[k], now[k], exact, f"{where}/{k}")]
    if isinstance(golden, list) and isinstance(now, list):
        if len(golden) != len(now):
            return [f"{where}: {len(golden)} rows, now {len(now)}"]
        pairs = enumerate(zip(golden, now, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, exact, f"{where}[{i}]")]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (golden, now))
    relative, absolute = (1e-12, 1e-14) if exact else (1e-2, 1e-2)
    counts = isinstance(golden, int) and isinstance(now, int)
    if golden == now or (numbers and not counts and math.isclose(golden, now, rel_tol=relative, abs_tol=absolute)):
        return []
    texts = isinstance(golden, str) and isinstance(now, str) and not exact
    if texts and _NUMBER.sub("", golden) == _NUMBER.sub("", now):
        inside = ([float(n.replace("−", "-")) for n in _NUMBER.findall(text)] for text in (golden, now))
        return differences(*inside, exact, where)
    return [f"{where}: {golden!r}, now {now!r}"]


def finetuned():
    """One fine-tune of a tiny model in each way of freezing: losses, and sums over every weight."""
    from oracles import Pair

    from polinb.scoring.pnlac import neuron_sets
    from polinb.scoring.tracing import contrast
    from polinb.training.supervised import finetune
    from polinb.training.trainer import Recipe

    sizes = {"epochs": 2, "batch_size": 2, "micro_batch": 1, "train": "body", "lora_rank": 2, "seed": 3}
    recipe = Recipe(learning_rate=1e-2, weight_decay=0.1, warmup=0.3, **sizes)
    both, found = Pair("llama"), {}
    texts = both.prompts[:3], both.responses[:3]
    sums = contrast(both.left, both.right, both.vanilla, *texts)
    general = neuron_sets({"a": sums.score, "b": sums.vanilla_std}, 30.0, "model").general
    for name in ("plain", "neuron", "up", "down"):
        how = {} if name == "plain" else {"frozen": general, "freeze": name}
        made = finetune(both.vanilla, *texts, recipe, **how)
        sums_of = {key: [float(v.double().sum()), float(v.double().square().sum())] for key, v in made.weights.items()}
        found[name] = {"losses": made.losses, "entries": made.frozen_entries, "weights": sums_of}
    return found


def main(names):
    from book._make.notebook import execute
    from polinb.runs.checkout import find_layout

    with tempfile.TemporaryDirectory() as store:
        os.environ["POLINB_STORE"] = store
        for name in set(names or CHAPTERS) - {"core"}:
            text, _ = execute(find_layout(), name, {"profile": "tiny"})
            write(name, shown_data(nbformat.reads(text, 4)))
        if not names or "core" in names:
            write("core", finetuned())


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "book" / "_ext"), str(HERE.parent), str(HERE)]
    import conftest  # noqa: F401  # one thread and one set of instructions: they decide how a sum is rounded

    main(sys.argv[1:])

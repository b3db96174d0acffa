"""The forge's workflows run what make offers, may only read, and publish what ``make read`` builds."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))


def test_workflows_run_targets_of_make_and_may_only_read() -> None:
    targets = set(re.findall(r"^([a-z-]+)(?: [a-z-]+)*:", (REPO / "Makefile").read_text("utf-8"), re.M))
    for path in WORKFLOWS:
        told = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # every word is text: "on" is a key, not True
        assert {"name", "on", "jobs"} <= set(told) and told["permissions"] == {"contents": "read"}, path.name
        for job in told["jobs"].values():
            assert job["runs-on"] and set(job.get("needs", "").split()) <= set(told["jobs"]), path.name
            for step in job["steps"]:
                if "run" in step:
                    assert step["run"].split()[0] == "make" and step["run"].split()[1] in targets
                else:
                    assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])

    jobs = yaml.safe_load((REPO / ".github" / "workflows" / "pages.yml").read_text("utf-8"))["jobs"]
    assert jobs["build"]["steps"][-2]["run"].startswith("make read ")
    assert jobs["build"]["steps"][-1]["with"]["path"] == "_build/html"
    assert jobs["publish"]["permissions"] == {"pages": "write", "id-token": "write"}

"""The audit of dependencies against a pip-audit that is played: a silence is never taken for good news."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}
DOWN = ("", "requests.exceptions.ConnectionError: Max retries exceeded", 1)


def told(*packages):
    """Output, errors and status of pip-audit."""
    return json.dumps({"dependencies": packages, "fixes": []}), "", int(any(p.get("vulns") for p in packages))


@pytest.mark.parametrize(
    ("pypi", "osv", "code", "words"),
    [
        (told(FINE), DOWN, 0, r"1 of 1 .*\(pypi\)\n.*no known vulnerability"),
        (told(FINE, BAD), DOWN, 1, "b 2: CVE-1, fixed in 3"),
        (DOWN, told(BAD), 1, "CVE-1"),
        (DOWN, DOWN, 3, "NOT AUDITED: could not reach the advisory service"),
        (told(SKIPPED), told(FINE), 0, "no known"),
        (told(FINE, SKIPPED), DOWN, 3, r"NOT AUDITED: some packages are unknown .*\(c\)"),
        (("", "Traceback: a bug", 1), told(FINE), 1, "pip-audit failed"),
    ],
)
def test_what_the_audit_says(tmp_path, monkeypatch, capsys, pypi, osv, code, words):
    spec = importlib.util.spec_from_file_location("ci_audit", REPO / ".ci" / "audit.py")
    ci = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ci)

    def played(line, **how):
        out, err, status = {"pypi": pypi, "osv": osv}[line[line.index("--vulnerability-service") + 1]]
        return subprocess.CompletedProcess(line, status, out, err)

    monkeypatch.setattr(subprocess, "run", played)
    assert ci.audit(["pip-audit"], tmp_path / "needs.txt") == code
    out, err = capsys.readouterr()
    assert re.search(words, out + err), out + err
    assert ("no known vulnerability" in out + err) == (code == 0)

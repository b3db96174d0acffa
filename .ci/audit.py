"""Ask the advisory services about every locked package: ``make audit``.

pip-audit runs in an environment of its own, so that it is no part of the lock. Exit status: 0 nothing known, 1 a known
vulnerability (or an audit that went wrong), 3 the audit could not be made, because pip-audit could not be installed,
the advisory service could not be reached, or it did not know all packages. Not part of ``make test``: it needs the
network, and what is known changes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-nodeps.lock", "requirements-workflow.lock")
TOOL = "pip-audit==2.10.*"
SERVICES = ("pypi", "osv")  # the second is asked where the first is out of reach
UNREACHABLE = 3
# What pip-audit and pip say where a network, a proxy or a mirror does not let them through.
_OFFLINE = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|NewConnectionError|Max retries exceeded|Failed to establish"
    r"|Name or service not known|Temporary failure in name resolution|ProxyError|SSLError|ServiceError"
    r"|Could not connect|Connection refused|Network is unreachable|HTTPError|No matching distribution found",
)


def main() -> int:
    """Audit the locks; the exit status."""
    with tempfile.TemporaryDirectory(prefix="polinb-audit-") as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        venv.create(python.parents[1], with_pip=True)
        made = _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", TOOL])
        if made.returncode:
            return _unreachable("pip-audit could not be installed", made.stderr)
        needs = Path(folder) / "locked.txt"
        needs.write_text("\n".join((ROOT / lock).read_text("utf-8") for lock in LOCKS), "utf-8")
        return audit([str(python), "-m", "pip_audit"], needs)


def audit(tool: list[str], needs: Path) -> int:
    """Run pip-audit on exact versions, with the first service that answers; the exit status."""
    told = ""
    for service in SERVICES:
        options = ["--requirement", str(needs), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
        done = _run([*tool, *options, "--format", "json", "--vulnerability-service", service, "--timeout", "15"])
        try:
            packages = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError, TypeError):
            told = done.stderr
            if _OFFLINE.search(told):
                continue
            print(told, file=sys.stderr)
            print("audit: pip-audit failed, see above", file=sys.stderr)
            return 1
        skipped = [package["name"] for package in packages if "skip_reason" in package]
        if len(skipped) == len(packages):  # a mirror of the index that knows no advisories answers like this
            told = f"{service} knows none of {len(packages)} packages"
            continue
        return report(service, packages, skipped)
    return _unreachable("could not reach the advisory service", told)


def report(service: str, packages: list[dict[str, Any]], skipped: list[str]) -> int:
    """Print what is known; the exit status."""
    found = [(package, each) for package in packages for each in package.get("vulns", ())]
    for package, each in found:
        fixed = ", ".join(each.get("fix_versions", ())) or "no version yet"
        print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    print(f"audit: {len(packages) - len(skipped)} of {len(packages)} packages asked about ({service})")
    if found:
        print("audit: vulnerable packages are locked; raise them in pyproject.toml, then make lock")
        return 1
    if skipped:
        return _unreachable("some packages are unknown to the advisory service", ", ".join(skipped))
    print("audit: no known vulnerability")
    return 0


def _unreachable(what: str, told: str) -> int:
    lines = [line for line in told.strip().splitlines() if line.strip()]
    print(f"audit: NOT AUDITED: {what} ({lines[-1][:200] if lines else 'no answer'})", file=sys.stderr)
    print("audit: this says nothing about the packages; run make audit where the network allows it", file=sys.stderr)
    return UNREACHABLE


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())

"""After the tests: how many inputs were tried, by property."""

from collections import Counter

import fuzzing


def pytest_terminal_summary(terminalreporter):
    if not fuzzing.INPUTS:
        return
    total = Counter()
    for (kind, name), count in sorted(fuzzing.INPUTS.items()):
        total[kind] += count
        taken, refused = (fuzzing.OUTCOMES[name, kind] for kind in ("accepted", "refused"))
        told = f"{count} inputs (in all: {taken} taken, {refused} refused)"
        terminalreporter.write_line(f"fuzzing {kind} {name}: {told}")
    for kind, count in total.items():
        terminalreporter.write_line(f"fuzzing {kind}: {count} inputs")

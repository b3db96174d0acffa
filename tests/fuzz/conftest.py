"""After the tests: how many inputs were tried, by property."""

from collections import Counter

import fuzzing


def pytest_terminal_summary(terminalreporter):
    if not fuzzing.INPUTS:
        return
    total = Counter()
    for (kind, name), count in sorted(fuzzing.INPUTS.items()):
        total[kind] += count
        own = fuzzing.OUTCOMES
        terminalreporter.write_line(
            f"fuzzing {kind} {name}: {count} inputs (in all: {own[name, 'accepted']} taken, {own[name, 'refused']} refused)"
        )
    for kind, count in total.items():
        terminalreporter.write_line(f"fuzzing {kind}: {count} inputs")

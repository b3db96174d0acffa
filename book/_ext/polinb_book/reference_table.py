"""This run's tables with the reference run's numbers beside them: text in, text out.

Both are tables as ``tables.numbered_table`` writes them. Rows are matched by what names them: the first
columns of text that tell the rows of a table apart.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

MOST_VALUES = 3  # columns that get a neighbour
MOST_COLUMNS = 8  # in all, so that a page's width holds them
LONGEST = 60  # characters of a cell; longer ones are read, not compared
ABSENT = "–"

_TABLE = re.compile(
    r"^(?P<fence>`{3,})\{table\} (?P<caption>[^\n]*)\n:name: (?P<name>[a-z0-9-]+)\n\n"
    r"(?P<body>(?:\|[^\n]*\n)+)(?P=fence)\n",
    re.M,
)
_NUMBER = r"[+−-]?(?:[\d.,  ]*\d|∞)(?: × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)? ?%?"
_VALUE = re.compile(rf"{_NUMBER}(?: \[[^\]]*\])?")
_EMPTY = ("", ABSENT)


@dataclass(frozen=True)
class Table:
    """A numbered table, cells as MyST.

    Attributes:
        name: its label.
        caption: MyST.
        header: one cell a column.
        align: the row under it, such as ``---:``.
        rows: cells by row.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    align: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def body(self) -> str:
        """The rows as Markdown, without number, label and caption."""
        return "".join(f"| {' | '.join(cells)} |\n" for cells in (self.header, self.align, *self.rows))

    def directive(self) -> str:
        """The whole of it, as in the output of a chapter."""
        fence = "`" * 4
        return f"{fence}{{table}} {self.caption}\n:name: {self.name}\n\n{self.body()}{fence}\n"


@dataclass(frozen=True)
class Compared:
    """A table with columns of the reference run, and how many of that run's rows found no place in it."""

    table: Table
    left: int


def find(text: str) -> tuple[Table, tuple[int, int]] | None:
    """The first numbered table in MyST ``text`` and where it stands; None if there is none."""
    found = _TABLE.search(text)
    if not found:
        return None
    lines = [_cells(line) for line in found["body"].splitlines()]
    if len(lines) < 2 or any(len(line) != len(lines[0]) for line in lines):
        return None
    table = Table(found["name"], found["caption"], lines[0], lines[1], tuple(lines[2:]))
    return table, found.span()


def plain(cell: str) -> str:
    """A cell as a reader sees it."""
    return html.unescape(re.sub(r"<[^>]*>", "", cell)).strip()


def beside(mine: Table, other: Table, marked: str = "{}") -> Compared | None:
    """``mine`` with a column of ``other`` beside each of its few columns of results; None if it would not read well.

    That is where the columns differ, nothing names the rows, few rows match, or there would be too many columns or too
    long texts. Columns of the paper, or of another study, are the same in both and get no neighbour.

    Args:
        marked: how a cell of the reference run is written.
    """
    heads = [plain(cell) for cell in mine.header]
    if heads != [plain(cell) for cell in other.header] or not mine.rows or not other.rows:
        return None
    numbers = [_holds_numbers(mine, at) and _holds_numbers(other, at) for at in range(len(heads))]
    papers = [head.lower().startswith(("paper", "study")) for head in heads]
    texts = [at for at in range(len(heads)) if not numbers[at] and not papers[at]]
    naming = _naming(texts, mine, other)
    if not naming:
        return None
    found = dict(zip(_named(other, naming), other.rows, strict=True))
    names = _named(mine, naming)
    pairs = [(row, found.get(name)) for row, name in zip(mine.rows, names, strict=True)]
    matched = [(row, there) for row, there in pairs if there]
    if 2 * len(matched) < len(mine.rows):
        return None
    first = numbers.index(True) if any(numbers) else len(heads)  # text left of all numbers says what they are
    compared = [
        at
        for at in range(first, len(heads))
        if not papers[at] and at not in naming and (numbers[at] or any(row[at] != there[at] for row, there in matched))
    ]
    long = any(len(plain(row[at])) > LONGEST for at in compared for row in (*mine.rows, *other.rows))
    if not compared or len(compared) > MOST_VALUES or len(heads) + len(compared) > MOST_COLUMNS or long:
        return None

    def widened(cells: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            text for at, cell in enumerate(cells) for text in ((cell, more[at]) if at in compared else (cell,))
        )

    none = [ABSENT] * len(heads)
    rows = [widened(row, [marked.format(cell) for cell in there or none]) for row, there in pairs]
    header = widened(mine.header, [marked.format(f"{cell}, reference") for cell in mine.header])
    made = replace(mine, header=header, align=widened(mine.align, mine.align), rows=tuple(rows))
    return Compared(made, len(set(found) - set(names)))


def same(mine: Table, other: Table) -> bool:
    """Whether both say the same, as tables of the paper's numbers do."""
    return (mine.header, mine.rows) == (other.header, other.rows)


def _cells(line: str) -> tuple[str, ...]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", inner))


def _holds_numbers(table: Table, at: int) -> bool:
    """Numbers, or numbers with intervals; a column without any counts if it is aligned as one."""
    cells = [plain(row[at]) for row in table.rows]
    if any(cell not in _EMPTY and not _VALUE.fullmatch(cell) for cell in cells):
        return False
    return table.align[at].endswith(":") or any(cell not in _EMPTY for cell in cells)


def _naming(texts: list[int], mine: Table, other: Table) -> list[int]:
    """As few of the columns of text, from the left, as tell the rows apart; all of them if that does not."""
    for most in range(1, len(texts) + 1):
        chosen = texts[:most]
        if all(len({tuple(row[at] for at in chosen) for row in t.rows}) == len(t.rows) for t in (mine, other)):
            return chosen
    return texts


def _named(table: Table, naming: list[int]) -> list[tuple[tuple[str, ...], int]]:
    """What names each row, and the how manyth row of that name it is."""
    seen: Counter[tuple[str, ...]] = Counter()
    names = []
    for row in table.rows:
        name = tuple(plain(row[at]) for at in naming)
        names.append((name, seen[name]))
        seen[name] += 1
    return names

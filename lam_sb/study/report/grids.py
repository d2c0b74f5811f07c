"""Tables ready to be set, and setting them as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from lam_sb.evaluation.comparisons import Column

PAPER = "paper"  # heads a column of the paper's own numbers
PAGE_COLUMNS = 4  # entries beside each other on a page
PAGE_WIDTH = 110  # characters
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "→": r"$\rightarrow$",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "†": r"\textsuperscript{\dag}",
    "‡": r"\textsuperscript{\ddag}",
    **{c: f"\\{c}" for c in "$&#_%"},
}


@dataclass(frozen=True)
class Entry:
    """One entry of a grid.

    Arguments
    ---------
    text : str
        What stands there, without markup; empty where there is nothing.
    best : bool
        Whether it is the best of its column.
    cell : tuple[str, Column] | None
        System and column whose runs it comes from.
    """

    text: str
    best: bool = False
    cell: tuple[str, Column] | None = None


@dataclass(frozen=True)
class Grid:
    """A table ready to be set in any format.

    Arguments
    ---------
    number : int
        1, 2 or 3, the paper's table.
    caption : str
        What it shows, under which protocol.
    header : list[list[tuple[str, int]]]
        Header lines over the entries, each a list of (text, columns spanned);
        the last line has one for each column.
    groups : list[list[tuple[str, list[Entry]]]]
        Groups of rows, a rule between them; a row is its name and entries.
    notes : list[str]
        What the marks mean, below the table.
    """

    number: int
    caption: str
    header: list[list[tuple[str, int]]]
    groups: list[list[tuple[str, list[Entry]]]]
    notes: list[str] = field(default_factory=list)

    def column_names(self) -> list[str]:
        """Join the header lines over each column.

        Returns
        -------
        list[str]
            One a column; the paper's names the column that it stands beside.

        Example
        -------
        >>> header = [[("a → b", 2)], [("wavlm", 1), ("paper", 1)]]
        >>> Grid(2, "", header, []).column_names()
        ['a → b, wavlm', 'a → b, wavlm, paper']
        """
        lines = [
            [text for text, span in line for _ in range(span)]
            for line in self.header
        ]
        names: list[str] = []
        for texts in zip(*lines, strict=True):
            if texts[-1] == PAPER and names:
                names.append(f"{names[-1]}, {PAPER}")
            else:
                names.append(", ".join(filter(None, texts)))
        return names


def to_markdown(grid: Grid) -> str:
    """Set a grid as a Markdown table.

    Arguments
    ---------
    grid : Grid
        Its header lines become one.

    Returns
    -------
    str
        Caption, table and notes, with the best of a column in bold.

    Example
    -------
    >>> row = "CC", [Entry("50.6 [45.2, 56.1]", best=True)]
    >>> print(to_markdown(Grid(2, "UAR.", [[("a", 1)]], [[row]])))
    **Table 2.** UAR.
    <BLANKLINE>
    |  | a |
    |---|---|
    | CC | **50.6 [45.2, 56.1]** |
    <BLANKLINE>
    """
    names = grid.column_names()
    lines = [
        f"**Table {grid.number}.** {_plain(grid.caption)}\n",
        _line(["", *map(_plain, names)]),
        "|" + "---|" * (len(names) + 1),
    ]
    for group in grid.groups:
        for name, entries in group:
            texts = [
                f"**{_plain(entry.text)}**"
                if entry.best
                else _plain(entry.text)
                for entry in entries
            ]
            lines.append(_line([_plain(name), *texts]))
    lines += [f"\n{_plain(note)}" for note in grid.notes]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([\\|*_`<>~])", r"\\\1", text)


def to_latex(grid: Grid) -> str:
    r"""Set a grid as LaTeX, for a document with ``\usepackage{booktabs}``.

    Arguments
    ---------
    grid : Grid
        More than four columns, or fewer long ones, become several tables.

    Returns
    -------
    str
        Tables with caption and notes, the best of a column in bold.
    """
    parts = _parts(grid)
    texts = []
    for n, (start, stop) in enumerate(parts, start=1):
        count = f" ({n} of {len(parts)})" if len(parts) > 1 else ""
        caption = _escaped(f"{grid.caption}{count}")
        texts.append(
            "\n".join(
                [
                    r"\begin{table}[htbp]",
                    r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
                    rf"\caption{{{caption}}}",
                    rf"\begin{{tabular}}{{l{'c' * (stop - start)}}}",
                    *_tabular(grid, start, stop),
                    r"\end{tabular}",
                    *_notes(grid),
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(texts) + "\n"


def _parts(grid: Grid) -> list[tuple[int, int]]:
    """Columns (start, stop) of each table.

    What the first header line spans stays together where a page holds it, and
    the paper's number always stays beside ours.
    """
    last = [text for text, _ in grid.header[-1]]
    sizes = _widths(grid)

    def fits(start: int, stop: int) -> bool:
        width = sizes[0] + sum(size + 2 for size in sizes[start + 1 : stop + 1])
        return stop - start <= PAGE_COLUMNS and width <= PAGE_WIDTH

    parts, start, stop = [], 0, 0
    for end in accumulate(span for _, span in grid.header[0]):
        if stop > start and not fits(start, end):
            parts.append((start, stop))
            start = stop
        for cut in range(stop + 1, end + 1):
            if cut < end and last[cut] == PAPER:
                continue
            if stop > start and not fits(start, cut):
                parts.append((start, stop))
                start = stop
            stop = cut
    return [*parts, (start, stop)]


def _widths(grid: Grid) -> list[int]:
    """Characters of the rows' names, and of each column."""
    rows = [row for group in grid.groups for row in group]
    names = max((len(name) for name, _ in rows), default=0)
    return [
        names,
        *(
            max(len(text), *(len(entries[n].text) for _, entries in rows))
            for n, (text, _) in enumerate(grid.header[-1])
        ),
    ]


def _tabular(grid: Grid, start: int, stop: int) -> list[str]:
    """Lines between the begin and the end of a tabular."""
    lines = [r"\toprule"]
    for number, line in enumerate(grid.header, start=1):
        spans = _cut(line, start, stop)
        if number == len(grid.header):
            lines.append(_row(["", *(_escaped(text) for text, _ in spans)]))
            break
        cells = [
            f"\\multicolumn{{{n}}}{{c}}{{{_escaped(t)}}}" for t, n in spans
        ]
        lines.append(_row(["", *cells]))
        ends = list(accumulate((n for _, n in spans), initial=1))
        lines.append(
            "".join(rf"\cmidrule(lr){{{a + 1}-{b}}}" for a, b in pairwise(ends))
        )
    for group in grid.groups:
        lines.append(r"\midrule")
        for name, entries in group:
            lines.append(
                _row([_escaped(name), *map(_entry, entries[start:stop])])
            )
    return [*lines, r"\bottomrule"]


def _cut(
    line: Sequence[tuple[str, int]], start: int, stop: int
) -> list[tuple[str, int]]:
    """Part of a header line over some columns."""
    ends = accumulate(span for _, span in line)
    cut = [
        (text, min(end, stop) - max(end - span, start))
        for (text, span), end in zip(line, ends, strict=True)
    ]
    return [(text, span) for text, span in cut if span > 0]


def _row(cells: Sequence[str]) -> str:
    # The line above would take a bracket for its own.
    first = "{}" if cells[0].startswith("[") else ""
    return first + " & ".join(cells) + r" \\"


def _entry(entry: Entry) -> str:
    text = _escaped(entry.text)
    return rf"\textbf{{{text}}}" if entry.best else text


def _notes(grid: Grid) -> list[str]:
    if not grid.notes:
        return []
    return [
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        *(f"{_escaped(note)}\\par" for note in grid.notes),
        r"\end{minipage}",
    ]


def _escaped(text: str) -> str:
    """Escape what LaTeX would read as a command; asterisks are raised."""
    escaped = "".join(SPECIAL.get(c, c) for c in text)
    return re.sub(r"(\*+)", r"\\textsuperscript{\1}", escaped)

"""A table ready to print, and printing it as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise

import pandas as pd

from lam_sb.evaluation.comparisons import Key

PAPER = "paper"  # heads a column of the paper's own numbers
PAGE_COLUMNS = 4  # that stand beside each other on a page of LaTeX
PAGE_WIDTH = 110  # characters
LATEX = {
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
    "§": r"\textsuperscript{\S}",
    **{c: f"\\{c}" for c in "$&#_%"},
}


@dataclass(frozen=True)
class Cell:
    """One cell of a printed table."""

    text: str = ""  # without markup
    bold: bool = False  # as the best of its column
    score: Key | None = None  # system and column whose runs it comes from
    shade: float = 0.0  # -1 to 1, colour behind it on the page


@dataclass(frozen=True, eq=False)
class PrintedTable:
    """A table ready to print in any format."""

    number: int  # 1, 2 or 3, the paper's table
    title: str  # a sentence: what it shows
    frame: pd.DataFrame  # as from `make_frame`
    differing: str = ""  # a sentence: rows that do not compare, and why
    protocol: str = ""  # a sentence: the settings of all its runs
    sizes: str = ""  # sentences: how many seeds and speakers
    notes: list[str] = field(default_factory=list)  # what the marks mean
    cautions: list[str] = field(default_factory=list)  # where there are few
    is_main: bool = True  # the paper's table itself, not one made from it

    @property
    def caption(self) -> str:
        """All that a table says about itself where it stands alone."""
        texts = (self.title, self.differing, self.protocol, self.sizes)
        return " ".join(filter(None, texts))


def make_frame(
    cells: Mapping[tuple[Hashable, Hashable], Cell],
    rows: Mapping[Hashable, tuple[str, str]],
    columns: Mapping[Hashable, tuple[str, ...]],
) -> pd.DataFrame:
    """Arrange cells in rows and columns; those that are missing stay empty.

    Rows have a group, parted from others by a rule, and a name; columns the
    lines of the header over them. Both stand in order.
    """
    return pd.DataFrame(
        [[cells.get((row, c), Cell()) for c in columns] for row in rows],
        index=pd.MultiIndex.from_tuples(rows.values()),
        columns=pd.MultiIndex.from_tuples(columns.values()),
        dtype=object,
    )


def text_frame(texts: pd.DataFrame) -> pd.DataFrame:
    """Make cells of plain texts or numbers, rows in one group if not more."""
    frame = texts.map(lambda value: Cell(str(value)))
    if frame.index.nlevels == 1:
        frame.index = pd.MultiIndex.from_product([[""], map(str, frame.index)])
    frame.columns = pd.MultiIndex.from_product([map(str, frame.columns)])
    return frame


def header_lines(frame: pd.DataFrame) -> list[list[tuple[str, int]]]:
    """Lines of the header, each a list of (text, columns spanned)."""
    *upper, last = zip(*frame.columns, strict=True)
    lines = [
        [(text, len(list(group))) for text, group in groupby(line)]
        for line in upper
    ]
    return [*lines, [(text, 1) for text in last]]


def row_groups(frame: pd.DataFrame) -> Iterator[list[tuple[str, list[Cell]]]]:
    """Rows in their groups, each its name and cells."""
    rows = zip(frame.index, frame.to_numpy(), strict=True)
    for _, group in groupby(rows, lambda row: row[0][0]):
        yield [(name, list(cells)) for (_, name), cells in group]


def column_names(frame: pd.DataFrame) -> list[str]:
    """Join the header lines over each column, to the paper's also ours."""
    names: list[str] = []
    for column in frame.columns:
        if column[-1] == PAPER and names:
            names.append(f"{names[-1]}, {PAPER}")
        else:
            names.append(", ".join(filter(None, column)))
    return names


def to_markdown(table: PrintedTable) -> str:
    """Print a table as Markdown, the best of a column in bold."""
    number = f"**Table {table.number}.** " if table.is_main else ""
    frame = table.frame.map(_markdown_cell)
    frame.index = [_markdown(name) for _, name in table.frame.index]
    frame.columns = [_markdown(name) for name in column_names(table.frame)]
    return "\n\n".join(
        [
            number + _markdown(table.caption),
            # Numbers stay as they are written.
            frame.to_markdown(disable_numparse=True),
            *map(_markdown, [*table.notes, *table.cautions]),
        ]
    )


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    return f"**{text}**" if cell.bold else text


def _markdown(text: str) -> str:
    """Escape what Markdown would read as markup."""
    text = " ".join(text.split())
    return re.sub(r"[\\|*_`<>~]|(?<=\])\(", r"\\\g<0>", text)


def to_latex(table: PrintedTable) -> str:
    r"""Print a table as LaTeX, for a document with ``\usepackage{booktabs}``.

    More than four columns, or fewer long ones, become several tables.
    """
    parts = _parts(table.frame)
    texts = []
    for n, columns in enumerate(parts, start=1):
        count = f" ({n} of {len(parts)})" if len(parts) > 1 else ""
        lines = [
            r"\begin{table}[htbp]",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{_latex(table.caption + count)}}}",
            *_tabular(table.frame.iloc[:, columns]),
            r"\par\smallskip",
            r"\begin{minipage}{\linewidth}\footnotesize",
            *(f"{_latex(n)}\\par" for n in (*table.notes, *table.cautions)),
            r"\end{minipage}",
            r"\end{table}",
        ]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _parts(frame: pd.DataFrame) -> list[list[int]]:
    """Columns of each tabular: as many as a page holds, the paper's with ours.

    What the first header line spans stays together where a page holds it.
    """
    names = max(len(name) for _, name in frame.index)
    widest = frame.map(lambda cell: len(cell.text)).max().max() + 2
    room = min(max((PAGE_WIDTH - names) // widest, 1), PAGE_COLUMNS)
    is_paper = [column[-1] == PAPER for column in frame.columns] + [False]
    parts: list[list[int]] = [[]]
    stop = 0
    for _, span in header_lines(frame)[0]:
        start, stop = stop, stop + span
        if len(parts[-1]) + span > room:
            parts.append([])
        for n in range(start, stop):
            size = len(parts[-1]) + 1 + is_paper[n + 1]
            if size > room and not is_paper[n]:
                parts.append([])
            parts[-1].append(n)
    return [part for part in parts if part]


def _tabular(frame: pd.DataFrame) -> list[str]:
    """Lines of a tabular, a rule between groups of rows."""
    texts = frame.map(_latex_cell)
    # The line above would take a bracket for its own.
    names = [_latex(name) for _, name in frame.index]
    texts.index = ["{}" * name.startswith("[") + name for name in names]
    heads = [tuple(map(_latex, column)) for column in frame.columns]
    several = len(heads[0]) > 1
    texts.columns = (
        pd.MultiIndex.from_tuples(heads)
        if several
        else [head for (head,) in heads]
    )
    spec = "l" + "c" * frame.shape[1]
    lines = texts.to_latex(
        escape=False, column_format=spec, multicolumn_format="c"
    ).splitlines()
    end = len(lines) - 2  # \bottomrule and \end{tabular}
    for group in reversed([*row_groups(frame)][1:]):
        end -= len(group)
        lines.insert(end, r"\midrule")
    if several:
        spans = (span for _, span in header_lines(frame)[0])
        ends = pairwise(accumulate(spans, initial=2))
        rules = (rf"\cmidrule(lr){{{a}-{b - 1}}}" for a, b in ends)
        lines.insert(3, "".join(rules))
    return lines


def _latex_cell(cell: Cell) -> str:
    text = _latex(cell.text)
    return rf"\textbf{{{text}}}" if cell.bold else text


def _latex(text: str) -> str:
    """Escape what LaTeX would read as a command; asterisks are raised."""
    escaped = "".join(LATEX.get(c, c) for c in " ".join(text.split()))
    return re.sub(r"(\*+)", r"\\textsuperscript{\1}", escaped)

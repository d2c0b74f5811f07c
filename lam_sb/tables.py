"""Tables 1 to 3 of a study, as Markdown, LaTeX and CSV."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lam_sb.comparisons import Column


@dataclass(frozen=True)
class Analysis:
    """What ``python -m lam_sb analyse`` left of a column.

    Arguments
    ---------
    column : Column
        Encoder and direction.
    folder : Path
        With selection.json, similarity.csv and figure1.png.
    selection : dict
        What selection.json holds.
    similarity : list[dict]
        Rows of `lam_sb.similarity.read_similarity`.
    """

    column: Column
    folder: Path
    selection: dict
    similarity: list[dict]


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

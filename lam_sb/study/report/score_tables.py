"""Table 2: the UAR of each system, and what LAM-GL has over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lam_sb.evaluation.catalogue import (
    CONTROLS,
    FAMILIES,
    REFERENCE,
    family_of,
    name_of,
)
from lam_sb.evaluation.comparisons import (
    Column,
    Key,
    ScoreTable,
    order_columns,
)
from lam_sb.study.report import notes
from lam_sb.study.report.notes import Differences, Scores
from lam_sb.study.report.paper import paper_uar
from lam_sb.study.report.printed import PAPER, Cell, PrintedTable, make_frame

# A system by a column; True for the paper's column beside ours.
Place = tuple[str, tuple[Column, bool]]


def score_tables(table: ScoreTable, paper: bool) -> list[PrintedTable]:
    """Print Table 2.

    Arguments
    ---------
    table : ScoreTable
        LAM-GL on segments is left to Table 3.
    paper : bool
        Whether the paper's own numbers stand beside ours.

    Returns
    -------
    list[PrintedTable]
        UARs in %; and, where LAM-GL is there, LAM-GL minus each other system
        in points. None without any system.
    """
    scores = {k: s for k, s in table.scores.items() if not _on_segment(k)}
    differences = {
        k: d for k, d in table.differences.items() if not _on_segment(k)
    }
    printed = []
    if scores:
        printed.append(_uar_table(table, scores, differences, paper))
    if differences:
        cells = difference_cells(differences)
        cells = {(s, (c, False)): cell for (s, c), cell in cells.items()}
        printed.append(
            PrintedTable(
                number=2,
                title=(
                    "LAM-GL minus each other system: difference of the test "
                    "UARs in points."
                ),
                frame=arrange(table, cells),
                **_about_differences(table, scores, differences),
            )
        )
    return printed


def _on_segment(key: Key) -> bool:
    return family_of(key[0]) == "segments"


def _uar_table(
    table: ScoreTable, scores: Scores, differences: Differences, paper: bool
) -> PrintedTable:
    best = _best_by_column(scores)
    cells: dict[Place, Cell] = {}
    for (system, column), score in scores.items():
        key = system, column
        mark = differences[key].mark if key in differences else ""
        is_best = score.estimate.value == best.get(column)
        cells[system, (column, False)] = Cell(
            notes.with_interval(score.estimate) + mark,
            is_best and family_of(system) != "bounds",
            key,
        )
        number = paper and paper_uar(*key)
        if number:
            cells[system, (column, True)] = Cell(f"{number:.2f}")
    return PrintedTable(
        number=2,
        title="Test UAR in % of each system.",
        frame=arrange(table, cells),
        protocol=notes.describe_protocol(table.protocol),
        sizes=notes.describe_sizes(scores),
        notes=[
            *notes.mark_notes(scores, differences),
            *notes.shared_row_notes(scores, differences),
        ],
        cautions=[notes.INTERVALS, *notes.caution_notes(scores)],
    )


def _best_by_column(scores: Scores) -> dict[Column, float]:
    """Highest UAR of each column; bounds do not compete."""
    best: dict[Column, float] = {}
    for (system, column), score in scores.items():
        if family_of(system) != "bounds":
            value = score.estimate.value
            best[column] = max(value, best.get(column, value))
    return best


def _about_differences(
    table: ScoreTable, scores: Scores, differences: Differences
) -> dict:
    """Caption and notes of a table of differences."""
    references = {(REFERENCE, column) for _, column in differences}
    compared = {
        k: score
        for k, score in scores.items()
        if k in differences or k in references
    }
    return {
        "protocol": notes.describe_protocol(table.protocol),
        "sizes": notes.describe_sizes(compared),
        "notes": [
            notes.p_note(family_of(system) for system, _ in differences),
            *notes.shared_row_notes(scores, differences),
        ],
        "cautions": [notes.INTERVALS, *notes.caution_notes(compared)],
        "is_main": False,
    }


def control_table(table: ScoreTable) -> PrintedTable | None:
    """Print LAM-GL minus the controls, which say whether anchoring helps.

    Arguments
    ---------
    table : ScoreTable
        Of one protocol.

    Returns
    -------
    PrintedTable | None
        A row for each column; None without such a comparison.
    """
    differences = {
        k: d for k, d in table.differences.items() if k[0] in CONTROLS
    }
    if not differences:
        return None
    cells = difference_cells(differences)
    columns = order_columns(column for _, column in differences)
    return PrintedTable(
        number=2,
        title=(
            "LAM-GL minus the same system without alignment (Layer-Atn), and "
            "minus the one that leaves the anchored layers out (Layer-Drop): "
            "difference of the test UARs in points."
        ),
        frame=make_frame(
            {
                (column, system): cell
                for (system, column), cell in cells.items()
            },
            {column: ("", column.label) for column in columns},
            {s: (f"LAM-GL - {name}",) for s, name in CONTROLS.items()},
        ),
        **_about_differences(table, table.scores, differences),
    )


def difference_cells(differences: Differences) -> dict[Key, Cell]:
    """Write LAM-GL minus each system in points, with p."""
    return {
        key: Cell(notes.with_p(d.comparison.estimate, d.p_holm), score=key)
        for key, d in differences.items()
    }


def arrange(table: ScoreTable, cells: Mapping[Place, Cell]) -> pd.DataFrame:
    """Arrange families of systems by directions and encoders."""
    shown = {system for system, _ in cells}
    systems = [
        system
        for family in FAMILIES
        for system in table.systems
        if system in shown and family_of(system) == family
    ]
    rows = {s: (family_of(s), _title(table, s)) for s in systems}
    return make_frame(cells, rows, column_headers([c for _, c in cells]))


def column_headers(
    columns: Sequence[tuple[Column, bool]],
) -> dict[tuple[Column, bool], tuple[str, str]]:
    """Lines of the header over each column, the paper's after ours."""
    there = set(columns)
    return {
        (column, is_paper): (
            column.direction,
            PAPER if is_paper else column.encoder,
        )
        for column in order_columns(c for c, _ in columns)
        for is_paper in (False, True)
        if (column, is_paper) in there
    }


def _title(table: ScoreTable, system: str) -> str:
    """Name of a row, marked if it learns from target labels."""
    shots = any(
        score.runs[0].results["shots"]
        for (other, _), score in table.scores.items()
        if other == system
    )
    return name_of(system) + notes.SHOTS * shots

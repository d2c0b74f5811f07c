"""Table 2: the UAR of each system, and what LAM-GL has over it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from lam_sb.evaluation.catalogue import (
    CONTROLS,
    FAMILIES,
    REFERENCE,
    family_of,
    name_of,
)
from lam_sb.evaluation.comparisons import Column, ScoreTable, order_columns
from lam_sb.study.report import notes
from lam_sb.study.report.paper import paper_uar
from lam_sb.study.report.printed import PAPER, Cell, PrintedTable, make_frame

# A system by a column; True for the paper's column beside ours.
Place = tuple[str, tuple[Column, bool]]


def score_tables(table: ScoreTable, paper: bool) -> list[PrintedTable]:
    """Print UARs in %, and LAM-GL minus each other system in points.

    LAM-GL on segments is left to Table 3. The paper's own numbers stand beside
    ours if asked for.
    """
    shown = [s for s in table.systems if family_of(s) != "segments"]
    scores = {k: score for k, score in table.scores.items() if k[0] in shown}
    differences = {k: d for k, d in table.differences.items() if k[0] in shown}
    title = "LAM-GL minus each other system: difference of the test UARs in "
    printed = [_uar_table(table, scores, differences, paper)] if scores else []
    return printed + difference_tables(table, differences, f"{title}points.")


def _uar_table(
    table: ScoreTable,
    scores: notes.Scores,
    differences: notes.Differences,
    paper: bool,
) -> PrintedTable:
    # Bounds do not compete.
    ranked = [
        (column, score.estimate.value)
        for (system, column), score in scores.items()
        if family_of(system) != "bounds"
    ]
    best = dict(sorted(ranked, key=lambda pair: pair[1]))
    cells: dict[Place, Cell] = {}
    for key, score in scores.items():
        system, column = key
        mark = differences[key].mark if key in differences else ""
        text = notes.with_interval(score.estimate) + mark
        is_best = score.estimate.value == best.get(column)
        bold = is_best and family_of(system) != "bounds"
        cells[system, (column, False)] = Cell(text, bold, key)
        number = paper and paper_uar(*key)
        if number:
            cells[system, (column, True)] = Cell(f"{number:.2f}")
    return PrintedTable(
        number=2,
        title="Test UAR in % of each system.",
        frame=arrange(table, cells),
        differing=notes.differing_note(table, scores),
        protocol=notes.describe_protocol(table.protocol),
        sizes=notes.describe_sizes(scores),
        notes=[
            *notes.mark_notes(scores, differences),
            *notes.shared_row_notes(scores, differences),
        ],
        cautions=[notes.INTERVALS, *notes.caution_notes(scores)],
    )


def control_tables(table: ScoreTable) -> list[PrintedTable]:
    """Print LAM-GL minus the controls, which say whether anchoring helps."""
    title = (
        "LAM-GL minus the same system without alignment (Layer-Atn), and minus "
        "the one that leaves the anchored layers out (Layer-Drop): difference "
        "of the test UARs in points."
    )
    controls = {k: d for k, d in table.differences.items() if k[0] in CONTROLS}
    return difference_tables(table, controls, title)


def difference_tables(
    table: ScoreTable, differences: notes.Differences, title: str
) -> list[PrintedTable]:
    """Print LAM-GL minus other systems in points, with p; none without any."""
    if not differences:
        return []
    references = {(REFERENCE, column) for _, column in differences}
    compared = {*differences} | references
    scores = {k: score for k, score in table.scores.items() if k in compared}
    cells: dict[Place, Cell] = {}
    for (system, column), difference in differences.items():
        text = notes.with_p(difference.comparison.estimate, difference.p_holm)
        cells[system, (column, False)] = Cell(text, score=(system, column))
    return [
        PrintedTable(
            number=2,
            title=title,
            frame=arrange(table, cells),
            differing=notes.differing_note(table, scores),
            protocol=notes.describe_protocol(table.protocol),
            sizes=notes.describe_sizes(scores),
            notes=[
                notes.p_note(differences),
                *notes.shared_row_notes(scores, differences),
            ],
            cautions=[notes.INTERVALS, *notes.caution_notes(scores)],
            is_main=False,
        )
    ]


def arrange(table: ScoreTable, cells: Mapping[Place, Cell]) -> pd.DataFrame:
    """Arrange families of systems by directions and encoders."""
    rows = family_rows(table, {system for system, _ in cells})
    return make_frame(cells, rows, column_headers(cells))


def family_rows(
    table: ScoreTable, shown: Collection[str]
) -> dict[str, tuple[str, str]]:
    """Family and name of each system that is shown, in order."""
    shots = {
        system
        for (system, _), score in table.scores.items()
        if score.runs[0].results["shots"]
    }
    return {
        system: (family, name_of(system) + notes.SHOTS * (system in shots))
        for family in FAMILIES
        for system in table.systems
        if system in shown and family_of(system) == family
    }


def column_headers(
    cells: Mapping[Place, Cell],
) -> dict[tuple[Column, bool], tuple[str, str]]:
    """Lines of the header over each column, the paper's after ours."""
    there = {place for _, place in cells}
    return {
        (column, is_paper): (
            column.direction,
            PAPER if is_paper else column.encoder,
        )
        for column in order_columns(column for _, (column, _) in cells)
        for is_paper in (False, True)
        if (column, is_paper) in there
    }

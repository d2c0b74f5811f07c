"""Sources by targets: what training on several corpora is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lam_sb.corpora.names import names_of
from lam_sb.evaluation.catalogue import family_of, name_of
from lam_sb.evaluation.comparisons import Column, Key, ScoreTable
from lam_sb.evaluation.means import mean_estimate
from lam_sb.evaluation.predictions import Predictions
from lam_sb.evaluation.statistics import (
    Estimate,
    mean_over,
)
from lam_sb.study.report import notes
from lam_sb.study.report.printed import Cell, PrintedTable, make_frame

PLAIN = "layer_atn"  # from all sources: what the others are compared with
MEAN = "mean"  # column of the mean over the targets
ONE, ALL = "one source", "all sources"
FIXED = (
    "One source: the mean over the sources that are there. Intervals hold for "
    "these sources and targets, with new speakers and new seeds."
)
# A row by its system and source, by target.
Row = tuple[str, str]


def source_tables(table: ScoreTable) -> list[PrintedTable]:
    """Print sources by targets, and one source against all, by encoder.

    Nothing where no target has two sources.
    """
    printed = []
    for encoder in dict.fromkeys(column.encoder for column in table.columns):
        columns = [
            column
            for column in table.columns
            if column.encoder == encoder and not column.beside
        ]
        sources: dict[str, list[Column]] = {}
        for column in columns:
            sources.setdefault(column.target, []).append(column)
        if max(map(len, sources.values()), default=0) > 1:
            printed.append(_matrix(table, columns))
            printed += _one_and_all(table, sources)
    return printed


def _systems(table: ScoreTable, columns: Iterable[Column]) -> list[str]:
    """Systems that are there, but for bounds, which have no source."""
    there = {s for s, column in table.scores if column in columns}
    return [
        system
        for system in table.systems
        if system in there and family_of(system) != "bounds"
    ]


def _matrix(table: ScoreTable, columns: Sequence[Column]) -> PrintedTable:
    cells: dict[tuple[Row, str], Cell] = {}
    shown = {}
    order = dict.fromkeys(column.source for column in columns)
    sources = sorted(order, key=lambda source: len(names_of(source)))
    rows: dict[Row, tuple[str, str]] = {}
    for system in _systems(table, columns):
        name = name_of(system)
        rows |= {(system, s): (name, f"{name}, {s}") for s in sources}
        for column in columns:
            key: Key = system, column
            if key in table.scores:
                shown[key] = table.scores[key]
                text = notes.with_interval(shown[key].estimate)
                cell = Cell(text, score=key)
                cells[(system, column.source), column.target] = cell
    there = {row for row, _ in cells}
    rows = {row: names for row, names in rows.items() if row in there}
    targets = {c.target: (c.encoder, c.target) for c in columns}
    return _printed(
        table,
        "Test UAR in %, by the corpora that a system was trained on (rows) and "
        "tested on (columns).",
        make_frame(cells, rows, targets),
        shown,
    )


def _one_and_all(
    table: ScoreTable, sources: Mapping[str, Sequence[Column]]
) -> list[PrintedTable]:
    """Print systems from one source and from all, and minus Layer-Atn."""
    wide = {
        target: max(columns, key=lambda c: len(names_of(c.source)))
        for target, columns in sources.items()
    }
    wide = {t: c for t, c in wide.items() if len(names_of(c.source)) > 1}
    columns = [c for t in wide for c in sources[t]]
    systems = _systems(table, columns)
    shown = {
        key: score
        for key, score in table.scores.items()
        if key[0] in systems and key[1] in columns
    }
    joined = _joined(shown, systems, sources, wide)
    if not joined:
        return []
    uars = {place: mean_over(parts) for place, parts in joined.items()}
    plain = {t: joined.get(((PLAIN, ALL), t)) for t in wide}
    differences = {
        (row, target): mean_over(own, *plain[target])
        for (row, target), own in joined.items()
        if plain[target] is not None and row != (PLAIN, ALL)
    }
    titles = (
        "Test UAR in % from one source, and from all.",
        "Difference of the test UAR to that of Layer-Atn from all sources, in "
        "points.",
    )
    return [
        _printed(table, title, _frame(values, wide, sign), shown, [FIXED])
        for title, values, sign in zip(
            titles, (uars, differences), ("", "+"), strict=True
        )
        if values
    ]


def _joined(
    shown: notes.Scores,
    systems: Sequence[str],
    sources: Mapping[str, Sequence[Column]],
    wide: Mapping[str, Column],
) -> dict[tuple[Row, str], list[Predictions]]:
    """Give the predictions of each system from one source, and from all."""
    joined = {}
    for system in systems:
        for target, widest in wide.items():
            one = [c for c in sources[target] if len(names_of(c.source)) == 1]
            for kind, of in ((ONE, one), (ALL, [widest])):
                scores = [shown[system, c] for c in of if (system, c) in shown]
                if scores:
                    parts = [score.predictions for score in scores]
                    joined[(system, kind), target] = parts
    return joined


def _frame(
    values: Mapping[tuple[Row, str], Estimate],
    targets: Mapping[str, Column],
    sign: str,
) -> object:
    """Arrange estimates by rows and targets, with the mean over the targets."""
    cells = {
        place: Cell(notes.with_interval(estimate, sign))
        for place, estimate in values.items()
    }
    rows = {}
    for kind in (ONE, ALL):
        of_kind = dict.fromkeys(row for row, _ in values if row[1] == kind)
        for row in of_kind:
            rows[row] = kind, f"{name_of(row[0])}, {kind}"
            own = [values.get((row, target)) for target in targets]
            if all(own):
                mean = mean_estimate(own)
                cells[row, MEAN] = Cell(notes.with_interval(mean, sign))
    encoder = next(iter(targets.values())).encoder
    columns = {target: (encoder, target) for target in (*targets, MEAN)}
    return make_frame(cells, rows, columns)


def _printed(
    table: ScoreTable,
    title: str,
    frame: object,
    shown: notes.Scores,
    said: Sequence[str] = (),
) -> PrintedTable:
    return PrintedTable(
        number=2,
        title=title,
        frame=frame,
        differing=notes.differing_note(table, shown),
        protocol=notes.describe_protocol(table.protocol),
        sizes=notes.describe_sizes(shown),
        notes=[*said, notes.UNCORRECTED],
        cautions=[notes.INTERVALS, *notes.caution_notes(shown)],
        is_main=False,
    )

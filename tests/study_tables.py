"""What tests of printed tables share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lam_sb.evaluation.comparisons import Column, ScoreTable, make_tables
from lam_sb.evaluation.results import read_run
from lam_sb.study.report.printed import Cell, PrintedTable, row_groups

COLUMN = Column("enc", "left", "right")
HALF = [("s00", 0), ("s01", 0), ("s02", 0)]  # neutral of three speakers of six
WHOLE = [(f"s{n:02d}", 0) for n in range(12)]  # neutral of every speaker
PAPER = {"source": "msp_podcast", "target": "biic_podcast"}


def tables_of(
    *paths: Path, encoders: Mapping[str, str] | None = None
) -> list[ScoreTable]:
    tables, problems = make_tables([read_run(p) for p in paths], encoders)
    assert problems == []
    return tables


def texts(printed: PrintedTable) -> dict[str, list[str]]:
    return {
        name: [cell.text for cell in cells]
        for group in row_groups(printed.frame)
        for name, cells in group
    }


def group_names(printed: PrintedTable) -> list[list[str]]:
    groups = row_groups(printed.frame)
    return [[name for name, _ in group] for group in groups]


def cells_of(printed: PrintedTable) -> list[Cell]:
    return [cell for line in printed.frame.to_numpy() for cell in line]


def noted(printed: PrintedTable, start: str) -> list[str]:
    notes = [*printed.notes, *printed.cautions]
    return [note for note in notes if note.startswith(start)]

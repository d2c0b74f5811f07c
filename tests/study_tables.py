"""What tests of printed tables share."""

from __future__ import annotations

import re
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


def check_latex(text: str) -> list[list[list[str]]]:
    """Check the structure; give the cells of each tabular's rows."""
    open_parts = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            open_parts.append(name)
        else:
            assert open_parts.pop() == name
    assert open_parts == []
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert text.isascii()
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    assert not re.search(
        r"(?<!\\)[%#_^~]", text.replace(r"\textasciitilde", "")
    )
    found = []
    for spec, body in re.findall(
        r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL
    ):
        found.append(check_tabular(len(spec), body))
    assert found
    return found


def check_tabular(count: int, body: str) -> list[list[str]]:
    rows = []
    for line in body.strip().splitlines():
        if line in (r"\toprule", r"\midrule", r"\bottomrule"):
            continue
        if line.startswith(r"\cmidrule"):
            ends = [
                (int(a), int(b))
                for a, b in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", line)
            ]
            assert [n for a, b in ends for n in range(a, b + 1)] == [
                *range(2, count + 1)
            ]
            continue
        assert line.endswith(r" \\")
        assert not line.startswith("[")
        cells = re.split(r"(?<!\\)&", line[:-3])
        spans = [re.search(r"\\multicolumn\{(\d+)\}", cell) for cell in cells]
        assert sum(int(span[1]) if span else 1 for span in spans) == count
        rows.append([cell.strip() for cell in cells])
    return rows

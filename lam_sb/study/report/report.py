"""The report of a study: one page that can be mailed, and its tables."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import PROTOCOL, Column, ScoreTable
from lam_sb.files import whole_file
from lam_sb.study.report import provenance, sections
from lam_sb.study.report.emotion_tables import emotion_tables
from lam_sb.study.report.findings import Findings
from lam_sb.study.report.layer_tables import (
    Analysis,
    anchor_table,
    selection_table,
)
from lam_sb.study.report.notes import MEANINGS, caution_notes, number_range
from lam_sb.study.report.printed import PrintedTable, header_lines, row_groups
from lam_sb.study.report.score_tables import control_table, score_tables
from lam_sb.study.report.table_files import write_tables

# What XML cannot hold, and half characters of file names that are no text.
UNWANTED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Printed = Mapping[str, Sequence[PrintedTable]]  # by section


class Part(NamedTuple):
    """What a section shows, of one table of scores or of the whole study."""

    table: ScoreTable | None
    content: object


class Section(NamedTuple):
    """A section of the page; its template has the same name."""

    name: str
    heading: str
    parts: list[Part]


def write_report(folder: Path, findings: Findings) -> Path:
    """Write the tables of a study, and a page that shows all of it.

    Arguments
    ---------
    folder : Path
        Gets table1 to table3 as .md, .tex and .csv, and report.html. Runs and
        logs are linked relative to it.
    findings : Findings
        What is shown; equal findings give equal bytes.

    Returns
    -------
    Path
        report.html.
    """
    tables, paper = findings.tables, findings.paper
    selection = selection_table(findings.analyses, paper)
    printed = {table: _print(table, paper) for table in tables}
    every = [
        *[selection] * bool(selection),
        *(p for own in printed.values() for part in own.values() for p in part),
    ]
    write_tables(folder, every, tables, paper)
    environment = _environment(tables, provenance.Links(folder, tables))
    page = environment.get_template("page.html").render(
        findings=findings,
        sections=[
            section
            for section in _sections(findings, printed, selection)
            if section.parts
        ],
        printed=printed,
    )
    path = folder / "report.html"
    with whole_file(path) as temporary:
        text = UNWANTED.sub("\ufffd", page)
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def _print(table: ScoreTable, paper: bool) -> dict[str, list[PrintedTable]]:
    """Print Tables 1 to 3 of one protocol, by section."""
    controls, anchors = control_table(table), anchor_table(table, paper)
    return {
        "headline": [controls] if controls else [],
        "scores": score_tables(table, paper),
        "emotions": emotion_tables(table, paper),
        "layers": [anchors] if anchors else [],
    }


def _sections(
    findings: Findings,
    printed: Mapping[ScoreTable, Printed],
    selection: PrintedTable | None,
) -> list[Section]:
    """All sections of the page, in order."""

    def each(make: Callable[[ScoreTable, Findings], object]) -> list[Part]:
        parts = [Part(t, make(t, findings)) for t in findings.tables]
        return [part for part in parts if part.content]

    def tables(name: str) -> list[Part]:
        return each(lambda table, _: printed[table][name])

    layers = [Part(None, [selection])] if selection else []
    pictures = _similarity(findings.analyses)
    prepared = {
        corpus: provenance.preparation_frame(report)
        for corpus, report in findings.preparation.items()
    }
    return [
        Section("warnings", "Read this first", _warnings(findings)),
        Section(
            "headline",
            "What anchoring adds",
            each(sections.control_intervals),
        ),
        Section("scores", "Scores (Table 2)", tables("scores")),
        Section("emotions", "Emotions (Table 3)", tables("emotions")),
        Section("layers", "Layers (Table 1)", layers + tables("layers")),
        Section(
            "similarity",
            "Similarity by layer (Figure 1)",
            [Part(None, pictures)] if pictures else [],
        ),
        Section("anchors", "Choice of anchors", each(sections.anchor_choice)),
        Section(
            "shares",
            "What the layers contribute",
            each(sections.layer_shares),
        ),
        Section("curves", "Learning curves", each(sections.learning_curves)),
        Section("confusion", "Confusions", each(sections.confusions)),
        Section("gender", "Gender", each(sections.genders)),
        Section("speakers", "Speakers", each(sections.speaker_scores)),
        Section("protocol", "Protocol", each(provenance.protocol)),
        Section(
            "corpora", "Corpora", [Part(None, prepared)] if prepared else []
        ),
        Section("runs", "All runs", each(lambda table, _: table.scores)),
    ]


def _warnings(findings: Findings) -> list[Part]:
    """What failed, and what the scores of each table have too few of."""
    notes = {table: caution_notes(table.scores) for table in findings.tables}
    notes = {table: lines for table, lines in notes.items() if lines}
    anything = findings.failed or findings.problems or notes
    return [Part(None, notes)] if anything else []


def _similarity(
    analyses: Sequence[Analysis],
) -> list[tuple[bytes, list[Analysis]]]:
    """Figure 1 of each analysis; one of several encoders only once."""
    pictures: dict[bytes, list[Analysis]] = {}
    for analysis in analyses:
        path = analysis.folder / "figure1.png"
        if path.is_file():
            pictures.setdefault(path.read_bytes(), []).append(analysis)
    return list(pictures.items())


def _environment(
    tables: Sequence[ScoreTable], links: provenance.Links
) -> Environment:
    """Templates, with what they use."""

    def differing(table: ScoreTable) -> str:
        """Say in what the protocol of a table differs from the others."""
        keys = [
            key
            for key in PROTOCOL
            if len({str(other.protocol[key]) for other in tables}) > 1
        ]
        return ", ".join(f"{key}: {table.protocol[key]}" for key in keys)

    def run_links(table: ScoreTable, column: Column) -> dict[str, str]:
        """Addresses of the runs of a column, by the name of the row."""
        return {
            name_of(system): links.runs(table, system, column)
            for system in table.systems
            if (system, column) in table.scores
        }

    environment = Environment(
        loader=PackageLoader("lam_sb.study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "base64": lambda content: base64.b64encode(content).decode(),
        "percent": lambda fraction: f"{100 * fraction:.1f}",
    }
    environment.globals |= {
        "differing": differing,
        "EMOTIONS": EMOTIONS,
        "header_lines": header_lines,
        "links": links,
        "MEANINGS": MEANINGS,
        "name_of": name_of,
        "number_range": number_range,
        "row_groups": row_groups,
        "run_links": run_links,
    }
    return environment

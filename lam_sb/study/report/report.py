"""The report of a study: one page that can be mailed, and its tables."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.catalogue import name_of
from lam_sb.evaluation.comparisons import Column, ScoreTable
from lam_sb.evaluation.protocols import PROTOCOL
from lam_sb.files import whole_file
from lam_sb.study.report import notes, plots, printed, provenance, sections
from lam_sb.study.report.calibration_tables import calibration_tables
from lam_sb.study.report.emotion_tables import emotion_tables
from lam_sb.study.report.findings import Findings
from lam_sb.study.report.layer_tables import (
    Analysis,
    anchor_tables,
    selection_tables,
)
from lam_sb.study.report.score_tables import control_tables, score_tables
from lam_sb.study.report.source_tables import source_tables
from lam_sb.study.report.table_files import write_tables

# What XML cannot hold, and half characters of file names that are no text.
UNWANTED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Sections of tables, in the order of the files that hold them.
PRINTED = (
    *("headline", "scores", "sources", "calibration", "emotions", "layers"),
)
# What a section shows, of a table of scores or (None) of the whole study.
Part = tuple[ScoreTable | None, object]


def write_report(folder: Path, findings: Findings) -> Path:
    """Write the tables of a study, and a page that shows all of it.

    The folder gets table1 to table3 as .md, .tex and .csv, and report.html,
    which is given back and links runs and logs relative to it. Equal findings
    give equal bytes.
    """
    tables = findings.tables
    parts = _parts(findings)
    to_print = [
        content
        for table in (None, *tables)
        for name in PRINTED
        for of, content in parts[name]
        if of is table
    ]
    write_tables(folder, [*chain(*to_print)], tables, findings.paper)
    environment = make_environment(tables, provenance.Links(folder, tables))
    template = environment.get_template("page.html")
    shown = {name: own for name, own in parts.items() if own}
    page = template.render(findings=findings, shown=shown)
    path = folder / "report.html"
    with whole_file(path) as temporary:
        text = UNWANTED.sub("\ufffd", page)
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def _parts(findings: Findings) -> dict[str, list[Part]]:
    """Make what each section, by the name of its template, shows."""
    paper = findings.paper

    def each(make: Callable[[ScoreTable], object]) -> list[Part]:
        parts = [(table, make(table)) for table in findings.tables]
        return [(table, content) for table, content in parts if content]

    def columns(make: Callable[[ScoreTable, Column], object]) -> list[Part]:
        return each(
            lambda table: {
                column: content
                for column in table.columns
                if (content := make(table, column))
            }
        )

    def whole(content: object) -> list[Part]:
        return [(None, content)] if content else []

    selected = whole(selection_tables(findings.analyses, paper))
    return {
        "warnings": whole(_warnings(findings)),
        "headline": each(control_tables),
        "scores": each(lambda table: score_tables(table, paper)),
        "sources": each(source_tables),
        "emotions": each(lambda table: emotion_tables(table, paper)),
        "layers": selected + each(lambda table: anchor_tables(table, paper)),
        "similarity": whole(_similarity(findings.analyses)),
        "anchors": columns(sections.anchor_choice),
        "shares": columns(sections.layer_shares),
        "curves": columns(sections.learning_curves),
        "confusion": columns(sections.confusions),
        "calibration": each(calibration_tables),
        "gender": each(lambda t: sections.genders(t, findings.genders)),
        "speakers": columns(sections.speaker_scores),
        "protocol": each(provenance.protocol),
        "corpora": whole(findings.preparation),
        "runs": each(lambda table: table.scores),
    }


def _warnings(findings: Findings) -> dict:
    """Give what failed, what was left out, and what the scores rest on."""
    cautions = {t: notes.caution_notes(t.scores) for t in findings.tables}
    warnings = {
        "failed": findings.failed,
        "problems": findings.problems,
        "cautions": {t: lines for t, lines in cautions.items() if lines},
    }
    return warnings if any(warnings.values()) else {}


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


def make_environment(
    tables: Sequence[ScoreTable], links: provenance.Links
) -> Environment:
    """Load the templates, with what they use."""

    def differing(table: ScoreTable) -> str:
        """Say in what the protocol of a table differs from the others."""
        keys = [
            key
            for key in PROTOCOL
            if len({str(other.protocol[key]) for other in tables}) > 1
        ]
        return ", ".join(f"{key}: {table.protocol[key]}" for key in keys)

    environment = Environment(
        loader=PackageLoader("lam_sb.study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda x: base64.b64encode(x).decode()
    environment.filters["percent"] = lambda x: f"{100 * x:.1f}"
    environment.globals |= {
        "differing": differing,
        "EMOTIONS": EMOTIONS,
        "links": links,
        "name_of": name_of,
        "notes": notes,
        "plots": plots,
        "preparation_frame": provenance.preparation_frame,
        "printed": printed,
        "control_lines": sections.control_lines,
        "coverage_curves": sections.coverage_curves,
    }
    return environment

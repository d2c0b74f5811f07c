"""The report of a study: one page that can be mailed, and its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import (
    CLAIM_SEEDS,
    CONTROLS,
    Column,
    Table,
    name_of,
)
from lam_sb.files import whole_file
from lam_sb.study.report.grids import Entry, Grid
from lam_sb.study.report.notes import caution_notes, span, spread
from lam_sb.study.report.page import (
    Html,
    bullets,
    details,
    figure,
    image,
    join,
    page,
    row,
    table,
    tag,
)
from lam_sb.study.report.plots import Dot, draw_intervals
from lam_sb.study.report.provenance import (
    Links,
    differing,
    preparation,
    protocol,
    run_lists,
    under,
)
from lam_sb.study.report.sections import (
    FIGURE_WIDTH,
    anchor_choice,
    confusions,
    gender_table,
    layer_shares,
    learning_curves,
    speaker_scores,
)
from lam_sb.study.report.tables import (
    Analysis,
    emotion_grids,
    headline,
    layer_grids,
    score_grids,
    write_tables,
)
from lam_sb.study.runner import Failure

Section = tuple[str, str, Html]  # name to link to, heading, content
SHOWN_PROBLEMS = 10  # more stand in a list to open
PNG_WIDTH = 700  # pixels


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Arguments
    ---------
    name : str
        Of the study.
    title : str
        Of the page.
    tables : list[Table]
        One a protocol.
    problems : list[str]
        Runs that are left out, and why.
    analyses : list[Analysis]
        Of the columns that have one.
    genders : Mapping[str, Mapping[str, str]]
        Gender by corpus and utterance; empty or missing where unknown.
    preparation : Mapping[str, Mapping]
        What prep_report.json holds, by corpus.
    paper : bool
        Whether the paper's numbers stand beside.
    failed : list[Failure]
        Runs that gave no result.
    """

    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    analyses: list[Analysis] = field(default_factory=list)
    genders: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    preparation: Mapping[str, Mapping] = field(default_factory=dict)
    paper: bool = False
    failed: list[Failure] = field(default_factory=list)


def write_report(folder: Path, findings: Findings) -> Path:
    """Write the tables of a study, and a page that shows all of it.

    Arguments
    ---------
    folder : Path
        Gets the files of `lam_sb.study.report.tables`, and report.html.
        Runs and logs are linked relative to it.
    findings : Findings
        What is shown; equal findings give equal bytes.

    Returns
    -------
    Path
        report.html.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables, paper = findings.tables, findings.paper
    selected = layer_grids([], findings.analyses, paper)
    grids = {
        found: {
            "headline": headline([found]),
            "scores": score_grids(found, paper),
            "emotions": emotion_grids(found, paper),
            "layers": layer_grids([found], [], paper),
        }
        for found in tables
    }
    by_part = [part for parts in grids.values() for part in parts.values()]
    write_tables(folder, [*selected, *chain(*by_part)], tables, paper)
    links = Links(folder, tables)
    numbers = [
        ("warnings", "Read this first", _warnings(findings, links)),
        *_table_parts(findings, grids, selected, links),
    ]
    parts = [*numbers, *_parts_behind(findings, links)]
    path = folder / "report.html"
    with whole_file(path) as temporary:
        content = page(
            findings.title, _summary(findings), [p for p in parts if p[2]]
        )
        temporary.write_text(content, encoding="utf-8")
    return path


def _table_parts(
    findings: Findings,
    grids: Mapping[Table, Mapping[str, Sequence[Grid]]],
    selected: Sequence[Grid],
    links: Links,
) -> list[Section]:
    """Make the paper's tables and figure."""

    def each(name: str, make: Callable[[Table, Html], Html | None]) -> Html:
        return _by_protocol(
            findings.tables,
            lambda found: make(found, _grids(grids[found][name], found, links)),
        )

    def alone(_: Table, content: Html) -> Html:
        return content

    layers = join([_grids(selected), each("layers", alone)])
    return [
        ("headline", "What anchoring adds", each("headline", _headline)),
        ("scores", "Scores (Table 2)", each("scores", alone)),
        ("emotions", "Emotions (Table 3)", each("emotions", alone)),
        ("layers", "Layers (Table 1)", layers),
        (
            "similarity",
            "Similarity by layer (Figure 1)",
            _similarity(findings.analyses),
        ),
    ]


def _parts_behind(findings: Findings, links: Links) -> list[Section]:
    """Make what lies behind the tables."""
    gender = partial(gender_table, links=links, genders=findings.genders)
    parts = [
        ("anchors", "Choice of anchors", partial(anchor_choice, links=links)),
        (
            "shares",
            "What the layers contribute",
            partial(layer_shares, links=links),
        ),
        ("curves", "Learning curves", learning_curves),
        ("confusion", "Confusions", partial(confusions, links=links)),
        ("gender", "Gender", gender),
        ("speakers", "Speakers", partial(speaker_scores, links=links)),
        ("protocol", "Protocol", partial(protocol, links=links)),
        ("runs", "All runs", partial(run_lists, links=links)),
    ]
    sections = [
        (name, heading, _by_protocol(findings.tables, make))
        for name, heading, make in parts
    ]
    corpora = "corpora", "Corpora", preparation(findings.preparation)
    return [*sections[:-1], corpora, sections[-1]]


def _by_protocol(
    tables: Sequence[Table], make: Callable[[Table], Html | None]
) -> Html:
    """Join what is made of each table, under a heading where there are more."""
    parts = []
    for found in tables:
        content = make(found)
        if content and len(tables) > 1:
            parts.append(tag("h3", differing(found, tables)))
        parts.append(content)
    return join(parts)


def _summary(findings: Findings) -> Html:
    """Say in a paragraph what is compared."""
    cells = [cell for found in findings.tables for cell in found.cells.values()]
    if not cells:
        return tag("p", f"Study {findings.name}. There are no finished runs.")
    runs = {run.path: run.results for cell in cells for run in cell.runs}
    columns = {c: None for found in findings.tables for c in found.columns}
    systems = {s: None for found in findings.tables for s in found.systems}
    seeds = {cell.estimate.num_seeds for cell in cells}
    encoders = dict.fromkeys(column.encoder for column in columns)
    directions = dict.fromkeys(column.direction for column in columns)
    protocols = [f"{found.protocol['normalise']}" for found in findings.tables]
    parts = [
        f"Study {findings.name}: {_count(len(runs), 'run')} of "
        f"{_count(len(systems), 'system')} on "
        f"{_count(len(encoders), 'encoder')} ({', '.join(encoders)}) in "
        f"{_count(len(directions), 'direction')} ({', '.join(directions)}), "
        f"{span(seeds)} {'seed' if seeds == {1} else 'seeds'} each, with "
        f"normalise: {', '.join(dict.fromkeys(protocols))}. ",
        "The systems learn from labelled speech of the source (left of the "
        "arrow) and unlabelled speech of the target (right), and are tested "
        "on the target. UAR is the mean recall of the emotions "
        f"{', '.join(EMOTIONS)}, so chance is 25 %; it is computed for each "
        "seed and then averaged. Intervals are 95 %, over speakers and seeds.",
    ]
    return tag("p", *parts)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _warnings(findings: Findings, links: Links) -> Html | None:
    """Say what failed, and what the numbers rest on too little of."""
    parts = []
    if findings.failed:
        number = _count(len(findings.failed), "run")
        items = [_failed(failure, links) for failure in findings.failed]
        parts += [tag("p", f"{number} gave no result:"), bullets(items)]
    if findings.problems:
        number = _count(len(findings.problems), "problem")
        first = findings.problems[:SHOWN_PROBLEMS]
        rest = findings.problems[SHOWN_PROBLEMS:]
        parts += [tag("p", f"{number} with what was read:"), bullets(first)]
        if rest:
            parts.append(details(f"{len(rest)} more", bullets(rest)))
    for found in findings.tables:
        lines = caution_notes(found.cells)
        which = differing(found, findings.tables)
        which = f" under {which}" if which else ""
        if lines:
            parts.append(tag("p", f"What the scores rest on{which}:"))
            parts.append(bullets(lines))
    return tag("div", *parts, class_="warning") if parts else None


def _failed(failure: Failure, links: Links) -> Html:
    """Say what failed and why, with the log if there is one."""
    parts = [f"{failure.reason} ", tag("code", failure.command)]
    if failure.log:
        parts += [" ", tag("a", "log", href=links.file(failure.log))]
    return join(parts)


def _grids(
    grids: Iterable[Grid],
    found: Table | None = None,
    links: Links | None = None,
) -> Html:
    """Set grids as tables, each number linked with its runs."""
    return join(_grid(grid, found, links) for grid in grids)


def _grid(grid: Grid, found: Table | None, links: Links | None) -> Html:
    groups = [
        [
            row(name, [_entry(entry, found, links) for entry in entries])
            for name, entries in group
        ]
        for group in grid.groups
    ]
    caption = join([tag("b", f"Table {grid.number}."), " ", grid.caption])
    title = grid.caption.split(". ")[0]
    heads = ", ".join(name for name, _ in grid.header[0])
    label = f"Table {grid.number}, {title}: {heads}"
    if found:
        label += f"; {under(found)}"
    return table(
        caption,
        grid.header,
        groups,
        grid.notes,
        class_="wide",
        label=label,
    )


def _entry(entry: Entry, found: Table | None, links: Links | None) -> str:
    content = tag("b", entry.text) if entry.best else entry.text
    if found and links and entry.cell and entry.cell in found.cells:
        return tag("a", content, href=links.runs(found, *entry.cell))
    return content


def _headline(found: Table, grid: Html) -> Html | None:
    """Show LAM-GL minus the controls."""
    groups = {}
    for column in found.columns:
        dots = [
            _difference_dot(found, system, column, n)
            for n, system in enumerate(CONTROLS)
            if (system, column) in found.differences
        ]
        if dots:
            groups[column.label] = dots
    if not groups:
        return None
    there = {system for system, _ in found.differences}
    lead = (
        "What anchoring adds is LAM-GL minus Layer-Atn, the same system "
        "without alignment. Where leaving the anchored layers out (Layer-Drop) "
        "does as well, anchoring has at most switched layers off."
    )
    verdicts = [_verdict(s, found) for s in CONTROLS if s in there]
    forest = _forest(groups, found)
    return join([tag("p", lead), bullets(verdicts), grid, forest])


def _forest(groups: Mapping[str, Sequence[Dot]], found: Table) -> Html:
    caption = (
        "LAM-GL minus its controls in points of UAR, with two-sided 95 % "
        "intervals, not corrected for looking at several; filled where the "
        f"interval does not hold 0; {under(found)}."
    )
    numbers = [
        f"{group}: " + ", ".join(f"{d.label} {d.text}" for d in dots)
        for group, dots in groups.items()
    ]
    alt = f"LAM-GL minus its controls. {'; '.join(numbers)}."
    picture = draw_intervals(groups, "difference of UAR (points)", 0)
    return figure(caption, image(picture, "svg+xml", alt, FIGURE_WIDTH))


def _difference_dot(
    found: Table, system: str, column: Column, kind: int
) -> Dot:
    estimate = found.differences[system, column].comparison.estimate
    return Dot(
        f"minus {name_of(system)}",
        100 * estimate.value,
        100 * estimate.low,
        100 * estimate.high,
        spread(estimate, "+"),
        kind,
        bool(estimate.low > 0 or estimate.high < 0),
    )


def _verdict(system: str, found: Table) -> str:
    """Count where the interval of LAM-GL minus a control holds 0."""
    estimates = [
        found.differences[system, column].comparison.estimate
        for column in found.columns
        if (system, column) in found.differences
    ]
    better = sum(e.low > 0 for e in estimates)
    worse = sum(e.high < 0 for e in estimates)
    few = any(e.num_seeds < CLAIM_SEEDS for e in estimates)
    look = f" With fewer than {CLAIM_SEEDS} seeds this is a look, no claim."
    return (
        f"LAM-GL minus {name_of(system)}: the interval lies above 0 in "
        f"{better} of {_count(len(estimates), 'column')}, below in {worse}, "
        f"and holds it in {len(estimates) - better - worse}.{look * few}"
    )


def _similarity(analyses: Sequence[Analysis]) -> Html:
    """Show Figure 1 of each analysis; one of several encoders only once."""
    pictures: dict[bytes, list[Analysis]] = {}
    for analysis in analyses:
        path = analysis.folder / "figure1.png"
        if path.is_file():
            pictures.setdefault(path.read_bytes(), []).append(analysis)
    figures = []
    for content, same in pictures.items():
        choices = " ".join(_choice(analysis) for analysis in same)
        alt = " ".join(_curve_in_words(analysis) for analysis in same)
        picture = image(content, "png", alt, PNG_WIDTH)
        figures.append(figure(f"Figure 1. {choices}", picture))
    return join(figures)


def _choice(analysis: Analysis) -> str:
    """Say which layers an analysis selected, and how surely."""
    found = analysis.selection
    labels = "with" if found["use_target_labels"] else "without"
    stability = 100 * found["stability"]["group"]
    return (
        f"{analysis.column.label}, by {found['measure']} {labels} target "
        f"labels: most alike are the layers {found['group']} (again in "
        f"{stability:.0f} % of resamples of the speakers), best "
        f"{found['best']}, least alike {found['worst']}."
    )


def _curve_in_words(analysis: Analysis) -> str:
    scores = analysis.selection["scores"].items()
    values = ", ".join(f"layer {layer} {value:.3f}" for layer, value in scores)
    return f"Similarity, {analysis.column.label}: {values}."

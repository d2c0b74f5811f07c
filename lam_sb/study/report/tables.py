"""Tables 1 to 3 of a study, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lam_sb.analysis.selection import TOP_LAYERS
from lam_sb.analysis.similarity import ALL
from lam_sb.corpora.manifests import EMOTIONS
from lam_sb.evaluation.comparisons import (
    CONTROLS,
    REFERENCE,
    Cell,
    Column,
    Difference,
    Table,
    family_of,
    in_order,
    name_of,
)
from lam_sb.evaluation.statistics import Estimate
from lam_sb.files import whole_file
from lam_sb.study.report.emotions import EmotionScore, emotion_scores
from lam_sb.study.report.grids import PAPER, Entry, Grid, to_latex, to_markdown
from lam_sb.study.report.notes import (
    INTERVALS,
    SHOTS,
    caution_notes,
    mark_notes,
    p_note,
    protocol_words,
    shared_notes,
    size_words,
    spread,
)
from lam_sb.study.report.paper import paper_emotion_uar, paper_layers, paper_uar
from lam_sb.study.report.table_lines import (
    emotion_lines,
    grid_lines,
    score_lines,
    to_csv,
)

FAMILIES = (  # groups of rows
    *("baselines", "reference", "ablations", "controls", "segments"),
    *("bounds", "others"),
)
# Where LAM-GL aligns, in Table 3's words.
SEGMENT_NAMES = {
    REFERENCE: "utterance (Uttr)",
    "lam_gl_vowl": "vowels (Vowl)",
    "lam_gl_cons": "consonants (Cons)",
}
# What an analysis selects, by the system that anchors it.
SELECTIONS = {
    REFERENCE: ("group", "most similar (GL)"),
    "lam_bl": ("best", "best (BL)"),
    "lam_wl": ("worst", "least similar (WL)"),
    "lam_gl_vowl": ("vowels", "most similar on vowels (Vowl)"),
    "lam_gl_cons": ("consonants", "most similar on consonants (Cons)"),
}

Key = tuple[str, Column]


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
        Rows of `lam_sb.analysis.similarity.read_similarity`.
    """

    column: Column
    folder: Path
    selection: dict
    similarity: list[dict]


class Slot(NamedTuple):
    """A column of a grid: ours, or the paper's beside it."""

    column: Column
    is_paper: bool


def score_grids(table: Table, paper: bool) -> list[Grid]:
    """Make Table 2: the UAR of each system, and what LAM-GL has over it.

    Arguments
    ---------
    table : Table
        Systems by columns. LAM-GL on segments is left to `emotion_grids`.
    paper : bool
        Whether the paper's own numbers stand beside ours.

    Returns
    -------
    list[Grid]
        UARs in %; and, where LAM-GL is there, LAM-GL minus each other system
        in points. None without any system.
    """
    cells = {k: c for k, c in table.cells.items() if not _on_segments(k)}
    differences = {
        k: d for k, d in table.differences.items() if not _on_segments(k)
    }
    grids = []
    if cells:
        grids.append(_uar_grid(table, cells, differences, paper))
    if differences:
        grids.append(_difference_grid(table, cells, differences))
    return grids


def _on_segments(key: Key) -> bool:
    return family_of(key[0]) == "segments"


def _uar_grid(
    table: Table,
    cells: Mapping[Key, Cell],
    differences: Mapping[Key, Difference],
    paper: bool,
) -> Grid:
    slots = _slots(cells, paper_uar if paper else None)

    def entry(system: str, slot: Slot) -> Entry:
        key = system, slot.column
        if key not in cells:
            return Entry("")
        if slot.is_paper:
            return _paper_entry(paper_uar(*key))
        mark = differences[key].mark if key in differences else ""
        text = spread(cells[key].estimate) + mark
        return Entry(text, _is_best(cells, key), key)

    return Grid(
        number=2,
        caption=(
            "Test UAR in % of each system. "
            f"{protocol_words(table.protocol)} {size_words(cells)}"
        ),
        header=_header(slots),
        groups=_groups(table, cells, slots, entry),
        notes=[
            *mark_notes(cells, differences),
            INTERVALS,
            *caution_notes(cells),
            *shared_notes(cells, differences),
        ],
    )


def _difference_grid(
    table: Table,
    cells: Mapping[Key, Cell],
    differences: Mapping[Key, Difference],
) -> Grid:
    slots = _slots(differences)
    return Grid(
        number=2,
        caption=(
            "LAM-GL minus each other system: difference of the test UARs in "
            f"points. {protocol_words(table.protocol)} "
            f"{size_words(_compared(cells, differences))}"
        ),
        header=_header(slots),
        groups=_groups(
            table,
            differences,
            slots,
            lambda system, slot: _difference_entry(
                differences, (system, slot.column)
            ),
        ),
        notes=_difference_notes(cells, differences),
    )


def _compared(
    cells: Mapping[Key, Cell], differences: Mapping[Key, Difference]
) -> dict[Key, Cell]:
    """Cells that differences are made of."""
    references = {(REFERENCE, column) for _, column in differences}
    return {k: cells[k] for k in cells if k in {*differences, *references}}


def _difference_notes(
    cells: Mapping[Key, Cell], differences: Mapping[Key, Difference]
) -> list[str]:
    """Say what the p-values are, and what the comparisons lack."""
    return [
        p_note(family_of(system) for system, _ in differences),
        INTERVALS,
        *caution_notes(_compared(cells, differences)),
        *shared_notes(cells, differences),
    ]


def headline(tables: Sequence[Table]) -> list[Grid]:
    """Compare LAM-GL with the two systems that say whether anchoring helps.

    Arguments
    ---------
    tables : Sequence[Table]
        Of a study.

    Returns
    -------
    list[Grid]
        One for each table that has such a comparison: LAM-GL minus Layer-Atn
        and minus Layer-Drop, a row for each column.
    """
    grids = []
    for table in tables:
        differences = {
            k: d for k, d in table.differences.items() if k[0] in CONTROLS
        }
        if differences:
            grids.append(_headline_grid(table, differences))
    return grids


def _headline_grid(table: Table, differences: Mapping[Key, Difference]) -> Grid:
    columns = in_order(column for _, column in differences)
    rows = [
        (c.label, [_difference_entry(differences, (s, c)) for s in CONTROLS])
        for c in columns
    ]
    return Grid(
        number=2,
        caption=(
            "Headline: LAM-GL minus the same system without alignment "
            "(Layer-Atn), and minus the one that leaves the anchored layers "
            "out (Layer-Drop): difference of the test UARs in points. "
            f"{protocol_words(table.protocol)} "
            f"{size_words(_compared(table.cells, differences))}"
        ),
        header=[[(f"LAM-GL - {name}", 1) for name in CONTROLS.values()]],
        groups=[rows],
        notes=_difference_notes(table.cells, differences),
    )


def emotion_grids(table: Table, paper: bool) -> list[Grid]:
    """Make Table 3: each emotion where LAM-GL aligns utterances or segments.

    Arguments
    ---------
    table : Table
        With LAM-GL and LAM-GL on a segment in at least one column.
    paper : bool
        Whether the paper's own numbers stand beside ours.

    Returns
    -------
    list[Grid]
        For each direction, one-vs-rest UARs in %, and segments minus the
        whole utterance in points.
    """
    scores = emotion_scores(table)
    columns = in_order(column for _, column, _ in scores)
    grids = []
    for _, group in groupby(columns, lambda column: column.direction):
        keys = [
            (system, column)
            for column in group
            for system in SEGMENT_NAMES
            if any((system, column, emotion) in scores for emotion in EMOTIONS)
        ]
        grids.append(_emotion_grid(table, keys, scores, paper))
        grids.append(_emotion_differences(table, keys, scores))
    return grids


def _emotion_grid(
    table: Table,
    keys: Sequence[Key],
    scores: Mapping[tuple[str, Column, str], EmotionScore],
    paper: bool,
) -> Grid:
    cells = {key: table.cells[key] for key in keys}
    beside = paper and any(paper_emotion_uar(*k, EMOTIONS[0]) for k in keys)
    slots = [(e, p) for e in EMOTIONS for p in (False, True)[: 1 + beside]]
    found = {k: s.estimate.value for k, s in scores.items() if k[:2] in cells}

    def entry(key: Key, emotion: str, is_paper: bool) -> Entry:
        if is_paper:
            return _paper_entry(paper_emotion_uar(*key, emotion))
        at = (*key, emotion)
        if at not in found:
            return Entry("")
        best = max(v for (*_, e), v in found.items() if e == emotion)
        return Entry(spread(scores[at].estimate), found[at] == best, key)

    direction = keys[0][1].direction
    return Grid(
        number=3,
        caption=(
            "UAR of one emotion against the rest, (recall + specificity) / 2 "
            "in %, of the four-class model, by what LAM-GL aligns. "
            f"{protocol_words(table.protocol)} {size_words(cells)}"
        ),
        header=[
            [(direction, len(slots))],
            [
                (PAPER if is_paper else emotion, 1)
                for emotion, is_paper in slots
            ],
        ],
        groups=_segment_rows(keys, lambda k: [entry(k, *s) for s in slots]),
        notes=[INTERVALS, *caution_notes(cells)],
    )


def _emotion_differences(
    table: Table,
    keys: Sequence[Key],
    scores: Mapping[tuple[str, Column, str], EmotionScore],
) -> Grid:
    def entry(key: Key, emotion: str) -> Entry:
        score = scores.get((*key, emotion))
        if score is None or score.comparison is None:
            return Entry("")
        estimate = score.comparison.estimate
        return Entry(_difference_text(estimate, score.p_holm), cell=key)

    return Grid(
        number=3,
        caption=(
            "LAM-GL on vowels or consonants minus LAM-GL on the whole "
            "utterance: difference of the one-vs-rest UARs in points. "
            f"{protocol_words(table.protocol)}"
        ),
        header=[
            [(keys[0][1].direction, len(EMOTIONS))],
            [(emotion, 1) for emotion in EMOTIONS],
        ],
        groups=_segment_rows(
            [key for key in keys if key[0] != REFERENCE],
            lambda key: [entry(key, emotion) for emotion in EMOTIONS],
        ),
        notes=[
            "Intervals of differences are two-sided and not corrected. p, "
            "two-sided, Holm-corrected over the emotions and the segments of "
            "one encoder and direction.",
            INTERVALS,
            *caution_notes({key: table.cells[key] for key in keys}),
        ],
    )


def _segment_rows(
    keys: Iterable[Key], entries: Callable[[Key], list[Entry]]
) -> list[list[tuple[str, list[Entry]]]]:
    """Group the rows of Table 3 by encoder."""
    return [
        [(f"{encoder}, {SEGMENT_NAMES[key[0]]}", entries(key)) for key in group]
        for encoder, group in groupby(keys, lambda key: key[1].encoder)
    ]


def layer_grids(
    tables: Sequence[Table], analyses: Sequence[Analysis], paper: bool
) -> list[Grid]:
    """Make Table 1: which layers were selected, and which were anchored.

    Arguments
    ---------
    tables : Sequence[Table]
        Of a study.
    analyses : Sequence[Analysis]
        One a column at most.
    paper : bool
        Whether the paper's choice stands beside ours.

    Returns
    -------
    list[Grid]
        What the analyses select; and for each table, what the runs anchored.
    """
    grids = [_selection_grid(analyses, paper)] if analyses else []
    for table in tables:
        texts = {key: _anchored(cell) for key, cell in table.cells.items()}
        texts = {key: text for key, text in texts.items() if text}
        if texts:
            grids.append(_anchor_grid(table, texts, paper))
    return grids


def _selection_grid(analyses: Sequence[Analysis], paper: bool) -> Grid:
    by_column = {analysis.column: analysis for analysis in analyses}
    keys = [(system, column) for column in by_column for system in SELECTIONS]
    slots = _slots(keys, paper_layers if paper else None)

    def entry(system: str, slot: Slot) -> Entry:
        if slot.is_paper:
            return Entry(_layers_text(paper_layers(system, slot.column) or ()))
        return Entry(_selected(by_column[slot.column], SELECTIONS[system][0]))

    rows = [
        (name, [entry(system, slot) for slot in slots])
        for system, (_, name) in SELECTIONS.items()
    ]
    shares = any(a.selection["stability"] for a in analyses)
    note = "In brackets: how many resamples of the speakers select the same."
    return Grid(
        number=1,
        caption=(
            "Layers that the analysis of the training rows selects. "
            f"{_measures(analyses)}"
        ),
        header=_header(slots),
        groups=[[r for r in rows if any(entry.text for entry in r[1])]],
        notes=[note] if shares else [],
    )


def _measures(analyses: Sequence[Analysis]) -> str:
    """Say what the layers were ranked by."""
    words = {}
    for analysis in analyses:
        selection = analysis.selection
        labelled = selection["use_target_labels"]
        how = "mean over the emotions" if labelled else "without target labels"
        words[analysis.column.label] = f"{selection['measure']}, {how}"
    if len(set(words.values())) == 1:
        return f"Similarity: {next(iter(words.values()))}."
    parts = "; ".join(f"{value} ({label})" for label, value in words.items())
    return f"Similarity: {parts}."


def _selected(analysis: Analysis, what: str) -> str:
    selection = analysis.selection
    if what not in selection:
        return _layers_text(_segment_layers(analysis, what))
    share = (selection["stability"] or {}).get(what)
    found = "" if share is None else f" ({100 * share:.0f} %)"
    return _layers_text(selection[what]) + found


def _segment_layers(analysis: Analysis, segment: str) -> list[int]:
    """Layers of the highest similarity on a segment, if it was measured."""
    labelled = analysis.selection["use_target_labels"]
    values: dict[int, list[float]] = {}
    for row in analysis.similarity:
        if (row["segment"], row["measure"]) == (
            segment,
            analysis.selection["measure"],
        ) and row["emotion"] in (EMOTIONS if labelled else (ALL,)):
            values.setdefault(row["layer"], []).append(row["value"])
    means = {layer: float(np.mean(v)) for layer, v in sorted(values.items())}
    ranked = sorted(means, key=means.get, reverse=True)  # keeps ties in order
    return sorted(ranked[:TOP_LAYERS])


def _anchored(cell: Cell) -> str:
    """Say which layers the runs of a cell aligned, or left out."""
    counts = Counter()
    for run in cell.runs:
        layers, mixed = run.results["anchor_layers"], run.results.get("layers")
        aligned = run.results.get("alignment") == "LayerCoral"
        left_out = not set(layers).intersection(mixed or layers)
        if layers and (aligned or left_out):
            text = "without " * left_out + _layers_text(layers)
            counts[text, run.results["anchor_rule"]] += 1
    several = len(counts) > 1
    return "; ".join(
        f"{text} ({rule}{f', {count} of {counts.total()} runs' * several})"
        for (text, rule), count in counts.items()
    )


def _anchor_grid(table: Table, texts: Mapping[Key, str], paper: bool) -> Grid:
    slots = _slots(texts, paper_layers if paper else None)

    def entry(system: str, slot: Slot) -> Entry:
        key = system, slot.column
        if key not in texts:
            return Entry("")
        if slot.is_paper:
            return Entry(_layers_text(paper_layers(*key) or ()))
        return Entry(texts[key], cell=key)

    return Grid(
        number=1,
        caption=(
            "Layers that the runs anchored, and the rule that chose them. "
            f"{protocol_words(table.protocol)}"
        ),
        header=_header(slots),
        groups=_groups(table, texts, slots, entry),
    )


def _layers_text(layers: Sequence[int]) -> str:
    layers = list(layers)
    if len(layers) > 3 and layers == [*range(layers[0], layers[-1] + 1)]:
        return f"{layers[0]}-{layers[-1]}"
    return ", ".join(map(str, layers))


def _slots(keys: Iterable[Key], number: Callable | None = None) -> list[Slot]:
    """Columns of a grid, with the paper's where it has a number for a key."""
    keys = list(keys)
    known = {column for s, column in keys if number and number(s, column)}
    return [
        Slot(column, is_paper)
        for column in in_order(column for _, column in keys)
        for is_paper in (False, True)[: 1 + (column in known)]
    ]


def _header(slots: Sequence[Slot]) -> list[list[tuple[str, int]]]:
    directions = groupby(slots, lambda slot: slot.column.direction)
    return [
        [(direction, len(list(group))) for direction, group in directions],
        [
            (PAPER if slot.is_paper else slot.column.encoder, 1)
            for slot in slots
        ],
    ]


def _groups(
    table: Table,
    keys: Iterable[Key],
    slots: Sequence[Slot],
    entry: Callable[[str, Slot], Entry],
) -> list[list[tuple[str, list[Entry]]]]:
    """Rows of the systems that have a key, in groups of one family."""
    shown = {system for system, _ in keys}
    groups = [
        [
            (_title(table, system), [entry(system, slot) for slot in slots])
            for system in table.systems
            if system in shown and family_of(system) == family
        ]
        for family in FAMILIES
    ]
    return [group for group in groups if group]


def _title(table: Table, system: str) -> str:
    """Name of a row, marked if it learns from target labels."""
    shots = any(
        cell.runs[0].results["shots"]
        for (other, _), cell in table.cells.items()
        if other == system
    )
    return name_of(system) + SHOTS * shots


def _is_best(cells: Mapping[Key, Cell], key: Key) -> bool:
    """Whether nothing but a bound is better in its column."""
    return family_of(key[0]) != "bounds" and all(
        cell.estimate.value <= cells[key].estimate.value
        for (system, column), cell in cells.items()
        if column == key[1] and family_of(system) != "bounds"
    )


def _paper_entry(number: float | None) -> Entry:
    return Entry("" if number is None else f"{number:.2f}")


def _difference_entry(differences: Mapping[Key, Difference], key: Key) -> Entry:
    if key not in differences:
        return Entry("")
    found = differences[key]
    text = _difference_text(found.comparison.estimate, found.p_holm)
    return Entry(text, cell=key)


def _difference_text(estimate: Estimate, p: float) -> str:
    text = spread(estimate, "+")
    if math.isnan(p):
        return text
    return f"{text}, {'p < 0.001' if p < 0.001 else f'p {p:.3f}'}"


def write_tables(
    folder: Path, grids: Sequence[Grid], tables: Sequence[Table], paper: bool
) -> None:
    """Write the tables of a study as Markdown, LaTeX and CSV.

    Arguments
    ---------
    folder : Path
        Gets table<n>.md, .tex and .csv of each number n that has grids; those
        of an earlier study are removed.
    grids : Sequence[Grid]
        In order.
    tables : Sequence[Table]
        What table2.csv and table3.csv hold, as fractions.
    paper : bool
        Whether they hold the paper's own numbers too.

    Raises
    ------
    UserError
        A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in (1, 2, 3):
        chosen = [grid for grid in grids if grid.number == number]
        texts = dict.fromkeys(("md", "tex", "csv"))
        if chosen:
            texts["md"] = "\n".join(map(to_markdown, chosen))
            texts["tex"] = "\n".join(map(to_latex, chosen))
            texts["csv"] = to_csv(_lines(number, chosen, tables, paper))
        for ending, text in texts.items():
            path = folder / f"table{number}.{ending}"
            if text is None:
                path.unlink(missing_ok=True)
                continue
            with whole_file(path) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _lines(
    number: int, grids: Sequence[Grid], tables: Sequence[Table], paper: bool
) -> list[dict]:
    """Lines of the CSV of a number."""
    if number == 1:
        return grid_lines(grids)
    return (score_lines if number == 2 else emotion_lines)(tables, paper)
